"""Fixtures as kcat lines (contract section 5, form 1): plain, gzip and zstd."""

import base64
import gzip
import io
import re
import zlib

_SPACE = b" \t\r\n"
_ESCAPES = {
    0x22: b'"', 0x5C: b"\\", 0x2F: b"/", 0x62: b"\b", 0x66: b"\f", 0x6E: b"\n", 0x72: b"\r", 0x74: b"\t",
}
_NUMBER = re.compile(rb"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class Damaged(Exception):
    """A file does not hold what it should."""


class Record:
    """What Kafka held: bytes are bytes, `ts_ms` is None where the record has no usable timestamp."""

    __slots__ = ("topic", "partition", "offset", "ts_ms", "headers", "key", "value")

    def __init__(self, topic, partition, offset, ts_ms, headers, key, value):
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.ts_ms = ts_ms
        self.headers = headers
        self.key = key
        self.value = value


def read_file(path, shown):
    """The records of one file."""
    with open(path, "rb") as file:
        data = file.read()
    if path.endswith(b".gz"):
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise Damaged("%r is damaged: %s" % (shown, error)) from error
    elif path.endswith(b".zst"):
        import zstandard  # only where a fixture needs it

        reader = zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(
            io.BytesIO(data), read_across_frames=True
        )
        data = reader.read()
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip(_SPACE):
            continue
        try:
            yield to_record(parse_line(line))
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise Damaged("%r is damaged at line %d: %r" % (shown, number, error)) from error


def to_record(line):
    """A record from a line's members (strings are bytes here)."""
    ts = line.get(b"ts", -1)
    timed = line.get(b"tstype") in (b"create", b"logappend") and ts is not None and ts >= 0
    flat = line.get(b"headers") or []
    headers = list(zip(flat[0::2], flat[1::2]))
    return Record(
        line[b"topic"].decode(), line[b"partition"], line[b"offset"], ts if timed else None,
        headers, blob(line, b"key"), blob(line, b"payload"),
    )


def blob(line, name):
    """`NAME`, or `NAME_base64` in its place."""
    encoded = line.get(name + b"_base64")
    if encoded is not None:
        return base64.b64decode(encoded, validate=True)
    return line.get(name)


def parse_line(line):
    """A line as dict of bytes: strings keep the bytes that stand there, whether they are UTF-8 or not."""
    value, at = _value(line, 0)
    if line[at:].strip(_SPACE):
        raise ValueError("something follows the object")
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _skip(line, at):
    while at < len(line) and line[at] in _SPACE:
        at += 1
    return at


def _value(line, at):
    at = _skip(line, at)
    first = line[at : at + 1]
    if first == b'"':
        return _string(line, at)
    if first == b"{":
        members = {}
        at = _skip(line, at + 1)
        while line[at : at + 1] != b"}":
            name, at = _string(line, at)
            at = _expect(line, at, b":")
            members[name], at = _value(line, at)
            at = _skip(line, at)
            if line[at : at + 1] != b"}":
                at = _skip(line, _expect(line, at, b","))
        return members, at + 1
    if first == b"[":
        items = []
        at = _skip(line, at + 1)
        while line[at : at + 1] != b"]":
            item, at = _value(line, at)
            items.append(item)
            at = _skip(line, at)
            if line[at : at + 1] != b"]":
                at = _expect(line, at, b",")
        return items, at + 1
    for word, value in ((b"null", None), (b"true", True), (b"false", False)):
        if line.startswith(word, at):
            return value, at + len(word)
    match = _NUMBER.match(line, at)
    if match is None:
        raise ValueError("no value at byte %d" % at)
    return (float if match.group(1) or match.group(2) else int)(match.group()), match.end()


def _expect(line, at, sign):
    at = _skip(line, at)
    if line[at : at + 1] != sign:
        raise ValueError("%r wanted at byte %d" % (sign, at))
    return at + 1


def _string(line, at):
    if line[at : at + 1] != b'"':
        raise ValueError("a string wanted at byte %d" % at)
    out = []
    at += 1
    while True:
        quote = line.index(b'"', at)
        slash = line.find(b"\\", at, quote)
        if slash < 0:
            out.append(line[at:quote])
            return b"".join(out), quote + 1
        out.append(line[at:slash])
        escape = line[slash + 1]
        if escape != 0x75:
            out.append(_ESCAPES[escape])
            at = slash + 2
            continue
        unit = int(line[slash + 2 : slash + 6], 16)
        at = slash + 6
        if 0xD800 <= unit <= 0xDBFF and line[at : at + 2] == b"\\u":
            low = int(line[at + 2 : at + 6], 16)
            at += 6
            unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)
        out.append(chr(unit).encode())
