"""Hostile logs of the 17 hydraulic topics, seeded; `random_fixture.py --pipeline hydraulic` lays them out in files."""

import json
import random

import hydraulic
import poison
import times
from kcat import Record
from random_fixture import BASE, HEARTBEAT, escape_some, spell

EXTREMES = [
    "1e308", "-1e308", "1.7976931348623157e308", "5e-324", "-5e-324", "1e-400", "-0.0", "-0", "0", "0.1",
    "9007199254740993", "1" + "0" * 300, "123456789012345678901234567890", "3.0000000000000001", "1E+2",
]
CYCLES = [-(2**63), 2**63 - 1, -1, 0, 10**12]


class Story:
    """Draws the records of all partitions, in the order in which they were produced."""

    def __init__(self, seed, records):
        r = self.r = random.Random("hydraulic/%d/%d" % (seed, records))
        self.total = records
        few = r.sample(hydraulic.SENSORS, r.choice([1, 2, 4])) + r.choice([[], ["PS5", "PS6"]])
        self.sensors = r.choice([hydraulic.SENSORS, hydraulic.SENSORS, few, ["PS1", "TS1", "PS5", "PS6"]])
        # Few seconds with many readings each, or many with one.
        self.span = max(2, records // len(self.sensors) // r.choice([1, 1, 2, 8, 40])) * times.SECOND
        self.length = r.choice([60, 60, 20, 7, 1, 10**6]) * times.SECOND
        self.concurrent = r.choice([1, 1, 2, 12])
        self.partitions = r.choice([1, 1, 2, 3])
        self.disorder = r.choice([1, 500_000, 3 * times.SECOND, 9 * times.SECOND])
        self.stragglers = r.choice([0.0, 0.02, 0.2])
        self.trouble = r.choice([0.0, 0.02, 0.1])
        self.extremes = r.choice([0.0, 0.0, 0.02, 0.3])
        self.faults = r.choice([0.0, 0.02, 0.1])
        self.heartbeats = r.choice([0.0, 0.01])
        self.constant = r.choice([0.0, 0.0, 0.5, 1.0])
        self.opposed = r.random() < 0.5
        self.offset, self.largest, self.records = {}, {}, []

    def tell(self):
        r = self.r
        for i in range(self.total):
            now = BASE + i * self.span // self.total
            sensor = r.choice(self.sensors)
            place = "hydraulic-" + r.choice([sensor] * 30 + self.sensors), r.randrange(self.partitions)
            x = r.random()
            if x < self.trouble:
                self.put(place, ("create", now // 1000), r.choice(self.poisons(sensor, now)))
            elif x < self.trouble + self.heartbeats:
                time = now - r.choice([20, 11, 10, 10, 9]) * times.SECOND
                if r.random() < 0.5:
                    time = time // times.SECOND * times.SECOND
                self.put(place, ("create", now // 1000), r.choice([None, b"{}"]), [(HEARTBEAT, b"%d" % time)])
            else:
                self.reading(place, sensor, now)
        return self.records

    def time(self, place, now):
        """An event time: near, late, or exactly where a decision turns."""
        r = self.r
        if r.random() < self.stragglers:
            return now - r.choice([r.randrange(8 * times.SECOND, 13 * times.SECOND), r.randrange(1, 300 * times.SECOND)])
        if place in self.largest and r.random() < 0.05:
            # Windows that end or begin exactly at the watermark, and a microsecond beside.
            watermark = self.largest[place] - hydraulic.DELAY
            return watermark // times.SECOND * times.SECOND + r.choice([-1, 0, 1, 2]) * times.SECOND + r.choice([-1, 0, 0, 1])
        if r.random() < 0.3:
            return now // times.SECOND * times.SECOND
        return now - r.randrange(self.disorder)

    def reading(self, place, sensor, now):
        r = self.r
        time = self.time(place, now)
        cycle = (time - BASE) // self.length * self.concurrent + r.randrange(self.concurrent)
        if r.random() < 0.002:
            cycle = r.choice(CYCLES)
        body = {"timestamp": spell(time, r), "sensor": '"%s"' % sensor, "cycle": str(cycle), "value": self.value(sensor, time)}
        self.largest[place] = max(time, self.largest.get(place, time))
        if r.random() < 0.9:
            kafka_time = "create", now // 1000 + r.randrange(-500, 500)
        else:
            kafka_time = r.choice([("logappend", now // 1000), ("unknown", -1), ("create", -1), ("create", -(-time // 1000) - 3_600_000)])
        self.put(place, kafka_time, self.spelled(body))

    def value(self, sensor, time):
        r = self.r
        if r.random() < self.extremes:
            return r.choice(EXTREMES)
        base = {"P": 150.0, "T": 45.0, "F": 8.0}.get(sensor[0], 20.0)
        if r.random() < self.constant:
            return repr(base)
        # PS5 and PS6 rise and fall together, now and then against each other.
        wave = ((time // times.SECOND) % 20) / 10.0
        if sensor == "PS6" and self.opposed:
            wave = -wave
        value = base + wave + r.choice([r.random(), round(r.random(), 2)])
        if r.random() < self.faults:
            value += r.choice([200.0, -60.0, 60.0, 5.5])
        return repr(value)

    def spelled(self, body):
        r = self.r
        parts = [('"%s"' % name, text) for name, text in body.items()]
        if r.random() < 0.2:
            parts.append((json.dumps(r.choice(["unit", "", "é", "x"])), r.choice(['"bar"', "[1, 2]", "null", "1e5"])))
        if r.random() < 0.3:
            r.shuffle(parts)
        if r.random() < 0.05:
            parts = [(escape_some(name, r), text) for name, text in parts]
        colon, comma = r.choice([(":", ","), (":", ","), (": ", ", "), (" :\t", "\n, ")])
        return ("{" + comma.join(name + colon + text for name, text in parts) + "}").encode()

    def poisons(self, sensor, now):
        event = {"sensor": sensor, "cycle": 3, "timestamp": times.rfc3339(now), "value": 1.5}
        good = json.dumps(event).encode()
        found = [None, b""] + poison.not_utf8(good) + poison.not_json(event, good)
        found += [poison.without(event, name) for name in event]
        found += [poison.replaced(event, **{name: None}) for name in event]
        for name, texts in (
            ("sensor", ['""', '"ps1"', '"PS7"', "7", "true", "[]", '"PS1 "']),
            ("cycle", ["1.0", "1e0", '"1"', "true", "9223372036854775808", "-9223372036854775809", "[]"]),
            ("value", ['"1.5"', "true", "[]", "{}", '""']),
            ("timestamp", poison.BAD_TIMES),
        ):
            found += [poison.raw_member(event, name, text) for text in texts]
        # More than an hour ahead of its Kafka timestamp.
        found.append(poison.replaced(event, timestamp=times.rfc3339(now + 2 * 60 * times.MINUTE)))
        return found

    def put(self, place, kafka_time, payload, headers=None):
        r = self.r
        topic, number = place
        offset = self.offset.get(place, r.choice([0, 0, 1000]))
        tstype, ts = kafka_time
        key = r.choice([topic[10:].encode()] * 8 + [None, b"", b"\xff\x00key"])
        headers = headers or ([] if r.random() < 0.9 else [(b"trace", b"abc")])
        self.records.append((Record(topic, number, offset, ts, headers, key, payload), tstype))
        self.offset[place] = offset + (1 if r.random() < 0.95 else r.choice([2, 500]))
