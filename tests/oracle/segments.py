"""Fixtures as Kafka log segments (contract section 5, form 2): record batch v2, as the broker wrote them.

`read_committed`: nothing of an aborted transaction, no control record, and nothing from the first record
of a transaction on that has not ended when the log does. snappy and lz4 need pyarrow.
"""

import gzip
import os
import re
import struct

from kcat import Damaged, Record

NAME = re.compile(rb"(?:^|/)([^/]+)-([0-9]+)/([0-9]{20})\.log$")
_HEADER = struct.Struct(">qiibIhiqqqhii")
_CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    table = _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


class Batch:
    """A batch's header, and its records still packed."""

    def __init__(self, shown, at, data):
        fields = _HEADER.unpack_from(data, at)
        (self.base, length, _, magic, crc, self.attributes, _, self.first_ts, self.max_ts, self.producer, _, _, self.count) = fields
        self.end = at + 12 + length
        if magic != 2 or length < 49 or self.end > len(data):
            raise Damaged("%r is damaged at byte %d" % (shown, at))
        if crc32c(data[at + 21 : self.end]) != crc:
            raise Damaged("%r: wrong checksum at byte %d" % (shown, at))
        self.packed = data[at + _HEADER.size : self.end]
        self.transactional = bool(self.attributes & 16)
        self.control = bool(self.attributes & 32)

    def records(self):
        """(offset, ts_ms, key, value, headers) of each record."""
        data = unpack(_CODECS[self.attributes & 7], self.packed)
        at = 0
        for _ in range(self.count):
            length, at = varint(data, at)
            end = at + length
            at += 1  # attributes, unused
            ts, at = varint(data, at)
            offset, at = varint(data, at)
            key, at = blob(data, at)
            value, at = blob(data, at)
            count, at = varint(data, at)
            headers = []
            for _ in range(count):
                name, at = blob(data, at)
                content, at = blob(data, at)
                headers.append((name, content))
            if at != end:
                raise Damaged("a record of the batch at offset %d does not end where it says" % self.base)
            ts_ms = self.max_ts if self.attributes & 8 else self.first_ts + ts
            yield self.base + offset, ts_ms, key, value, headers


def varint(data, at):
    raw = shift = 0
    while True:
        byte = data[at]
        at += 1
        raw |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (raw >> 1) ^ -(raw & 1), at


def blob(data, at):
    length, at = varint(data, at)
    return (None, at) if length < 0 else (data[at : at + length], at + length)


def unpack(codec, packed):
    if codec == "none":
        return packed
    if codec == "gzip":
        return gzip.decompress(packed)
    if codec == "zstd":
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    import pyarrow

    if codec == "lz4":
        return pyarrow.CompressedInputStream(pyarrow.BufferReader(packed), "lz4").read()
    if not packed.startswith(b"\x82SNAPPY\0"):
        return snappy(packed)
    # Java's framing: a header of 16 bytes, then blocks, each after its length.
    out, at = [], 16
    while at < len(packed):
        (length,) = struct.unpack_from(">i", packed, at)
        out.append(snappy(packed[at + 4 : at + 4 + length]))
        at += 4 + length
    return b"".join(out)


def snappy(block):
    """A raw snappy block, which begins with its unpacked size."""
    import pyarrow

    size = shift = at = 0
    while True:
        size |= (block[at] & 0x7F) << shift
        shift += 7
        at += 1
        if block[at - 1] < 0x80:
            return pyarrow.decompress(block, decompressed_size=size, codec="snappy", asbytes=True)


def batches(path, shown):
    with open(path, "rb") as file:
        data = file.read()
    found, at = [], 0
    while at < len(data):
        if len(data) - at < _HEADER.size:
            raise Damaged("%r is cut at byte %d" % (shown, at))
        found.append(Batch(shown, at, data))
        at = found[-1].end
    return found


class Segments:
    """All segments of a directory; a transaction's end may lie in a later file than its records."""

    def __init__(self, root, names):
        self.files = {name: batches(os.path.join(root, name), name) for name in sorted(names)}
        self.hidden = {}  # partition -> {(producer, first offset, end offset)} of aborted transactions
        self.stable = {}  # partition -> the first offset of a transaction that never ended
        for partition in {self.partition(name) for name in names}:
            self.judge(partition)

    @staticmethod
    def partition(name):
        topic, number, _ = NAME.search(name).groups()
        return topic.decode(), int(number)

    def judge(self, partition):
        began, aborted = {}, []
        for name, found in self.files.items():
            if self.partition(name) != partition:
                continue
            for batch in found:
                if batch.control:
                    for offset, _, key, _, _ in batch.records():
                        first = began.pop(batch.producer, None)
                        if first is not None and struct.unpack_from(">h", key, 2)[0] == 0:
                            aborted.append((batch.producer, first, offset))
                elif batch.transactional:
                    began.setdefault(batch.producer, batch.base)
        self.hidden[partition] = aborted
        self.stable[partition] = min(began.values(), default=2**63)

    def read(self, name):
        """The visible records of one file."""
        partition = self.partition(name)
        for batch in self.files[name]:
            if batch.control or (batch.transactional and self.is_aborted(partition, batch)):
                continue
            for offset, ts_ms, key, value, headers in batch.records():
                if offset < self.stable[partition]:
                    yield Record(*partition, offset, ts_ms if ts_ms >= 0 else None, headers, key, value)

    def is_aborted(self, partition, batch):
        return any(p == batch.producer and first <= batch.base < end for p, first, end in self.hidden[partition])
