"""What the `iot` pipeline must answer to a fixture: contract sections 1, 2, 5 and 6.

Sums and means are exact (fractions). A fixture of the validated topic is one for the second stage alone.
"""

from fractions import Fraction

import activity
import fixture
import times
from payload import Refused, heartbeat_of, members_of, read_time, text_of

RAW, VALIDATED = "iot_data", "validated_iot_data"
DELAY, WINDOW = times.MINUTE, 5 * times.MINUTE
TEXTS = ("sensor_id", "location", "state", "device_type")
NUMBERS = ("temperature", "humidity", "energy_consumption")
MEMBERS = TEXTS + NUMBERS + ("timestamp",)
RANGES = (
    ("temperature_range", "temperature", -50, 100),
    ("humidity_range", "humidity", 0, 100),
    ("energy_range", "energy_consumption", 0, None),
)


def decode(record):
    """(sensor, time, numbers, texts), or `Refused`."""
    _, named = members_of(record, MEMBERS)
    texts = {member: text_of(named[member]) for member in TEXTS}
    for member in NUMBERS:
        if named[member].kind not in ("integer", "fraction"):
            raise Refused("schema")
    time = read_time(named["timestamp"])
    if time is None:
        raise Refused("time")
    sensor = texts["sensor_id"]
    if record.ts_ms is not None and time - record.ts_ms * 1000 > activity.MAX_AHEAD:
        raise Refused("ahead", sensor)
    numbers = {m: float(named[m].compact) + 0.0 for m in NUMBERS}
    return sensor, time, numbers, texts


def answer(directory):
    """The expected answer to the fixture in `directory`."""
    return Answer(fixture.read_directory(directory))


class Answer:
    """The answer to records given in the order in which they are read."""

    def __init__(self, records):
        records = list(records)
        topics = {record.topic for record in records}
        assert not {RAW, VALIDATED} <= topics, "a fixture of both stages is an error"
        self.input = VALIDATED if VALIDATED in topics else RAW
        self.validates = self.input == RAW
        self.last, self.largest, self.raised, self.seen = {}, {}, {}, {}
        self.groups, self.quality, self.rejected = {}, {}, {}
        self.topics = {VALIDATED: [], self.input + ".late": [], self.input + ".dlq": []}
        self.read = self.duplicates = self.accepted = self.late = 0
        for record in records:
            if record.topic == self.input:
                self.take(record)

    def watermark(self, p):
        by_events = self.largest[p] - DELAY if p in self.largest else activity.FOREVER_AGO
        return max(by_events, self.raised.get(p, activity.FOREVER_AGO))

    def take(self, record):
        p = record.partition
        if record.offset > self.last.get(p, -1):
            self.last[p] = record.offset
            heartbeat = heartbeat_of(record)
            if heartbeat is not None:
                self.raised[p] = max(heartbeat, self.raised.get(p, activity.FOREVER_AGO))
                return
        else:
            self.read += 1
            self.duplicates += 1
            return
        self.read += 1
        watermark = self.watermark(p)
        try:
            sensor, time, numbers, texts = decode(record)
            end = (time // WINDOW + 1) * WINDOW
            if self.validates:
                broken = [
                    name for name, member, low, high in RANGES
                    if numbers[member] < low or (high is not None and numbers[member] > high)
                ]
                if end > watermark and (p, sensor, time) in self.seen:
                    broken.append("duplicate")
                if broken:
                    raise Refused("duplicate" if broken == ["duplicate"] else "range", sensor, *broken)
        except Refused as refused:
            # The sensor where it is known, and the rules that were broken.
            reason, *known = refused.args
            sensor, *rules = known or [""]
            self.rejected[reason] = self.rejected.get(reason, 0) + 1
            if self.validates:
                for rule in rules or [reason]:
                    self.quality[sensor, rule] = self.quality.get((sensor, rule), 0) + 1
            headers = [("reason", reason), ("detail", rules)] + activity.origin(record)
            self.line(self.input + ".dlq", record, headers)
            return
        self.accepted += 1
        self.seen[p, sensor, time] = True
        if self.validates:
            self.line(VALIDATED, record, [])
        if end <= watermark:
            self.late += 1
            headers = [("reason", "late"), ("outputs", "real_time_aggregates")]
            headers += [("late_by_ms", str(-((time - watermark) // 1000)))] + activity.origin(record)
            self.line(self.input + ".late", record, headers)
        else:
            key = sensor, end - WINDOW
            self.groups.setdefault(key, []).append((time, p, record.offset, numbers, texts, record.ts_ms))
        self.largest[p] = max(time, self.largest.get(p, time))

    def line(self, topic, record, headers):
        self.topics[topic].append((record.offset, activity.Line(record, headers, record.value)))

    def aggregates(self):
        rows = []
        for (sensor, start), group in self.groups.items():
            group.sort(key=lambda reading: reading[:3])
            n = len(group)
            exact = {m: sum(Fraction(g[3][m]) for g in group) for m in NUMBERS}
            temperatures = [g[3]["temperature"] for g in group]
            stamps = [g[5] for g in group if g[5] is not None]
            first = group[0][4]
            rows.append((
                sensor, times.rfc3339(start), times.rfc3339(start + WINDOW),
                rounded(exact["temperature"] / n), max(temperatures), min(temperatures),
                rounded(exact["humidity"] / n), rounded(exact["energy_consumption"]), n,
                first["location"], first["state"], first["device_type"],
                times.of_kafka(max(stamps, default=None)),
            ))
        return rows

    def summary(self):
        counted = sum(map(len, self.groups.values()))
        counts = {"counted": counted, "filtered": 0, "late": self.late, "idle": 0, "rows": len(self.groups)}
        rows = {"data_quality": len(self.quality), **{t: len(lines) for t, lines in self.topics.items()}}
        return {
            "read": self.read, "duplicate_offsets": self.duplicates, "accepted": self.accepted,
            "rejected": self.rejected,
            "outputs": {"real_time_aggregates": counts, **{name: {"rows": n} for name, n in rows.items()}},
        }


def rounded(fraction):
    """The nearest f64, ties to even; infinite where that is nearest."""
    try:
        return float(fraction) + 0.0
    except OverflowError:
        return float("inf") if fraction > 0 else float("-inf")
