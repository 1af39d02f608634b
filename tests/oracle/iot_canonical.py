"""The canonical form of `iot`, of both stages or of the second alone; see canonical.py.

The detail of a letter about broken rules begins each of them with its name: the names, in their order, are compared.
"""

import activity
import canonical
import digests
import iot

SIDE = tuple(topic + end for topic in (iot.RAW, iot.VALIDATED) for end in (".late", ".dlq"))
TOPICS = (iot.VALIDATED,) + SIDE
LARGE = (iot.VALIDATED,)
COLUMNS = {
    "real_time_aggregates": (
        "sensor_id", "window_start", "window_end", "avg_temperature", "max_temperature", "min_temperature", "avg_humidity",
        "total_energy_consumption", "count", "location", "state", "device_type", "processed_at",
    ),
    "data_quality": ("sensor_id", "rule", "count"),
}
TABLES = tuple(COLUMNS)
OUTPUTS = TABLES + TOPICS + ("summary",)
JUDGED = ("real_time_aggregates",)
# The reasons that rules have.
BY_RULE = ("range", "duplicate")


def answer(directory):
    return iot.answer(directory)


def of_answer(answer):
    """The oracle's answer in comparable form: {output: lines}."""
    quality = [(sensor, rule, n) for (sensor, rule), n in answer.quality.items()]
    rows = {"real_time_aggregates": answer.aggregates(), "data_quality": quality}
    form = {name: canonical.row_lines(columns, rows[name]) for name, columns in COLUMNS.items()}
    for topic in TOPICS:
        form[topic] = []
        for offset, line in canonical.numbered(activity.in_order(answer.topics.get(topic, []))):
            rules = dict(line.headers).get("detail") or None
            form[topic].append(canonical.topic_line(
                line.partition, offset, line.ts_ms, line.headers, line.key, line.payload, rules
            ))
    form["summary"] = canonical.summary_lines(answer.summary(), JUDGED)
    return form


def of_out(directory):
    """What a replay left in `directory`, in comparable form."""
    found = {name: digests.Digest() for name in TABLES + TOPICS}
    tables = canonical.table_rows(directory, COLUMNS, found)
    form = {name: sorted(map(canonical.row_line, rows)) for name, rows in tables.items()}
    for topic in TOPICS:
        form[topic] = [
            canonical.topic_line(r.partition, r.offset, r.ts_ms, headers, r.key, r.value, rules_of(headers))
            for r, headers in canonical.topic_records(directory, topic, found[topic])
        ]
    summary = canonical.summary_of(directory, "iot")
    form["summary"] = canonical.summary_lines(summary, JUDGED)
    # A stage has the topics of its input.
    canonical.agree(summary, {name: d for name, d in found.items() if d.rows or name in summary["outputs"]})
    return form


def rules_of(headers):
    named = dict(headers)
    if named.get("reason") not in BY_RULE or "detail" not in named:
        return None
    return [part.split(":")[0] for part in named["detail"].split("; ")]
