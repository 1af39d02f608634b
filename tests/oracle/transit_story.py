"""Hostile logs of transit's feeds, seeded; `random_fixture.py --pipeline transit` lays them out in files."""

import json
import struct

import random_fixture
import times
from transit import BOUNDS, TOPIC, TYPES, camel, delimited, number_bytes


class Story(random_fixture.WithoutSessions):
    """Feeds in place of events: same disorder, same clocks, poisons of their own."""

    topic = TOPIC

    def step(self, now):
        r, p = self.r, self.r.randrange(self.partitions)
        x = r.random()
        if x < self.trouble:
            self.poison(p, now)
        elif x < self.trouble + self.heartbeats:
            self.heartbeat(p, now)
        elif x < self.trouble + self.heartbeats + 0.05:
            self.put(p, self.kafka_time(p, now, now), None, r.choice([b'{"a":1}', b' {"header":{}}', b'{"entity":[]}\n', b"{}"]))
        else:
            latest, payload = self.feed(p, now)
            self.put(p, self.kafka_time(p, latest, now), self.key("feed"), payload)
            self.largest[p] = latest if self.largest[p] is None else max(latest, self.largest[p])

    def feed(self, p, now):
        r = self.r
        moments = [self.time(p, now) // times.SECOND * times.SECOND for _ in range(r.choice([0, 1, 1, 1, 2, 3, 8]))]
        stamp = r.choice([0, None, now // times.SECOND, now // times.SECOND])
        header = {"gtfs_realtime_version": "2.0"}
        if stamp is not None:
            header["timestamp"] = stamp
        entities = [self.entity(moment // times.SECOND) for moment in moments]
        if self.r.random() < 0.5:
            data = delimited(1, self.wire("Header", header))
            data += b"".join(delimited(2, self.wire("Entity", entity)) for entity in entities)
            if r.random() < 0.1:
                data += delimited(1001, b"extension")
        else:
            spelled = [self.json("Entity", entity) for entity in entities]
            body = {"header": self.json("Header", header), "entity": spelled}
            if r.random() < 0.1:
                body = {"entity": spelled, "extra": 1, "header": body["header"]}
            data = json.dumps(body, ensure_ascii=r.random() < 0.5, indent=r.choice([None, None, 1])).encode()
        return max(moments, default=now), data

    def entity(self, moment):
        r = self.r
        entity = {"id": r.choice(["e%d" % r.randrange(99), "ünï", "x"])}
        kinds = r.choice([["vehicle"], ["vehicle"], ["vehicle"], ["trip_update"], ["alert"], ["vehicle", "trip_update"], []])
        trip = lambda: self.some({  # noqa: E731
            "trip_id": r.choice(["", "t%d" % r.randrange(9)]), "start_time": "25:10:00", "start_date": "20260101",
            "schedule_relationship": r.choice([0, 3, 99]), "route_id": r.choice(["", "R1", "R2", "Ü"]),
            "direction_id": r.randrange(2)}, 0.8)
        named = lambda: self.some({"id": r.choice(["", "b%d" % r.randrange(5)]), "label": "7"}, 0.8)  # noqa: E731
        stamp = r.choice([moment] * 8 + [0, moment + 90_000, 2**63 + 5, 253_402_300_800])
        f = lambda *values: r.choice(values + (round(r.uniform(-90, 90), r.randrange(8)),) * 4)  # noqa: E731
        if "vehicle" in kinds:
            place = {"latitude": f(0, -0.0), "longitude": f(1e-45, 1), "bearing": f(float("nan")), "odometer": f(1e300),
                     "speed": f(float("inf"), -0.0, 3e38)}
            entity["vehicle"] = self.some({
                "trip": trip(), "position": self.some(place, 0.9), "current_stop_sequence": r.choice([0, 7, 2**32 - 1]),
                "current_status": r.choice([0, 1, 2, 17]), "timestamp": stamp, "congestion_level": r.choice([0, 4, -1]),
                "stop_id": r.choice(["", "s1"]), "vehicle": named(), "occupancy_status": r.choice([0, 8, 9]),
                "occupancy_percentage": 40}, 0.85)
        if "trip_update" in kinds:
            event = lambda: self.some({"delay": r.choice([0, -5, 2**31 - 1, -2**31]),  # noqa: E731
                                       "time": r.choice([0, moment, -1, 2**62]), "uncertainty": 1}, 0.8)
            stops = [self.some({"stop_sequence": r.randrange(9), "arrival": event(), "departure": event(), "stop_id": "s",
                                "schedule_relationship": r.choice([0, 1, 44])}, 0.8) for _ in range(r.randrange(4))]
            entity["trip_update"] = self.some({"trip": trip(), "stop_time_update": stops, "vehicle": named(),
                                               "timestamp": r.choice([moment, 0]), "delay": 3}, 0.85)
        if "alert" in kinds:
            words = lambda: {"translation": [self.some({"text": r.choice(["a\"\n", "é" * 3000]), "language": "en"}, 0.9)  # noqa: E731
                                             for _ in range(r.randrange(3))]}
            entity["alert"] = self.some({
                "active_period": [self.some({"start": moment, "end": r.choice([0, 2**63 - 1])}, 0.8) for _ in range(r.randrange(3))],
                "informed_entity": [self.some({"agency_id": "A/1", "route_id": "é\\", "route_type": -3, "trip": trip()}, 0.7)
                                    for _ in range(r.randrange(3))],
                "cause": r.choice([1, 12, 77]), "effect": r.choice([1, 11]), "header_text": words(),
                "description_text": words(), "severity_level": r.choice([1, 4, 0])}, 0.85)
        x = r.random()
        if x < 0.02:
            entity.pop("id")
        elif x < 0.04:
            entity["id"] = r.choice(["", "a\0b", "y" * 2049])
        return entity

    def some(self, members, often):
        return {name: value for name, value in members.items() if self.r.random() < often}

    def wire(self, name, message):
        r, out = self.r, b""
        if name == "Entity" and r.random() < 0.02:
            return r.choice([b"\x0a", b"\x0a\x01\xff", b"\x0a\x02zz\x08\x05\x07", b"\x0a\x01q\x22\x02\x0a\x09"])
        for number, (member, kind) in TYPES[name].items():
            if member not in message:
                continue
            values = message[member] if isinstance(kind, list) else [message[member]]
            plain = kind[0] if isinstance(kind, list) else kind
            for value in values:
                if isinstance(value, dict):
                    out += delimited(number, self.wire(plain, value))
                elif plain == "s":
                    out += delimited(number, value.encode())
                elif plain == "f":
                    out += number_bytes(number << 3 | 5) + struct.pack("<f", value)
                elif plain == "d":
                    out += number_bytes(number << 3 | 1) + struct.pack("<d", value)
                else:
                    out += number_bytes(number << 3) + number_bytes(value & 2**64 - 1)
        if r.random() < 0.05:
            out += r.choice([delimited(1001, b"\x08\x01"), number_bytes(99 << 3) + b"\x05"])
        return out

    def json(self, name, message):
        r, made = self.r, {}
        if name == "Entity" and r.random() < 0.02:
            return r.choice([7, None, {"id": 5}, {"id": "z", "vehicle": []}, {"id": "z", "vehicle": {"timestamp": -1}},
                             {"id": "z", "vehicle": {"position": {"speed": "fast"}}}, {"id": "z", "alert": {"cause": True}}])
        for member, kind in TYPES[name].values():
            if member not in message:
                continue
            plain = kind[0] if isinstance(kind, list) else kind
            spelled = [self.spelled_value(plain, v) for v in (message[member] if isinstance(kind, list) else [message[member]])]
            made[r.choice([member, camel(member)])] = spelled if isinstance(kind, list) else spelled[0]
        if r.random() < 0.05:
            made[r.choice(["nobody", "Id", "trip_Id"])] = r.choice([None, 1, {"a": []}])
        return made

    def spelled_value(self, kind, value):
        r = self.r
        if isinstance(value, dict):
            return self.json(kind, value)
        if isinstance(kind, dict):
            return kind[value] if value in kind and r.random() < 0.6 else value
        if isinstance(kind, str) and kind in BOUNDS:
            return r.choice([value, str(value)] + ([float(value)] if abs(value) < 2**50 else []))
        if kind in ("f", "d"):
            if value != value or abs(value) == float("inf"):
                return str(value).replace("nan", "NaN").replace("inf", "Infinity")
            return r.choice([value, value, repr(value)])
        return value

    def bad(self, p, now):
        r = self.r
        _, good = self.feed(p, now)
        return r.choice([
            None, b"", b"\xff" + good, b"{" + good, b'{"header":{},"entity":7}', b'{"header":[],"entity":[]}',
            b'{"header":{"timestamp":"soon"},"entity":[{"id":"a"}]}', b"hello", b"\x12\x00", b"[]", b'{"a":1,"a":2}',
            b'{"header":{"timestamp":99999999999999},"entity":[]}', b'{"header":null,"entity":null}', b'{"a":"\xff"}',
            b'{"header":{},"entity":null}', b'{"header":{"timestamp":0},"entity":[{"id":"q"},{"id":"q"}]}',
        ])

    def poison(self, p, now, number=None):
        self.put(p, ("create", now // 1000), b"bad", self.bad(p, now))
