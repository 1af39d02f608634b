"""What the pipelines have in common when they read a record: contract sections 1 and 6, "Reading values"."""

import strict_json
import times

MAX_RECORD_BYTES = 1 << 20
MAX_STRING_BYTES = 2048
HEARTBEAT = b"tidegate-watermark"


class Refused(Exception):
    """The record goes to the dead letters; the first argument is the reason."""


def heartbeat_of(record):
    """The largest microseconds among the `tidegate-watermark` headers that hold an i64 in decimal."""
    stated = (microseconds(value or b"") for name, value in record.headers if name == HEARTBEAT)
    return max((us for us in stated if us is not None), default=None)


def microseconds(value):
    text = value.decode("ascii", "replace")
    digits = text[1:] if text.startswith("-") else text
    if digits and all(c in "0123456789" for c in digits) and len(digits) <= 19:
        if -(2**63) <= int(text) < 2**63:
            return int(text)
    return None


def members_of(record, required):
    """The members of the record's object, as (name, raw name, node), and by name, where all the required ones are there.

    `Refused` with the first reason that holds.
    """
    value = record.value
    if not value:
        raise Refused("tombstone")
    if len(value) > MAX_RECORD_BYTES:
        raise Refused("too_large")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("not_utf8") from None
    try:
        root = strict_json.parse(text)
    except strict_json.NotJson:
        raise Refused("not_json") from None
    if root.kind != "object" or len({name for name, _, _ in root.value}) != len(root.value):
        raise Refused("not_json")
    named = {name: node for name, _, node in root.value}
    if any(member not in named or named[member].kind == "null" for member in required):
        raise Refused("schema")
    return root.value, named


def text_of(node):
    """The string of a member, or `Refused`."""
    if node.kind != "string" or not node.value or "\0" in node.value:
        raise Refused("schema")
    if len(node.value.encode()) > MAX_STRING_BYTES:
        raise Refused("schema")
    return node.value


def read_time(node):
    """The microseconds of a time, or None where it is unreadable."""
    if node.kind == "string":
        return times.read_text(node.value)
    if node.kind == "integer":
        return times.read_millis(node.value)
    return None
