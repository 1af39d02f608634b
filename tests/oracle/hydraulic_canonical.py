"""One form for both sides of a comparison of `hydraulic`: for each output, lines of text.

As canonical.py does it for `activity`. Free text (a dead letter's `detail`, an anomaly's `message`) must be
there and is not compared; the payload of an alert is compared member by member.
"""

import glob
import json
import os
import sqlite3
import struct

import canonical
import digests
import hydraulic
import kcat
import times

TABLES = ("sensor_features", "synchronized_features", "anomalies")
SIDE = tuple(topic + end for end in (".late", ".dlq") for topic in hydraulic.TOPICS)
TOPICS = (hydraulic.ALERTS,) + SIDE
OUTPUTS = TABLES + ("lake",) + TOPICS + ("summary",)
LAKE = "lake/hydraulic"
LARGE = ()
LEVELS = ("year", "month", "day", "hour", "minute", "second", "cycle")
WINDOW = ["window_start", "window_end", "cycle"]
COLUMNS = {
    "sensor_features": WINDOW + ["sensor", "avg", "min", "max", "std", "count"],
    "synchronized_features": WINDOW
    + ["%s_%s" % (s, name) for s in hydraulic.SENSORS for name in ("avg", "min", "max", "std", "count")]
    + ["sensors_present"] + hydraulic.DERIVED,
    "anomalies": ["window_start", "cycle", "rule", "severity", "sensor", "value", "limit_value", "message"],
}


def answer(directory):
    return hydraulic.answer(directory)


def of_answer(answer):
    """The oracle's answer in comparable form: {output: lines}."""
    form = {name: sorted(map(row_line, rows)) for name, rows in answer.tables.items()}
    form["lake"] = sorted(map(row_line, answer.lake))
    for name, lines in answer.topics.items():
        form[name], next_offset = [], {}
        for line in lines:
            offset = next_offset.get(line.partition, 0)
            next_offset[line.partition] = offset + 1
            form[name].append(topic_line(name, line.partition, offset, line.ts_ms, line.headers, line.key, line.payload))
    form["summary"] = summary_lines(answer.summary)
    return form


def row_line(row):
    """Doubles as their bits: repr is exact, and 1.0 is not 1."""
    shown = {k: repr(v) if isinstance(v, float) else v for k, v in row.items() if k != "message" and v is not None}
    return canonical.dumps(shown)


def topic_line(topic, partition, offset, ts_ms, headers, key, payload):
    if topic != hydraulic.ALERTS:
        return canonical.topic_line(topic, partition, offset, ts_ms, headers, key, payload)
    if isinstance(payload, bytes):
        payload = json.loads(payload)
        if not payload.pop("message", ""):
            raise canonical.Wrong("an alert without a message")
    members = {k: repr(v) if isinstance(v, float) else v for k, v in payload.items()}
    return canonical.dumps({"offset": offset, "ts": ts_ms, "key": key.decode(), "payload": members})


def summary_lines(summary):
    lines = ["%s %s" % (name, summary.get(name)) for name in ("read", "duplicate_offsets", "accepted")]
    lines += ["rejected %s %s" % (r, n) for r, n in sorted(summary.get("rejected", {}).items()) if n]
    outputs = summary.get("outputs", {})
    judged = outputs.get("sensor_features", {})
    lines += ["sensor_features %s %s" % (c, judged.get(c)) for c in ("counted", "filtered", "late", "idle", "rows")]
    names = ("synchronized_features", "anomalies", LAKE, hydraulic.ALERTS)
    return lines + ["%s rows %s" % (name, outputs.get(name, {}).get("rows")) for name in names]


def of_out(directory):
    """What a replay left in `directory`, in comparable form."""
    form, found = {}, {name: digests.Digest() for name in TABLES + TOPICS + (LAKE,)}
    connection = sqlite3.connect("file:%s?mode=ro" % os.path.join(directory, "tables.sqlite"), uri=True)
    for table in TABLES:
        form[table] = table_lines(connection, table, found[table])
    connection.close()
    form["lake"] = lake_lines(os.path.join(directory, LAKE), found[LAKE])
    for topic in TOPICS:
        form[topic] = topic_lines(directory, topic, found[topic])
    with open(os.path.join(directory, "summary.json"), encoding="utf-8") as file:
        summary = json.load(file)
    own = summary["pipelines"]["hydraulic"]
    form["summary"] = summary_lines(own)
    if set(own["outputs"]) != set(found):
        raise canonical.Wrong("summary.json has the outputs %s" % sorted(own["outputs"]))
    for name, digest in found.items():
        said = own["outputs"][name]
        if (said.get("rows"), said.get("digest")) != (digest.rows, digest.hex()):
            raise canonical.Wrong("summary.json: %s is %r; its rows make %d, %s" % (name, said, digest.rows, digest.hex()))
    return form


def encoded(names, row):
    """A row for its digest."""
    cells = []
    for name, value in zip(names, row):
        if isinstance(value, float):
            cells.append(b"f" + struct.pack("<d", value + 0.0))
        else:
            cells.append(digests.column(name, value))
    return b"".join(cells)


def table_lines(connection, table, digest):
    names = [row[1] for row in connection.execute("PRAGMA table_info(%s)" % table)]
    if names != COLUMNS[table]:
        raise canonical.Wrong("table %s has the columns %s" % (table, names))
    rows = connection.execute("SELECT * FROM %s" % table).fetchall()
    for row in rows:
        digest.add(encoded(names, row))
        if table == "anomalies" and not row[-1]:
            raise canonical.Wrong("an anomaly without a message")
    return sorted(row_line(dict(zip(names, row))) for row in rows)


def lake_lines(directory, digest):
    import pyarrow
    import pyarrow.parquet

    lines, wanted = [], [name for name in COLUMNS["synchronized_features"] if name != "cycle"]
    for path in sorted(glob.glob(os.path.join(glob.escape(directory), "**", "*.parquet"), recursive=True)):
        folder = os.path.relpath(os.path.dirname(path), directory)
        if folder.startswith("_"):
            continue
        levels = [level.split("=") for level in folder.split(os.sep)]
        if tuple(name for name, _ in levels) != LEVELS:
            raise canonical.Wrong("%s is in the folders %s" % (path, folder))
        level = dict(levels)
        table = pyarrow.parquet.ParquetFile(path).read()
        if table.schema.names != wanted:
            raise canonical.Wrong("%s has the columns %s" % (path, table.schema.names))
        columns = {}
        for field in table.schema:
            column = table.column(field.name)
            if field.name in ("window_start", "window_end"):
                if field.type != pyarrow.timestamp("us", tz="UTC"):
                    raise canonical.Wrong("%s: column %s is %s" % (path, field.name, field.type))
                columns[field.name] = [times.rfc3339(us) for us in column.cast(pyarrow.int64()).to_pylist()]
            else:
                columns[field.name] = column.to_pylist()
        for values in zip(*columns.values()):
            row = dict(zip(columns, values))
            row["cycle"] = int(level["cycle"])
            start = "%s-%s-%sT%s:%s:%s.000000Z" % tuple(level[name] for name in LEVELS[:6])
            if row["window_start"] != start:
                raise canonical.Wrong("%s holds the second %s" % (path, row["window_start"]))
            names = COLUMNS["synchronized_features"]
            digest.add(encoded(names, [row[name] for name in names]))
            lines.append(row_line(row))
    return sorted(lines)


def topic_lines(directory, topic, digest):
    path = os.path.join(directory, "topics", topic + ".jsonl")
    lines, next_offset, previous = [], {}, -1
    for record in kcat.read_file(os.fsencode(path), topic):
        if record.topic != topic:
            raise canonical.Wrong("%s: a line of topic %r" % (path, record.topic))
        if record.partition < previous or record.offset != next_offset.get(record.partition, 0):
            raise canonical.Wrong("%s: not in order at %d-%d" % (path, record.partition, record.offset))
        previous = record.partition
        next_offset[previous] = record.offset + 1
        digest.add(digests.topic_line(record))
        headers = [(canonical.text(name), canonical.text(value)) for name, value in record.headers]
        if topic.endswith(".dlq") and not dict(headers).get("detail"):
            raise canonical.Wrong("%s: no detail at %d-%d" % (path, record.partition, record.offset))
        lines.append(topic_line(topic, record.partition, record.offset, record.ts_ms, headers, record.key, record.value))
    return lines
