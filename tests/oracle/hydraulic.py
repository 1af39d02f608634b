#!/usr/bin/env python3
"""What the `hydraulic` pipeline must answer to a fixture: contract sections 1, 2, 5 and 6, read aloud.

usage: hydraulic.py FIXTURE [--summary]      prints the expected answer as JSON lines

Exact with fractions, one loop over the log, then each output from the list of accepted readings. Of the
rest of the oracle it takes only what reads fixtures, times and JSON.
"""

import json
import math
import os
import sys
from fractions import Fraction

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import fixture
import strict_json
import times

SENSORS = (
    "PS1 PS2 PS3 PS4 PS5 PS6 EPS1 FS1 FS2 TS1 TS2 TS3 TS4 VS1 CE CP SE".split()
)
PRESSURES, FLOWS, TEMPERATURES = SENSORS[0:6], SENSORS[7:9], SENSORS[9:13]
TOPICS = ["hydraulic-" + sensor for sensor in SENSORS]
ALERTS = "hydraulic-alerts"
DELAY = 10 * times.SECOND
MAX_AHEAD = 60 * times.MINUTE
MAX_RECORD_BYTES = 1 << 20
MEMBERS = ("sensor", "cycle", "timestamp", "value")
DERIVED = (
    "pressure_mean temperature_mean flow_mean pressure_range pressure_variability flow_pressure_ratio efficiency_index"
).split()
FOREVER_AGO = -(2**100)
HEARTBEAT = b"tidegate-watermark"
COOLDOWN = 60 * times.SECOND
SEVERITY = {
    "high_pressure": "critical", "high_temperature": "critical", "pressure_spike": "warning", "zscore": "warning",
    "sudden_change": "warning", "pattern": "info", "correlation": "warning",
}
CHANGES = dict([(s, 50.0) for s in PRESSURES] + [(s, 5.0) for s in FLOWS + TEMPERATURES])
PAIRS = [("PS5", "PS6", 0.0, 1.0)]


class Refused(Exception):
    """The record goes to the dead letters; the argument is the reason."""


class Line:
    """One line of an embedded topic, without its own offset (which only counts)."""

    def __init__(self, partition, ts_ms, key, headers, payload):
        self.partition, self.ts_ms, self.key, self.headers, self.payload = partition, ts_ms, key, headers, payload


class Answer:
    """Everything that a replay of the fixture must leave behind."""

    def __init__(self):
        self.summary = {}
        self.tables = {}  # name -> list of rows, each a dict
        self.lake = []  # rows, each a dict
        self.topics = {}  # name -> list of Line in (partition, offset) order


class Reading:
    def __init__(self, record, sensor, cycle, time, value, watermark):
        self.record, self.sensor, self.cycle, self.time = record, sensor, cycle, time
        self.value, self.watermark = value, watermark
        self.start = time // times.SECOND * times.SECOND

    def late(self):
        return self.start + times.SECOND <= self.watermark


def answer(directory):
    """The expected answer to the fixture in `directory`."""
    return compute(fixture.read_directory(directory))


def compute(records):
    """The expected answer to records given in the order in which they are read."""
    accepted, dead, rejected, duplicates = [], [], {}, 0
    last_offset, watermark = {}, {}
    for record in records:
        if record.topic not in TOPICS:
            continue
        place = record.topic, record.partition
        if record.offset <= last_offset.get(place, -1):
            duplicates += 1
            continue
        last_offset[place] = record.offset
        raised = heartbeat(record)
        if raised is not None:
            watermark[place] = max(raised, watermark.get(place, FOREVER_AGO))
            continue
        try:
            reading = decode(record, watermark.get(place, FOREVER_AGO))
        except Refused as refused:
            reason = str(refused)
            rejected[reason] = rejected.get(reason, 0) + 1
            dead.append((record, [("reason", reason), ("detail", None)]))
            continue
        accepted.append(reading)
        watermark[place] = max(reading.time - DELAY, watermark.get(place, FOREVER_AGO))
    return outputs(accepted, dead, rejected, duplicates)


def outputs(accepted, dead, rejected, duplicates):
    result = Answer()
    late = [reading for reading in accepted if reading.late()]
    windows = {}
    for reading in accepted:
        if not reading.late():
            windows.setdefault((reading.start, reading.cycle, reading.sensor), []).append(reading)
    features = {key: statistics(readings) for key, readings in windows.items()}
    result.tables["sensor_features"] = [
        dict(window(start), cycle=cycle, sensor=sensor, **{k: v for k, v in stats.items() if k != "ts"})
        for (start, cycle, sensor), stats in features.items()
    ]
    seconds = {}
    for (start, cycle, sensor), stats in features.items():
        seconds.setdefault((start, cycle), {})[sensor] = stats
    result.tables["synchronized_features"] = [
        dict(window(start), cycle=cycle, **synchronized(own)) for (start, cycle), own in seconds.items()
    ]
    result.lake = [dict(row) for row in result.tables["synchronized_features"]]
    anomalies, alerts = findings(features, seconds)
    result.tables["anomalies"] = anomalies
    result.topics[ALERTS] = alerts
    for topic in TOPICS:
        result.topics[topic + ".late"] = side([(r.record, late_headers(r)) for r in late if r.record.topic == topic])
        result.topics[topic + ".dlq"] = side([(r, headers) for r, headers in dead if r.topic == topic])
    result.summary = {
        "read": duplicates + sum(rejected.values()) + len(accepted),
        "duplicate_offsets": duplicates,
        "rejected": rejected,
        "accepted": len(accepted),
        "outputs": {
            "sensor_features": {
                "counted": len(accepted) - len(late), "filtered": 0, "late": len(late), "idle": 0, "rows": len(features),
            },
            "synchronized_features": {"rows": len(seconds)},
            "anomalies": {"rows": len(anomalies)},
            "lake/hydraulic": {"rows": len(seconds)},
            ALERTS: {"rows": len(alerts)},
        },
    }
    return result


def heartbeat(record):
    """The microseconds of the first `tidegate-watermark` header, if it holds an i64 in decimal."""
    for name, value in record.headers:
        if name == HEARTBEAT:
            text = (value or b"").decode("ascii", "replace")
            digits = text[1:] if text.startswith("-") else text
            if 0 < len(digits) < 20 and all(c in "0123456789" for c in digits):
                return int(text) if -(2**63) <= int(text) < 2**63 else None
            return None
    return None


def decode(record, watermark):
    """The reading, or `Refused` with the first reason that holds, in the order of section 6."""
    value = record.value
    if not value:
        raise Refused("tombstone")
    if len(value) > MAX_RECORD_BYTES:
        raise Refused("too_large")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("not_utf8") from None
    try:
        root = strict_json.parse(text)
    except strict_json.NotJson:
        raise Refused("not_json") from None
    if root.kind != "object" or len({name for name, _, _ in root.value}) != len(root.value):
        raise Refused("not_json")
    named = {name: node for name, _, node in root.value}
    if any(member not in named or named[member].kind == "null" for member in MEMBERS):
        raise Refused("schema")
    sensor, cycle, number = named["sensor"], named["cycle"], named["value"]
    if sensor.kind != "string" or sensor.value not in SENSORS:
        raise Refused("schema")
    if cycle.kind != "integer" or not -(2**63) <= cycle.value < 2**63:
        raise Refused("schema")
    if number.kind not in ("integer", "fraction"):
        raise Refused("schema")
    stamp, time = named["timestamp"], None
    if stamp.kind == "string":
        time = times.read_text(stamp.value)
    elif stamp.kind == "integer":
        time = times.read_millis(stamp.value)
    if time is None:
        raise Refused("time")
    if record.ts_ms is not None and time - record.ts_ms * 1000 > MAX_AHEAD:
        raise Refused("ahead")
    return Reading(record, sensor.value, cycle.value, time, float(number.compact) + 0.0, watermark)


def nearest(fraction):
    """The f64 nearest to a fraction, never -0.0; infinite beyond."""
    try:
        return float(fraction) + 0.0
    except OverflowError:
        return math.inf if fraction > 0 else -math.inf


def mean(values):
    """The f64 nearest to the exact mean; None of nothing."""
    return nearest(sum(map(Fraction, values)) / len(values)) if values else None


def deviation(values):
    """The sample deviation as section 1 rounds it."""
    n = len(values)
    if n == 1:
        return 0.0
    exact = [Fraction(value) for value in values]
    return math.sqrt(nearest((sum(x * x for x in exact) - sum(exact) ** 2 / n) / (n - 1)))


def statistics(readings):
    values = [reading.value for reading in readings]
    stamps = [reading.record.ts_ms for reading in readings if reading.record.ts_ms is not None]
    return {
        "avg": mean(values), "min": min(values), "max": max(values), "std": deviation(values), "count": len(values),
        "ts": max(stamps) if stamps else None,
    }


def window(start):
    return {"window_start": times.rfc3339(start), "window_end": times.rfc3339(start + times.SECOND)}


def synchronized(own):
    row = {}
    for sensor in SENSORS:
        for name in ("avg", "min", "max", "std", "count"):
            row["%s_%s" % (sensor, name)] = own[sensor][name] if sensor in own else None
    row["sensors_present"] = len(own)
    row.update(derived(own))
    return row


def finite(value):
    """A derived value that is not finite is null; none is -0.0."""
    return value + 0.0 if value is not None and math.isfinite(value) else None


def finite_mean(values):
    return mean(values) if all(map(math.isfinite, values)) else None


def derived(own):
    pressures = [own[s] for s in PRESSURES if s in own]
    of = {name: None for name in DERIVED}
    of["pressure_mean"] = mean([p["avg"] for p in pressures])
    of["temperature_mean"] = mean([own[s]["avg"] for s in TEMPERATURES if s in own])
    of["flow_mean"] = mean([own[s]["avg"] for s in FLOWS if s in own])
    if pressures:
        of["pressure_range"] = finite(max(p["max"] - p["min"] for p in pressures))
    of["pressure_variability"] = finite_mean([p["std"] / p["avg"] for p in pressures if p["avg"] != 0])
    if of["flow_mean"] is not None and of["pressure_mean"]:
        of["flow_pressure_ratio"] = finite(of["flow_mean"] / of["pressure_mean"])
    if "SE" in own and "CE" in own:
        of["efficiency_index"] = finite(own["SE"]["avg"] * own["CE"]["avg"] / 100)
    return of


def findings(features, seconds):
    """(rows of anomalies, lines of the alert topic)."""
    judged = []  # (rule, subject, sensor, start, cycle, value, limit, beyond, ts), in order within (rule, subject)
    for (start, cycle), own in sorted(seconds.items()):
        judged += thresholds(start, cycle, own)
    for sensor in SENSORS:
        rows = sorted((start, cycle, s) for start, cycle, s in features if s == sensor)
        series = [(start, cycle, features[start, cycle, s]["avg"], features[start, cycle, s]["ts"]) for start, cycle, s in rows]
        for rule in (zscore, sudden_change, pattern):
            for at, verdict in enumerate(rule(series, sensor)):
                if verdict is not None and not math.isnan(verdict[0]):
                    start, cycle, _, ts = series[at]
                    judged.append((rule.__name__, sensor, sensor, start, cycle) + verdict + (ts,))
    for pair in PAIRS:
        judged += correlation(seconds, pair)
    anomalies, told, cooldown = [], [], {}
    for rule, subject, sensor, start, cycle, value, limit, beyond, ts in judged:
        value, limit = bounded(value), bounded(limit)
        row = {
            "window_start": times.rfc3339(start), "cycle": cycle, "rule": rule, "severity": SEVERITY[rule],
            "sensor": sensor, "value": value, "limit_value": limit,
        }
        state = cooldown.setdefault((rule, subject), {"alerting": False, "last": None})
        event = None
        if beyond:
            anomalies.append(row)
            if state["last"] is None or start - state["last"] >= COOLDOWN:
                state["alerting"], state["last"], event = True, start, "alert"
        elif state["alerting"]:
            state["alerting"], event = False, "resolve"
        if event:
            key = rule + ("/" + subject if subject else "")
            told.append(((start, key, cycle), Line(0, ts, key.encode(), [], dict(row, event=event))))
    return anomalies, [line for _, line in sorted(told, key=lambda pair: pair[0])]


def bounded(value):
    return max(-sys.float_info.max, min(sys.float_info.max, value)) + 0.0


def thresholds(start, cycle, own):
    found = []
    for rule, sensor, limit in (("high_pressure", "PS1", 300.0), ("high_temperature", "TS1", 100.0)):
        if sensor in own:
            value = own[sensor]["avg"]
            found.append((rule, "", sensor, start, cycle, value, limit, value > limit, own[sensor]["ts"]))
    value = derived(own)["pressure_range"]
    if value is not None:
        ts = latest([own[s]["ts"] for s in PRESSURES if s in own])
        found.append(("pressure_spike", "", None, start, cycle, value, 50.0, value > 50.0, ts))
    # A threshold over one sensor is told of under that sensor's name.
    return [(f[0], f[2] or "") + f[2:] for f in found]


def latest(stamps):
    stamps = [ts for ts in stamps if ts is not None]
    return max(stamps) if stamps else None


def zscore(series, _sensor):
    for at, (_, _, average, _) in enumerate(series):
        before = [row[2] for row in series[max(0, at - 60) : at]]
        spread = deviation(before) if len(before) >= 10 else 0.0
        if spread > 0:
            value = abs((average - mean(before)) / spread)
            yield value, 3.0, value > 3.0
        else:
            yield None


def sudden_change(series, sensor):
    for at, (start, _, average, _) in enumerate(series):
        if sensor not in CHANGES or at == 0 or series[at - 1][0] == start:
            yield None
        else:
            seconds = (start - series[at - 1][0]) / times.SECOND
            value = abs(average - series[at - 1][2]) / seconds
            yield value, CHANGES[sensor], value > CHANGES[sensor]


def pattern(series, _sensor):
    for at, (start, cycle, average, _) in enumerate(series):
        others = {}  # of each other cycle the last average at this second of the minute, the latest cycle first
        for s, c, a, _ in reversed(series[:at]):
            if c != cycle and (s - start) % times.MINUTE == 0 and c not in others:
                others[c] = a
        values = list(others.values())[:10]
        if len(values) < 5:
            yield None
            continue
        value, limit = abs(average - mean(values)), 3.0 * deviation(values)
        yield value, limit, value > limit


def correlation(seconds, pair):
    x, y, low, high = pair
    rows = [(start, cycle, own) for (start, cycle), own in sorted(seconds.items()) if x in own and y in own]
    found = []
    for at, (start, cycle, own) in enumerate(rows):
        last = [row[2] for row in rows[max(0, at - 59) : at + 1]]
        if len(last) < 60:
            continue
        r = pearson([o[x]["avg"] for o in last], [o[y]["avg"] for o in last])
        if r is None:
            continue
        if r > high or (r >= low and high - r < r - low):
            limit = high
        else:
            limit = low
        ts = latest([own[x]["ts"], own[y]["ts"]])
        found.append(("correlation", x + "/" + y, None, start, cycle, r, limit, r > high or r < low, ts))
    return found


def pearson(xs, ys):
    dx = [x - mean(xs) for x in xs]
    dy = [y - mean(ys) for y in ys]
    products = [[a * b for a, b in zip(u, v)] for u, v in ((dx, dy), (dx, dx), (dy, dy))]
    if not all(math.isfinite(p) for own in products for p in own):
        return None
    xy, xx, yy = (nearest(sum(map(Fraction, own))) for own in products)
    scale = math.sqrt(xx) * math.sqrt(yy)
    if scale == 0 or not math.isfinite(xy / scale):
        return None
    return max(-1.0, min(1.0, xy / scale))


def late_headers(reading):
    late_by_ms = -((reading.time - reading.watermark) // 1000)
    return [("reason", "late"), ("outputs", "sensor_features"), ("late_by_ms", str(late_by_ms))]


def side(pairs):
    """Lines with the original key and payload, by (partition, source offset)."""
    lines = []
    for record, headers in sorted(pairs, key=lambda pair: (pair[0].partition, pair[0].offset)):
        headers = headers + [
            ("topic", record.topic), ("partition", str(record.partition)), ("offset", str(record.offset)),
        ]
        lines.append(Line(record.partition, record.ts_ms, record.key, headers, record.value))
    return lines


def main():
    arguments = [a for a in sys.argv[1:] if not a.startswith("--")]
    if len(arguments) != 1:
        sys.exit(__doc__)
    result = answer(arguments[0])
    print(json.dumps({"summary": result.summary}, sort_keys=True))
    if "--summary" in sys.argv:
        return
    for name, rows in sorted(result.tables.items()):
        for row in sorted(json.dumps(r, sort_keys=True, ensure_ascii=False) for r in rows):
            print(json.dumps({"table": name}) + " " + row)


if __name__ == "__main__":
    main()
