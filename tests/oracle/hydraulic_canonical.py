"""The canonical form of `hydraulic`; see canonical.py.

An anomaly's `message` is free text too; the payload of an alert is compared member by member.
"""

import glob
import json
import os

import canonical
import digests
import hydraulic
import times

SIDE = tuple(topic + end for end in (".late", ".dlq") for topic in hydraulic.TOPICS)
TOPICS = (hydraulic.ALERTS,) + SIDE
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
TABLES = tuple(COLUMNS)
OUTPUTS = TABLES + ("lake",) + TOPICS + ("summary",)


def answer(directory):
    return hydraulic.answer(directory)


def of_answer(answer):
    """The oracle's answer in comparable form: {output: lines}."""
    form = {name: sorted(map(row_line, rows)) for name, rows in answer.tables.items()}
    form["lake"] = sorted(map(row_line, answer.lake))
    for name, lines in answer.topics.items():
        if name == hydraulic.ALERTS:
            form[name] = [alert_line(offset, l.ts_ms, l.key, l.payload) for offset, l in canonical.numbered(lines)]
        else:
            form[name] = canonical.topic_lines(lines)
    form["summary"] = summary_lines(answer.summary)
    return form


def row_line(row):
    return canonical.row_line({k: v for k, v in row.items() if k != "message"})


def alert_line(offset, ts_ms, key, members):
    members = {k: repr(v) if isinstance(v, float) else v for k, v in members.items()}
    return canonical.dumps({"offset": offset, "ts": ts_ms, "key": key.decode(), "payload": members})


def summary_lines(summary):
    others = ("synchronized_features", "anomalies", LAKE, hydraulic.ALERTS)
    return canonical.summary_lines(summary, ("sensor_features",), others)


def of_out(directory):
    """What a replay left in `directory`, in comparable form."""
    found = {name: digests.Digest() for name in TABLES + TOPICS + (LAKE,)}
    tables = canonical.table_rows(directory, COLUMNS, found)
    if not all(row["message"] for row in tables["anomalies"]):
        raise canonical.Wrong("an anomaly without a message")
    form = {name: sorted(map(row_line, rows)) for name, rows in tables.items()}
    form["lake"] = lake_lines(os.path.join(directory, LAKE), found[LAKE])
    form[hydraulic.ALERTS] = alert_lines(directory, found[hydraulic.ALERTS])
    for topic in SIDE:
        form[topic] = canonical.topic_lines_found(directory, topic, found[topic])
    summary = canonical.summary_of(directory, "hydraulic")
    form["summary"] = summary_lines(summary)
    if set(summary["outputs"]) != set(found):
        raise canonical.Wrong("summary.json has the outputs %s" % sorted(summary["outputs"]))
    canonical.agree(summary, found)
    return form


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
            digest.add(digests.table_row(names, [row[name] for name in names]))
            lines.append(canonical.row_line(row))
    return sorted(lines)


def alert_lines(directory, digest):
    lines = []
    for record, _ in canonical.topic_records(directory, hydraulic.ALERTS, digest):
        members = json.loads(record.value)
        if not members.pop("message", ""):
            raise canonical.Wrong("an alert without a message")
        lines.append(alert_line(record.offset, record.ts_ms, record.key, members))
    return lines
