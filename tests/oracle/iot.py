#!/usr/bin/env python3
"""What the `iot` pipeline must answer to a fixture, and whether a replay did: contract sections 1, 2, 5 and 6.

usage: iot.py FIXTURE OUT...     compares each OUT with what is computed here
       iot.py --make OUT --seed N [--records N]     a hostile fixture

Exit: 0 the same, 1 different (the first differences are printed). Sums and means are exact (fractions), and shares
nothing with the engine.
"""

import argparse
import json
import os
import random
import sys
from fractions import Fraction

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import activity
import fixture
import layout
import random_fixture
import run_output
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


class Answer:
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
            headers = [["reason", reason], ["detail", rules]] + list(map(list, activity.origin(record)))
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
            self.line(self.input + ".late", record, list(map(list, headers)))
        else:
            key = sensor, end - WINDOW
            self.groups.setdefault(key, []).append((time, p, record.offset, numbers, texts, record.ts_ms))
        self.largest[p] = max(time, self.largest.get(p, time))

    def line(self, topic, record, headers):
        order = record.partition, record.offset
        self.topics[topic].append((order, record.partition, record.ts_ms, headers, record.key, record.value))

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
                times.rfc3339(max(stamps) * 1000) if stamps else None,
            ))
        return sorted(rows, key=repr)

    def summary(self):
        counted = sum(map(len, self.groups.values()))
        return {
            "read": self.read, "duplicate_offsets": self.duplicates, "accepted": self.accepted,
            "rejected": self.rejected,
            "real_time_aggregates": [counted, 0, self.late, 0, len(self.groups)],
            "rows": {"data_quality": len(self.quality), **{t: len(lines) for t, lines in self.topics.items()}},
        }


def rounded(fraction):
    """The nearest f64, ties to even; infinite where that is nearest."""
    try:
        return float(fraction) + 0.0
    except OverflowError:
        return float("inf") if fraction > 0 else float("-inf")


COLUMNS = (
    "sensor_id,window_start,window_end,avg_temperature,max_temperature,min_temperature,avg_humidity,"
    "total_energy_consumption,count,location,state,device_type,processed_at"
)


def same_line(want, have):
    """A detail is free text, but names the rules that were broken, in their order."""
    if want[:2] != have[:2] or want[3:] != have[3:] or len(want[2]) != len(have[2]):
        return False
    for (name, value), (other, text) in zip(want[2], have[2]):
        if name != other or (name != "detail" and value != text) or (name == "detail" and not text):
            return False
        if name == "detail" and value and [part.split(":")[0] for part in text.split("; ")] != value:
            return False
    return True


def compare(answer, out):
    wrong = []
    connection = run_output.tables(out)
    rows = sorted(connection.execute("SELECT %s FROM real_time_aggregates" % COLUMNS), key=repr)
    quality = {(s, r): n for s, r, n in connection.execute("SELECT sensor_id,rule,count FROM data_quality")}
    connection.close()
    expected = answer.aggregates()
    if list(map(repr, rows)) != list(map(repr, expected)):
        wrong.append("real_time_aggregates: %d rows expected, %d found" % (len(expected), len(rows)))
        wrong += ["  expected %r\n  found    %r" % p for p in zip(expected, rows) if repr(p[0]) != repr(p[1])][:run_output.SHOWN]
    if quality != answer.quality:
        pairs = sorted(set(quality.items()) ^ set(answer.quality.items()))
        wrong.append("data_quality differs: %r" % pairs[:run_output.SHOWN])
    wrong += run_output.topics(out, answer.topics, same_line)
    counts = run_output.summary(out, "iot", "real_time_aggregates")
    if counts != answer.summary():
        wrong.append("summary: expected %r\n  found %r" % (answer.summary(), counts))
    return run_output.tell(out, wrong)


class Story(random_fixture.Story):
    """Readings in place of events: same disorder, same spellings, same poisons."""

    def __init__(self, seed, records):
        super().__init__(seed, records)
        self.recent = []
        self.stage = RAW

    def step(self, now):
        r, p = self.r, self.r.randrange(self.partitions)
        x = r.random()
        if x < self.trouble:
            self.put(p, ("create", now // 1000), b"bad", self.bad(self.time(p, now)))
        elif x < self.trouble + self.heartbeats:
            self.heartbeat(p, now)
        elif x < self.trouble + self.heartbeats + 0.08 and self.recent:
            # The same sensor and instant again, spelled in any way, in the same partition or another.
            p, body = r.choice(self.recent[-200:])
            self.reading(r.choice([p, p, p, r.randrange(self.partitions)]), now, {**body, **self.numbers()})
        else:
            self.reading(p, now, self.body(self.time(p, now)))

    def numbers(self):
        r = self.r
        far = r.random() < 0.03
        return {
            "temperature": r.choice([-50, 100, -0.0, 0.1, 1e-300, 5e-324, -50.00000000000001, 100.00000000000001, 1e308])
            if r.random() < 0.1 else round(r.uniform(-80 if far else -50, 160 if far else 100), r.randrange(17)),
            "humidity": r.choice([0, 100, -0.0, -5e-324, 100.5]) if r.random() < 0.05 else r.uniform(0, 100),
            "energy_consumption": r.choice([0, 1e308, 1.7976931348623157e308, 1e-300, -1, 2**60])
            if r.random() < 0.05 else round(r.uniform(0, 5), r.randrange(10)),
        }

    def body(self, time):
        r = self.r
        place = r.choice([("Mumbai", "Maharashtra"), ("München", "Bayern"), ("Los Angeles", "CA")])
        sensor = "SENSOR_%03d" % r.randrange(r.choice([1, 5, 50]))
        kind = r.choice(["temperature_sensor", "smart_meter", "d\"\\"])
        return {
            "timestamp": time, "sensor_id": sensor, "location": place[0], "state": place[1], "device_type": kind,
            **self.numbers(),
        }

    def reading(self, p, now, body):
        time = body["timestamp"]
        parts = [(json.dumps(k), json.dumps(v, ensure_ascii=self.r.random() < 0.5)) for k, v in body.items()]
        parts[0] = ('"timestamp"', random_fixture.spell(time, self.r))
        parts += self.extras()
        if self.r.random() < 0.4:
            self.r.shuffle(parts)
        colon, comma = self.r.choice([(":", ","), (": ", ", "), (" :\t", "\n, ")])
        payload = ("{" + comma.join(k + colon + v for k, v in parts) + "}").encode()
        self.put(p, self.kafka_time(p, time, now), self.key(body["sensor_id"]), payload)
        self.recent.append((p, body))
        self.largest[p] = time if self.largest[p] is None else max(time, self.largest[p])

    def bad(self, time):
        """A payload that must be refused, or one that only looks so."""
        r = self.r
        body = {**self.body(time), "timestamp": times.rfc3339(time)}
        good = json.dumps(body)
        name = r.choice(MEMBERS)
        without = {k: v for k, v in body.items() if k != name}
        faults = [
            None, b"", b"\xff" + good.encode(), good[:-1].encode(), b"[]", json.dumps(without).encode(),
            json.dumps({**body, name: None}).encode(), json.dumps({**body, name: [1]}).encode(),
            json.dumps({**body, r.choice(NUMBERS): "21.5"}).encode(),
            json.dumps({**body, r.choice(TEXTS): r.choice([7, "", "a\0", True, "x" * 2049])}).encode(),
            json.dumps({**body, "timestamp": r.choice(["", "soon", 12.5, True, "2024-13-01T00:00:00Z"])}).encode(),
            json.dumps({**body, "timestamp": times.rfc3339(time + 86_400 * times.SECOND)}).encode(),
            (good[:-1] + ', "x": NaN}').encode(), (good[:-1] + ', "sensor_id": "twice"}').encode(),
            json.dumps({**body, "temperature": 1000, "humidity": -1, "energy_consumption": -0.1}).encode(),
        ]
        return r.choice(faults)

    def edge_sessions(self, now):
        pass

    def plan_rest(self):
        pass

    def last_words(self, now):
        pass

    def poison(self, p, now, number=None):
        self.put(p, ("create", now // 1000), b"bad", self.bad(self.time(p, now)))

    def put(self, p, kafka_time, key, payload, headers=None):
        super().put(p, kafka_time, key, payload, headers)
        record, _ = self.records[-1]
        record.topic = self.stage


def main(arguments):
    if arguments[:1] == ["--make"]:
        parser = argparse.ArgumentParser()
        parser.add_argument("--make")
        parser.add_argument("--seed", type=int, required=True)
        parser.add_argument("--records", type=int, default=2000)
        made = parser.parse_args(arguments)
        os.makedirs(made.make, exist_ok=True)
        if os.listdir(made.make):
            sys.exit("%s is not empty" % made.make)
        layout.write(made.make, Story(made.seed, made.records).tell(), random.Random(made.seed * 2 + 1))
        return 0
    if len(arguments) < 2:
        sys.stderr.write(__doc__)
        return 2
    answer = Answer(fixture.read_directory(arguments[0]))
    return 0 if all([compare(answer, out) for out in arguments[1:]]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
