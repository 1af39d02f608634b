"""Lays a log out in fixture files: which records share a file, how a line is spelled, how a file is packed."""

import base64
import gzip
import io
import json
import os

from kcat import Record


def write(directory, records, r):
    """Writes `records` ([(Record, tstype)] in the order they were produced) under `directory`."""
    for name, content in files(records, r):
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        lines = []
        for record, tstype in content:
            lines.append(line(record, tstype, r))
            if r.random() < 0.005:
                lines.append(line(Record("somebody_else", 0, 1, 0, [], b"k", b"not ours"), "create", r))
        data = b"\n".join(lines) + (b"" if r.random() < 0.3 else b"\n")
        with open(path, "wb") as file:
            file.write(pack(path, data, r))
    with open(os.path.join(directory, "notes.txt"), "w", encoding="utf-8") as file:
        file.write("a file of another kind is passed over\n")
    with open(os.path.join(directory, ".hidden.jsonl"), "w", encoding="utf-8") as file:
        file.write("a hidden file is passed over\n")


def files(records, r):
    """[(relative path, its records)]; a reader that sorts paths by their bytes meets every partition in order."""
    partitions = sorted({(record.topic, record.partition) for record, _ in records})
    groups = [[] for _ in range(r.randrange(1, len(partitions) + 1))]
    for partition in partitions:
        r.choice(groups).append(partition)
    found = []
    for number, group in enumerate(groups):
        own = [pair for pair in records if (pair[0].topic, pair[0].partition) in group]
        own = with_duplicates(own, r) if r.random() < 0.5 else own
        cuts = sorted(r.randrange(len(own) + 1) for _ in range(r.choice([0, 0, 1, 4])))
        folder = r.choice(["", "g%d/" % number, "g%d/deep/er/" % number])
        names = ["%sgroup-%d-%c" % (folder, number, ord("a") + i) for i in range(len(cuts) + 1)]
        if r.random() < 0.2:
            # `-` stands before `.` stands before `/`: by bytes, not as a person would sort.
            names = ["%sh%d%s" % (folder, number, end) for end in ("-z", ".a", "/0", "0", "_")][: len(names)]
        names += ["%sz%d-%d" % (folder, number, i) for i in range(len(cuts) + 1 - len(names))]
        for name, start, end in zip(names, [0] + cuts, cuts + [len(own)]):
            found.append((name + r.choice([".jsonl", ".jsonl", ".jsonl.gz", ".jsonl.zst"]), own[start:end]))
    return found


def with_duplicates(records, r):
    """Some records again, a while later, as a careless recorder leaves them; some with another payload."""
    out = []
    for at, pair in enumerate(records):
        out.append(pair)
        if r.random() < 0.02:
            record, tstype = records[r.randrange(max(0, at - 50), at + 1)]
            if any(name == b"tidegate-watermark" for name, _ in record.headers):
                continue
            payload = record.value if r.random() < 0.7 else b"changed"
            again = Record(record.topic, record.partition, record.offset, record.ts_ms, record.headers, record.key, payload)
            out.append((again, tstype))
    return out


def pack(path, data, r):
    """Packed as the name says; sometimes in several members or frames, as appending leaves them."""
    half = len(data) // 2 if r.random() < 0.5 else len(data)
    if path.endswith(".gz"):
        return b"".join(gz(part) for part in (data[:half], data[half:]) if part) or gz(b"")
    if path.endswith(".zst"):
        import zstandard

        packer = zstandard.ZstdCompressor(level=3, write_checksum=r.random() < 0.5)
        return b"".join(packer.compress(part) for part in (data[:half], data[half:]) if part) or packer.compress(b"")
    return data


def gz(data):
    out = io.BytesIO()
    with gzip.GzipFile("", "wb", 6, out, mtime=0) as packed:
        packed.write(data)
    return out.getvalue()


def line(record, tstype, r):
    """A kcat line. Bytes that are not UTF-8 stand as they are, as kcat prints them, or in base64."""
    flat = [part for header in record.headers for part in header]
    members = [
        (b"topic", quoted(record.topic.encode(), r)),
        (b"partition", b"%d" % record.partition),
        (b"offset", b"%d" % record.offset),
        (b"tstype", quoted(tstype.encode(), r)),
        (b"ts", b"%d" % record.ts_ms),
        (b"headers", b"[" + b",".join(b"null" if part is None else quoted(part, r) for part in flat) + b"]"),
        blob(b"key", record.key, r),
        blob(b"payload", record.value, r),
    ]
    colon, comma = b":", b","
    if r.random() < 0.05:
        members.insert(5, (b"broker", b"1"))
    if r.random() < 0.02:
        r.shuffle(members)
        colon, comma = b" : ", b" ,\t"
    if not flat and r.random() < 0.1:
        members = [member for member in members if member[0] != b"headers"]
    return b"{" + comma.join(b'"' + name + b'"' + colon + value for name, value in members) + b"}"


def blob(name, value, r):
    if value is None:
        return name, b"null"
    try:
        value.decode()
    except UnicodeDecodeError:
        if r.random() < 0.5:
            return name + b"_base64", b'"' + base64.b64encode(value) + b'"'
    return name, quoted(value, r)


def quoted(value, r):
    """A JSON string of bytes; what is not UTF-8 stands in it as it is."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
        escaped = "".join(json.dumps(c)[1:-1] if c in '"\\' or ord(c) < 32 else c for c in text)
        return b'"' + escaped.encode("latin-1") + b'"'
    return json.dumps(text, ensure_ascii=r.random() < 0.2).encode()
