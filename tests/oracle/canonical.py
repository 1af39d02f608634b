"""What the canonical forms of the pipelines have in common.

A canonical form is one form for both sides of a comparison: for each output, lines of text. A table or a lake becomes
the sorted list of its rows; a topic keeps the order of its lines. Free text (the `detail` of a dead letter) must be
there and is left out, and what a run may choose (file names, seconds) is not looked at. Digests must be those of the
rows found.

NAME_canonical.py has the form of a pipeline, under the same names in each: `OUTPUTS`, of them the `TOPICS` and those
that are `LARGE`; `answer(fixture)` and `of_answer(answer)` for what must be, `of_out(directory)` for what is.
"""

import base64
import hashlib
import json
import os
import sqlite3

import digests
import kcat

LONG_PAYLOAD = 4096


class Wrong(Exception):
    """The output is not what the contract says, before any value is compared."""


def dumps(value):
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def row_line(row):
    """A row without its nulls. Doubles as Python writes them, which is exact, and 1.0 is not 1."""
    return dumps({k: repr(v) if isinstance(v, float) else v for k, v in row.items() if v is not None})


def row_lines(columns, rows):
    """The rows of a table, each a tuple."""
    lines = []
    for row in rows:
        assert len(row) == len(columns), "a row of %d columns has %d cells" % (len(columns), len(row))
        lines.append(row_line(dict(zip(columns, row))))
    return sorted(lines)


def topic_line(partition, offset, ts_ms, headers, key, payload, detail=None):
    """A topic's line: bytes as text where they are UTF-8, long payloads as their SHA-256."""
    line = {"partition": partition, "offset": offset, "ts": ts_ms}
    line["headers"] = [[name, detail if name == "detail" else value] for name, value in headers]
    line.update(shown("key", key))
    line.update(shown("payload", payload))
    return dumps(line)


def shown(name, blob):
    if blob is None:
        return {name: None}
    if len(blob) > LONG_PAYLOAD:
        return {name + "_sha256": hashlib.sha256(blob).hexdigest()}
    try:
        return {name: blob.decode()}
    except UnicodeDecodeError:
        return {name + "_base64": base64.b64encode(blob).decode()}


def numbered(lines):
    """The oracle's lines with their offsets, which only count."""
    next_offset = {}
    for line in lines:
        offset = next_offset.get(line.partition, 0)
        next_offset[line.partition] = offset + 1
        yield offset, line


def topic_lines(lines):
    """The oracle's lines of a topic."""
    return [topic_line(l.partition, offset, l.ts_ms, l.headers, l.key, l.payload) for offset, l in numbered(lines)]


def topic_lines_found(directory, topic, digest):
    """The lines of a topic's file."""
    records = topic_records(directory, topic, digest)
    return [topic_line(r.partition, r.offset, r.ts_ms, headers, r.key, r.value) for r, headers in records]


def summary_lines(summary, judged, others=None):
    """The counts of one pipeline, a line each; a reason that never held may be absent or 0.

    `judged` are the outputs that records meet; of the `others`, all that there are when none are named, the rows count.
    """
    lines = ["%s %s" % (name, summary.get(name)) for name in ("read", "duplicate_offsets", "accepted")]
    lines += ["rejected %s %s" % (r, n) for r, n in sorted(summary.get("rejected", {}).items()) if n]
    outputs = summary.get("outputs", {})
    for name in judged:
        counts = outputs.get(name, {})
        lines += ["%s %s %s" % (name, c, counts.get(c)) for c in ("counted", "filtered", "late", "idle", "rows")]
    others = sorted(set(outputs) - set(judged)) if others is None else others
    return lines + ["%s rows %s" % (name, outputs.get(name, {}).get("rows")) for name in others]


def summary_of(directory, pipeline):
    """What a run's summary says of one pipeline."""
    with open(os.path.join(directory, "summary.json"), encoding="utf-8") as file:
        summary = json.load(file)
    if summary.get("contract") != 1:
        raise Wrong("summary.json: contract is %r" % summary.get("contract"))
    return summary["pipelines"][pipeline]


def agree(summary, found):
    """The summary's digests are those of the rows that were found, name -> Digest."""
    for name, digest in found.items():
        said = summary["outputs"].get(name, {})
        if (said.get("rows"), said.get("digest")) != (digest.rows, digest.hex()):
            raise Wrong("summary.json: %s is %r; its rows make %d, %s" % (name, said, digest.rows, digest.hex()))


def table_rows(directory, columns, found):
    """The rows of a run's tables, name -> dicts, where `columns` has the columns of each; `found` gets their digests."""
    connection = sqlite3.connect("file:%s?mode=ro" % os.path.join(directory, "tables.sqlite"), uri=True)
    try:
        rows = {}
        for table, wanted in columns.items():
            names = [row[1] for row in connection.execute("PRAGMA table_info(%s)" % table)]
            if names != list(wanted):
                raise Wrong("table %s has the columns %s" % (table, names))
            rows[table] = []
            for row in connection.execute("SELECT * FROM %s" % table):
                found[table].add(digests.table_row(names, row))
                rows[table].append(dict(zip(names, row)))
        return rows
    finally:
        connection.close()


def topic_records(directory, topic, digest):
    """The records of a topic's file, with their headers as text, in an order and with offsets that are checked.

    A topic without any lines may have no file.
    """
    path = os.path.join(directory, "topics", topic + ".jsonl")
    next_offset, previous = {}, -1
    for record in kcat.read_file(os.fsencode(path), topic) if os.path.exists(path) else ():
        if record.topic != topic:
            raise Wrong("%s: a line of topic %r" % (path, record.topic))
        if record.partition < previous or record.offset != next_offset.get(record.partition, 0):
            raise Wrong("%s: not in (partition, offset) order at %d-%d" % (path, record.partition, record.offset))
        previous = record.partition
        next_offset[previous] = record.offset + 1
        digest.add(digests.topic_line(record))
        headers = [(text(name), text(value)) for name, value in record.headers]
        if topic.endswith(".dlq") and not dict(headers).get("detail"):
            raise Wrong("%s: no detail at %d-%d" % (path, record.partition, record.offset))
        yield record, headers


def text(blob):
    return None if blob is None else blob.decode("utf-8", "backslashreplace")
