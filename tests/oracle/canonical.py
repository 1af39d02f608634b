"""One form for both sides of a comparison: for each output, lines of text.

A table or the lake becomes the sorted list of its rows; a topic keeps the order of its lines. Free text
(the `detail` of a dead letter) is left out, white space inside a written JSON object does not count, and
what a run may choose (file names, seconds) is not looked at. Digests must be those of the rows found.
"""

import base64
import glob
import hashlib
import json
import os
import sqlite3

import activity
import digests
import kcat
import strict_json
import times

TABLES = ("page_view_counts", "active_users", "user_sessions", "session_history")
TOPICS = ("enriched_activity", activity.TOPIC + ".late", activity.TOPIC + ".dlq")
OUTPUTS = TABLES + ("lake",) + TOPICS + ("summary",)
LAKE = "lake/activity"
LARGE = ("lake", "enriched_activity")
LONG_PAYLOAD = 4096

COLUMNS = {
    "page_view_counts": {"window_start", "window_end", "page_url", "view_count"},
    "active_users": {"window_start", "window_end", "active_user_count"},
    "user_sessions": set(activity.USER_SESSIONS_COLUMNS),
    "session_history": set(activity.USER_SESSIONS_COLUMNS) | {"seq", "end_reason", "events", "page_views"},
}
LAKE_COLUMNS = {
    "event_time", "user_id", "page_url", "event_type", "late",
    "kafka_topic", "kafka_partition", "kafka_offset", "kafka_timestamp",
}


def answer(directory):
    return activity.answer(directory)


def dumps(value):
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def of_answer(answer):
    """The oracle's answer in comparable form: {output: lines}."""
    form = {name: sorted(map(dumps, rows)) for name, rows in answer.tables.items()}
    form["lake"] = sorted(dumps({k: v for k, v in row.items() if v is not None}) for row in answer.lake)
    for name, lines in answer.topics.items():
        form[name] = []
        next_offset = {}
        for line in lines:
            offset = next_offset.get(line.partition, 0)
            next_offset[line.partition] = offset + 1
            form[name].append(
                topic_line(name, line.partition, offset, line.ts_ms, line.headers, line.key, line.payload)
            )
    summary = json.loads(json.dumps(answer.summary))
    summary["outputs"]["enriched_activity"] = {"rows": len(answer.topics["enriched_activity"])}
    form["summary"] = summary_lines(summary)
    return form


def topic_line(topic, partition, offset, ts_ms, headers, key, payload):
    """A topic's line: bytes as text where they are UTF-8, long payloads as their SHA-256."""
    if topic == "enriched_activity":
        payload = compacted(payload)
    line = {"partition": partition, "offset": offset, "ts": ts_ms}
    line["headers"] = [[name, None if name == "detail" else value] for name, value in headers]
    line.update(shown("key", key))
    line.update(shown("payload", payload))
    return dumps(line)


def compacted(payload):
    try:
        return strict_json.parse(payload.decode()).compact.encode()
    except (strict_json.NotJson, UnicodeDecodeError, AttributeError):
        return payload


def shown(name, blob):
    if blob is None:
        return {name: None}
    if len(blob) > LONG_PAYLOAD:
        return {name + "_sha256": hashlib.sha256(blob).hexdigest()}
    try:
        return {name: blob.decode()}
    except UnicodeDecodeError:
        return {name + "_base64": base64.b64encode(blob).decode()}


def summary_lines(summary):
    """The counts of one pipeline, a line each; a reason that never held may be absent or 0."""
    lines = ["%s %s" % (name, summary.get(name)) for name in ("read", "duplicate_offsets", "accepted")]
    for reason, count in sorted(summary.get("rejected", {}).items()):
        if count:
            lines.append("rejected %s %s" % (reason, count))
    outputs = summary.get("outputs", {})
    for name in activity.JUDGED:
        counts = outputs.get(name, {})
        for count in ("counted", "filtered", "late", "idle", "rows"):
            lines.append("%s %s %s" % (name, count, counts.get(count)))
    for name in ("session_history", "enriched_activity"):
        lines.append("%s rows %s" % (name, outputs.get(name, {}).get("rows")))
    return lines


class Wrong(Exception):
    """The output is not what the contract says, before any value is compared."""


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
    if summary.get("contract") != 1:
        raise Wrong("summary.json: contract is %r" % summary.get("contract"))
    activity_summary = summary["pipelines"]["activity"]
    form["summary"] = summary_lines(activity_summary)
    for name, digest in found.items():
        said = activity_summary["outputs"].get(name, {})
        if (said.get("rows"), said.get("digest")) != (digest.rows, digest.hex()):
            raise Wrong("summary.json: %s is %r; its rows make %d, %s" % (name, said, digest.rows, digest.hex()))
    return form


def table_lines(connection, table, digest):
    names = [row[1] for row in connection.execute("PRAGMA table_info(%s)" % table)]
    if set(names) != COLUMNS[table]:
        raise Wrong("table %s has the columns %s" % (table, names))
    rows = connection.execute("SELECT %s FROM %s" % (",".join(names), table)).fetchall()
    for row in rows:
        digest.add(digests.table_row(names, row))
    return sorted(dumps(dict(zip(names, row))) for row in rows)


def topic_lines(directory, topic, digest):
    """The lines in their order; a topic without any may have no file."""
    path = os.path.join(directory, "topics", topic + ".jsonl")
    if not os.path.exists(path):
        return []
    lines, next_offset, previous = [], {}, -1
    for record in kcat.read_file(os.fsencode(path), topic):
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
        lines.append(
            topic_line(topic, record.partition, record.offset, record.ts_ms, headers, record.key, record.value)
        )
    return lines


def text(blob):
    return None if blob is None else blob.decode("utf-8", "backslashreplace")


def lake_lines(directory, digest):
    rows = []
    for path in sorted(glob.glob(os.path.join(glob.escape(directory), "**", "*.parquet"), recursive=True)):
        folder = os.path.relpath(os.path.dirname(path), directory)
        if any(part.startswith((".", "_")) for part in folder.split(os.sep) if part != "."):
            continue
        if not folder.startswith("event_date="):
            raise Wrong("%s is in no event_date folder" % path)
        for row in parquet_rows(path):
            digest.add(digests.lake_row(row))
            row["event_date"] = folder[len("event_date=") :]
            rows.append(dumps({k: v for k, v in row.items() if v is not None}))
    return sorted(rows)


def parquet_rows(path):
    """Rows as dicts, times as the contract's text."""
    import pyarrow
    import pyarrow.parquet  # only where there is a lake to read

    table = pyarrow.parquet.ParquetFile(path).read()
    names = set(table.schema.names)
    if not LAKE_COLUMNS <= names or not all(n in LAKE_COLUMNS or n.startswith("x_") for n in names):
        raise Wrong("%s has the columns %s" % (path, sorted(names)))
    columns = {}
    for field in table.schema:
        column = table.column(field.name)
        if field.name in ("event_time", "kafka_timestamp"):
            if field.type != pyarrow.timestamp("us", tz="UTC"):
                raise Wrong("%s: column %s is %s" % (path, field.name, field.type))
            micros = column.cast(pyarrow.int64()).to_pylist()
            columns[field.name] = [None if m is None else times.rfc3339(m) for m in micros]
        else:
            columns[field.name] = column.to_pylist()
    return [dict(zip(columns, values)) for values in zip(*columns.values())]
