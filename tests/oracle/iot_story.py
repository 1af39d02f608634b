"""Hostile logs of iot's readings, seeded; `random_fixture.py --pipeline iot` lays them out in files."""

import json

import random_fixture
import times
from iot import MEMBERS, NUMBERS, RAW, TEXTS


class Story(random_fixture.WithoutSessions):
    """Readings in place of events: same disorder, same spellings, same poisons."""

    topic = RAW

    def __init__(self, seed, records):
        super().__init__(seed, records)
        self.recent = []

    def step(self, now):
        r, p = self.r, self.r.randrange(self.partitions)
        x = r.random()
        if x < self.trouble:
            self.poison(p, now)
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

    def poison(self, p, now, number=None):
        self.put(p, ("create", now // 1000), b"bad", self.bad(self.time(p, now)))
