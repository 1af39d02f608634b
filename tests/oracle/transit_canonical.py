"""The canonical form of `transit`; see canonical.py. Delta tables are read by their log."""

import glob
import json
import os

import activity
import canonical
import digests
import times
import transit

TOPICS = (transit.TOPIC + ".late", transit.TOPIC + ".dlq")
ORIGIN = ("kafka_topic", "kafka_partition", "kafka_offset", "kafka_timestamp")
ENTITY = ("feed_timestamp", "event_time", "entity_id")
TRIP = ("trip_id", "route_id", "direction_id", "start_date", "start_time")
# Tables that are in SQLite, and as Delta tables too.
COLUMNS = {
    "route_activity": ("window_start", "window_end", "route_id", "vehicles_seen", "observations", "mean_speed"),
    "vehicle_sessions": (
        "vehicle_id", "session_start_time", "session_end_time", "session_duration_seconds", "seq", "end_reason",
        "observations",
    ),
    "route_totals": ("route_id", "observations"),
}
# Tables that are in Delta only, by day.
FEED = {
    "vehicle_positions": ENTITY + TRIP + (
        "vehicle_id", "vehicle_label", "latitude", "longitude", "bearing", "speed", "stop_id", "current_stop_sequence",
        "current_status", "congestion_level", "occupancy_status",
    ) + ORIGIN,
    "trip_updates": ENTITY + TRIP + (
        "trip_schedule_relationship", "vehicle_id", "vehicle_label", "stop_sequence", "stop_id", "arrival_delay",
        "arrival_time", "departure_delay", "departure_time", "schedule_relationship",
    ) + ORIGIN,
    "alerts": ENTITY + (
        "cause", "effect", "severity_level", "header_text", "description_text", "active_periods", "informed_entities",
    ) + ORIGIN,
    "events": ("event_time", "payload") + ORIGIN,
}
DAY = "event_date"
COPIES = tuple("delta." + table for table in COLUMNS)
OUTPUTS = tuple(COLUMNS) + COPIES + tuple(FEED) + TOPICS + ("summary",)
LARGE = ()
JUDGED = ("route_activity",)


def answer(directory):
    return transit.answer(directory)


def of_answer(answer):
    """The oracle's answer in comparable form: {output: lines}."""
    rows = {
        "route_activity": answer.route_activity(), "vehicle_sessions": answer.vehicle_sessions(),
        "route_totals": answer.totals.items(), **answer.tables,
    }
    columns = {**COLUMNS, **{table: (DAY,) + names for table, names in FEED.items()}}
    form = {name: canonical.row_lines(names, rows[name]) for name, names in columns.items()}
    for table in COLUMNS:
        form["delta." + table] = form[table]
    for topic in TOPICS:
        form[topic] = canonical.topic_lines(activity.in_order(answer.topics[topic]))
    form["summary"] = canonical.summary_lines(answer.summary(), JUDGED)
    return form


def of_out(directory):
    """What a replay left in `directory`, in comparable form."""
    found = {name: digests.Digest() for name in (*COLUMNS, *FEED, *TOPICS)}
    tables = canonical.table_rows(directory, COLUMNS, found)
    form = {name: sorted(map(canonical.row_line, rows)) for name, rows in tables.items()}
    for table, columns in COLUMNS.items():
        form["delta." + table] = sorted(map(canonical.row_line, delta_rows(directory, table, columns)))
    for table, columns in FEED.items():
        rows = list(delta_rows(directory, table, columns))
        for row in rows:
            found[table].add(digests.table_row(columns, [row[name] for name in columns]))
        form[table] = sorted(map(canonical.row_line, rows))
    for topic in TOPICS:
        form[topic] = canonical.topic_lines_found(directory, topic, found[topic])
    summary = canonical.summary_of(directory, "transit")
    form["summary"] = canonical.summary_lines(summary, JUDGED)
    canonical.agree(summary, found)
    return form


def delta_rows(directory, table, wanted):
    """The rows of a Delta table as its log has it, as dicts, with the day of their partition where it has one."""
    import pyarrow
    import pyarrow.parquet  # only where rows are read

    root, files = os.path.join(directory, "delta", table), {}
    for commit in sorted(glob.glob(os.path.join(glob.escape(root), "_delta_log", "*.json"))):
        with open(commit, encoding="utf-8") as lines:
            for action in map(json.loads, lines):
                if "add" in action:
                    files[action["add"]["path"]] = action["add"]
                if "remove" in action:
                    files.pop(action["remove"]["path"], None)
    for path, add in files.items():
        file = pyarrow.parquet.ParquetFile(os.path.join(root, path)).read()
        if file.schema.names != list(wanted):
            raise canonical.Wrong("%s has the columns %s" % (path, file.schema.names))
        said = json.loads(add["stats"])["numRecords"]
        if said != file.num_rows:
            raise canonical.Wrong("the log says that %s has %d rows; it has %d" % (path, said, file.num_rows))
        columns = []
        for field in file.schema:
            column = file.column(field.name)
            if field.type == pyarrow.timestamp("us", tz="UTC"):
                micros = column.cast(pyarrow.int64()).to_pylist()
                columns.append([None if m is None else times.rfc3339(m) for m in micros])
            else:
                columns.append(column.to_pylist())
        days = {name: value for name, value in add["partitionValues"].items() if name == DAY}
        for values in zip(*columns):
            yield {**dict(zip(wanted, values)), **days}
