"""Columns of wall-clock time: a live run reads them once an epoch, a replay repeats Kafka's timestamps. Comparisons leave them out."""

import re

COLUMNS = {"processed_at", "processing_time"}
# Outputs that have one: their digests are of it too.
OUTPUTS = {"enriched_activity", "real_time_aggregates"}

LAST_MEMBER = re.compile(r',"processing_time":(?:null|"[^"]*")\}$')


def without(payload):
    """An event's text without the time that stands last in it."""
    return LAST_MEMBER.sub("}", payload) if payload else payload
