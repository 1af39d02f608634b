"""The digest of each output, from what lies in an output directory: `src/digest.rs` says how it is defined.

That `summary.json` gives the same says that the digest is one of the rows that came out, and of nothing else.
"""

import hashlib
import struct

import times

_TIMES = {
    "window_start", "window_end", "session_start_time", "session_end_time", "event_time", "kafka_timestamp",
    "processed_at", "feed_timestamp", "arrival_time", "departure_time",
}
LAKE_ORDER = (
    "event_time", "user_id", "page_url", "event_type", "late",
    "kafka_topic", "kafka_partition", "kafka_offset", "kafka_timestamp",
)


class Digest:
    """A sum of SHA-256 hashes modulo 2^256, and how many there are."""

    def __init__(self):
        self.sum = 0
        self.rows = 0

    def add(self, encoded):
        self.sum = (self.sum + int.from_bytes(hashlib.sha256(encoded).digest(), "big")) % 2**256
        self.rows += 1

    def hex(self):
        return "%064x" % self.sum


def cell(value):
    if value is None:
        return b"n"
    if isinstance(value, bool):
        return b"b" + bytes([value])
    if isinstance(value, int):
        return b"i" + struct.pack("<q", value)
    if isinstance(value, float):
        return b"f" + struct.pack("<d", value + 0.0)
    value = value.encode() if isinstance(value, str) else value
    return b"s" + struct.pack("<I", len(value)) + value


def column(name, value):
    """A cell of a named column: times are text in a table, and microseconds in a digest."""
    if value is not None and name in _TIMES:
        return b"t" + struct.pack("<q", times.read_text(value))
    return cell(value)


def table_row(names, row):
    return b"".join(column(name, value) for name, value in zip(names, row))


def lake_row(row):
    """The fixed columns in order, then name and value of each member that has a column, by name."""
    extras = sorted((name[2:].encode(), value) for name, value in row.items() if name.startswith("x_"))
    fixed = b"".join(column(name, bool(row[name]) if name == "late" else row[name]) for name in LAKE_ORDER)
    return fixed + b"".join(cell(name) + cell(value) for name, value in extras if value is not None)


def topic_line(record):
    head = (record.partition, record.offset, record.ts_ms, record.key, record.value)
    return b"".join(map(cell, head)) + b"".join(cell(part) for header in record.headers for part in header)
