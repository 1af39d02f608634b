#!/usr/bin/env python3
"""Removes all consumer groups, and all topics but some, and waits until these are gone.

usage: drop_topics.py BROKERS KEPT...
"""

import sys
import time

from confluent_kafka.admin import AdminClient

client = AdminClient({"bootstrap.servers": sys.argv[1]})
kept = set(sys.argv[2:])


def others():
    names = client.list_topics(timeout=30).topics
    return [name for name in names if name not in kept and not name.startswith("__")]


for topic in client.delete_topics(others(), operation_timeout=30).values() if others() else []:
    topic.result()
groups = [group.group_id for group in client.list_consumer_groups().result().valid]
for group in client.delete_consumer_groups(groups).values() if groups else []:
    group.result()
deadline = time.monotonic() + 30
while others():
    if time.monotonic() > deadline:
        sys.exit(f"still there: {others()}")
    time.sleep(0.1)
