"""The canonical form of `activity`; see canonical.py. White space inside a written JSON object does not count."""

import glob
import json
import os

import activity
import canonical
import digests
import strict_json
import times

TOPICS = ("enriched_activity", activity.TOPIC + ".late", activity.TOPIC + ".dlq")
LAKE = "lake/activity"
LARGE = ("lake", "enriched_activity")

COLUMNS = {
    "page_view_counts": ("window_start", "window_end", "page_url", "view_count"),
    "active_users": ("window_start", "window_end", "active_user_count"),
    "user_sessions": activity.USER_SESSIONS_COLUMNS,
    "session_history": activity.USER_SESSIONS_COLUMNS + ("seq", "end_reason", "events", "page_views"),
}
TABLES = tuple(COLUMNS)
OUTPUTS = TABLES + ("lake",) + TOPICS + ("summary",)
LAKE_COLUMNS = {
    "event_time", "user_id", "page_url", "event_type", "late",
    "kafka_topic", "kafka_partition", "kafka_offset", "kafka_timestamp",
}


def answer(directory):
    return activity.answer(directory)


def of_answer(answer):
    """The oracle's answer in comparable form: {output: lines}."""
    form = {name: sorted(map(canonical.dumps, rows)) for name, rows in answer.tables.items()}
    form["lake"] = sorted(map(lake_line, answer.lake))
    for name, lines in answer.topics.items():
        form[name] = [
            topic_line(name, line.partition, offset, line.ts_ms, line.headers, line.key, line.payload)
            for offset, line in canonical.numbered(lines)
        ]
    summary = json.loads(json.dumps(answer.summary))
    summary["outputs"]["enriched_activity"] = {"rows": len(answer.topics["enriched_activity"])}
    form["summary"] = summary_lines(summary)
    return form


def lake_line(row):
    return canonical.dumps({k: v for k, v in row.items() if v is not None})


def topic_line(topic, partition, offset, ts_ms, headers, key, payload):
    if topic == "enriched_activity":
        payload = compacted(payload)
    return canonical.topic_line(partition, offset, ts_ms, headers, key, payload)


def compacted(payload):
    try:
        return strict_json.parse(payload.decode()).compact.encode()
    except (strict_json.NotJson, UnicodeDecodeError, AttributeError):
        return payload


def summary_lines(summary):
    return canonical.summary_lines(summary, activity.JUDGED, ("session_history", "enriched_activity"))


def of_out(directory):
    """What a replay left in `directory`, in comparable form."""
    found = {name: digests.Digest() for name in TABLES + TOPICS + (LAKE,)}
    tables = canonical.table_rows(directory, COLUMNS, found)
    form = {name: sorted(map(canonical.dumps, rows)) for name, rows in tables.items()}
    form["lake"] = lake_lines(os.path.join(directory, LAKE), found[LAKE])
    for topic in TOPICS:
        records = canonical.topic_records(directory, topic, found[topic])
        form[topic] = [
            topic_line(topic, r.partition, r.offset, r.ts_ms, headers, r.key, r.value) for r, headers in records
        ]
    summary = canonical.summary_of(directory, "activity")
    form["summary"] = summary_lines(summary)
    canonical.agree(summary, found)
    return form


def lake_lines(directory, digest):
    rows = []
    for path in sorted(glob.glob(os.path.join(glob.escape(directory), "**", "*.parquet"), recursive=True)):
        folder = os.path.relpath(os.path.dirname(path), directory)
        if any(part.startswith((".", "_")) for part in folder.split(os.sep) if part != "."):
            continue
        if not folder.startswith("event_date="):
            raise canonical.Wrong("%s is in no event_date folder" % path)
        for row in parquet_rows(path):
            digest.add(digests.lake_row(row))
            row["event_date"] = folder[len("event_date=") :]
            rows.append(lake_line(row))
    return sorted(rows)


def parquet_rows(path):
    """Rows as dicts, times as the contract's text."""
    import pyarrow
    import pyarrow.parquet  # only where there is a lake to read

    table = pyarrow.parquet.ParquetFile(path).read()
    names = set(table.schema.names)
    if not LAKE_COLUMNS <= names or not all(n in LAKE_COLUMNS or n.startswith("x_") for n in names):
        raise canonical.Wrong("%s has the columns %s" % (path, sorted(names)))
    columns = {}
    for field in table.schema:
        column = table.column(field.name)
        if field.name in ("event_time", "kafka_timestamp"):
            if field.type != pyarrow.timestamp("us", tz="UTC"):
                raise canonical.Wrong("%s: column %s is %s" % (path, field.name, field.type))
            micros = column.cast(pyarrow.int64()).to_pylist()
            columns[field.name] = [None if m is None else times.rfc3339(m) for m in micros]
        else:
            columns[field.name] = column.to_pylist()
    return [dict(zip(columns, values)) for values in zip(*columns.values())]
