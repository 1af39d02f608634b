#!/usr/bin/env python3
"""Hostile fixtures of kcat lines for a pipeline, seeded: the same arguments, the same files.

usage: random_fixture.py OUT --seed N [--records N] [--pipeline activity|iot|hydraulic|transit]

OUT must not exist or be empty. The log is drawn first (`Story`), then laid out in files (`layout.py`), so that
every way of laying it out holds the same records.
"""

import argparse
import importlib
import json
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import layout
import poison
import times
from kcat import Record

TOPIC = "user_activity"
BASE = times.days_from_civil(2026, 1, 14) * 86_400 * times.SECOND + 22 * 60 * times.MINUTE
KINDS = ["page_view"] * 12 + ["click"] * 5 + ["session_start"] * 2 + ["session_end"] * 2
VALUES = [
    "1", "-0.0", "1.50", "1e3", '"text"', '"a \\"b\\" \\u00e9 é"', "null", "true", "[ 1 , 2 ]", '{ "k" : [ ] , "l" : { } }',
    '"  spaces stay  "', "[]", "{}", '"\\/"', "123456789012345678901234567890",
]
HEARTBEAT = b"tidegate-watermark"


class Story:
    """Draws the records of all partitions, in the order in which they were produced."""

    topic = TOPIC

    def __init__(self, seed, records):
        self.r = random.Random("%d/%d" % (seed, records))
        r = self.r
        self.partitions = r.choice([1, 2, 3, 5, 8])
        self.users = ["user_%d" % i for i in range(r.choice([1, 4, 30, 300]))] + ["ünïcode", "u'\";--", "0"]
        self.pages = ["https://example.com/p/%d" % i for i in range(r.choice([1, 5, 60]))] + ["/", "/é?q=\"x\"&y=\\"]
        self.span = r.choice([10, 45, 180, 400]) * times.MINUTE
        self.total = records
        self.snap = r.choice([0.02, 0.3, 0.8])  # how often a time stands exactly on a boundary
        self.trouble = r.choice([0.0, 0.02, 0.15])
        self.stragglers = r.choice([0.0, 0.03, 0.2])
        self.extra = r.choice([0.0, 0.1, 0.5])
        self.heartbeats = r.choice([0.0, 0.01, 0.05])
        self.lag = [r.choice([0, 0, 1, 10, 70]) * times.MINUTE for _ in range(self.partitions)]
        self.offset = [r.choice([0, 0, 5, 1000, 2**40]) for _ in range(self.partitions)]
        self.largest = [None] * self.partitions
        self.records = []
        self.planned = []  # (due, event time, user, kind)

    def tell(self):
        every_poison = {}
        if self.r.random() < 0.3:
            for number in range(len(poison.payloads(self.good(BASE)))):
                every_poison.setdefault(self.r.randrange(self.total), []).append(number)
        for i in range(self.total):
            now = BASE + i * self.span // self.total
            for number in every_poison.get(i, []):
                self.poison(self.r.randrange(self.partitions), now, number)
            due = [p for p in self.planned if p[0] <= now]
            self.planned = [p for p in self.planned if p[0] > now]
            for _, time, user, kind in due:
                self.event(self.punctual(), time, now, user=user, kind=kind)
            self.step(now)
        self.plan_rest()
        self.last_words(BASE + self.span)
        return self.records

    def punctual(self):
        """A partition in which the present does not make the rest late, if there is one."""
        return self.r.choice([p for p, lag in enumerate(self.lag) if lag <= times.MINUTE] or range(self.partitions))

    def step(self, now):
        r = self.r
        p = r.randrange(self.partitions)
        x = r.random()
        if x < self.trouble:
            self.poison(p, now)
        elif x < self.trouble + self.heartbeats:
            self.heartbeat(p, now)
        elif x < self.trouble + self.heartbeats + 0.01:
            self.edge_sessions(now)
        else:
            self.event(p, self.time(p, now), now)

    def time(self, p, now):
        """An event time for partition `p`: near, late, or exactly where a decision turns."""
        r = self.r
        now -= self.lag[p]
        if r.random() < self.stragglers:
            return now - r.choice([r.randrange(1, 25 * times.MINUTE), r.randrange(1, 400 * times.MINUTE)])
        if r.random() < self.snap:
            if self.largest[p] is not None and r.random() < 0.5:
                watermark = self.largest[p] - 2 * times.MINUTE
                # The watermark itself, its neighbours, and windows that end or begin exactly there.
                return watermark - r.choice([0, 1, 4, 5]) * times.MINUTE + r.choice([-1, 0, 0, 1])
            return now // times.MINUTE * times.MINUTE + r.choice([0, 0, -1, 1, times.SECOND])
        return now - r.randrange(0, r.choice([1, 30, 200]) * times.SECOND)

    def event(self, p, time, now, user=None, kind=None):
        r = self.r
        body = {
            "event_time": time,
            "user_id": user or r.choice(self.users),
            "page_url": r.choice(self.pages),
            "event_type": kind or r.choice(KINDS),
        }
        payload = self.spelled(body, self.extras())
        self.put(p, self.kafka_time(p, time, now), self.key(body["user_id"]), payload)
        self.largest[p] = time if self.largest[p] is None else max(time, self.largest[p])

    def spelled(self, body, extras):
        """A JSON object with the members in any order, spaced and escaped in any way."""
        r = self.r
        parts = [(json.dumps(k), json.dumps(v, ensure_ascii=r.random() < 0.5)) for k, v in body.items()]
        parts[0] = ('"event_time"', spell(body["event_time"], r))
        parts += extras
        if r.random() < 0.3:
            r.shuffle(parts)
        if r.random() < 0.05:
            parts = [(escape_some(k, r), v) for k, v in parts]
        colon, comma = r.choice([(":", ","), (":", ","), (": ", ", "), (" :\t", "\n, ")])
        return ("{" + comma.join(k + colon + v for k, v in parts) + "}").encode()

    def extras(self):
        r = self.r
        if r.random() >= self.extra:
            return []
        if r.random() < 0.01:
            names = ["n%d" % i for i in range(r.choice([99, 100, 101, 130]))]
        else:
            names = r.sample(EXTRA_NAMES, r.randrange(1, 4)) + ["w%d" % r.randrange(150)] * (r.random() < 0.3)
        return [(json.dumps(name, ensure_ascii=r.random() < 0.5), r.choice(VALUES)) for name in names]

    def kafka_time(self, p, time, now):
        r = self.r
        x = r.random()
        if x < 0.90:
            return "create", now // 1000 + r.randrange(-500, 500)
        if x < 0.95:
            return "logappend", now // 1000
        if x < 0.97:
            return r.choice([("unknown", -1), ("create", -1), ("unknown", now // 1000), ("logappend", -5)])
        # Up to an hour ahead is allowed, to the microsecond; a timestamp has milliseconds.
        return "create", -(-time // 1000) - 3_600_000

    def key(self, user):
        r = self.r
        return r.choice([user.encode()] * 8 + [None, b"", b"\xff\x00key", b"\x00", "clé\n\"".encode()])

    def heartbeat(self, p, now):
        r = self.r
        time = now - self.lag[p] + r.choice([-20, -3, -2, -1, -1, 0]) * times.MINUTE
        if r.random() < 0.5:
            time = time // times.MINUTE * times.MINUTE
        headers = [(HEARTBEAT, b"%d" % time)]
        if r.random() < 0.3:
            headers.insert(r.randrange(2), (b"trace", None))
        self.put(p, ("create", now // 1000), None, r.choice([None, b"", b"{}", b"\xff"]), headers)

    def poison(self, p, now, number=None):
        r = self.r
        time = self.time(p, now)
        if number is None and r.random() < 0.1:
            # More than an hour after its own Kafka timestamp, by as little as a microsecond.
            ts = time // 1000 - 3_600_000 - r.choice([0, 1, 86_400_000])
            body = {"event_time": max(time, ts * 1000 + 3_600_000_001), "user_id": "u", "page_url": "/", "event_type": "click"}
            self.put(p, ("create", ts), b"u", self.spelled(body, []))
            return
        payloads = poison.payloads(self.good(time))
        payload, _ = r.choice(payloads) if number is None else payloads[number]
        self.put(p, ("create", now // 1000), self.key("poison"), payload)

    def good(self, time):
        """An event for the poisons to be built around."""
        r = self.r
        return {
            "event_time": times.rfc3339(time), "user_id": r.choice(self.users), "page_url": r.choice(self.pages),
            "event_type": r.choice(KINDS),
        }

    def edge_sessions(self, now):
        """A user whose events lie where a session's rule turns."""
        r = self.r
        user = "edge_%d" % r.randrange(40)
        gap = 30 * times.MINUTE
        time = now // times.SECOND * times.SECOND
        plot = r.choice(
            [
                [(0, "page_view"), (gap, "click")],
                [(0, "page_view"), (gap - 1, "click")],
                [(0, "page_view"), (gap, "session_end")],
                [(0, "session_start"), (0, "session_start"), (0, "session_start"), (1, "page_view")],
                [(0, "session_start"), (0, "session_end"), (0, "session_start"), (0, "session_end")],
                [(0, "session_end"), (1, "session_end")],
                [(0, "session_start"), (gap, "session_start"), (gap, "session_end")],
                [(0, "session_start"), (times.MINUTE, "session_start"), (2 * times.MINUTE, "click")],
                [(0, "click"), (999_999, "session_end"), (999_999, "page_view")],
            ]
        )
        for after, kind in plot:
            self.planned.append((time + after, time + after, user, kind))

    def plan_rest(self):
        """What was planned for after the end still happens, some of it late."""
        for due, time, user, kind in self.planned:
            if self.r.random() < 0.5:
                self.event(self.punctual(), time, due, user=user, kind=kind)

    def last_words(self, now):
        """Events that would spoil the rest of the log if they came sooner."""
        r = self.r
        p = r.randrange(self.partitions)
        body = {"event_time": now, "user_id": "size", "page_url": "/", "event_type": "page_view"}
        for size in (1 << 20, (1 << 20) + 1):
            if r.random() < 0.3:
                payload = self.spelled(body, [('"fill"', '""')])
                payload = payload.replace(b'""', b'"' + b"x" * (size - len(payload)) + b'"')
                self.put(p, ("create", now // 1000), b"size", payload)
        if r.random() < 0.3:
            self.event(p, now + r.choice([31, 55, 60]) * times.MINUTE, now)
            self.event(p, now, now)
        if r.random() < 0.5:
            # Sessions whose last event lies exactly 30 minutes before the final watermark, and a microsecond less.
            end = max([time for time in self.largest if time is not None] + [now])
            for after in (-2 * times.MINUTE, 1 - 2 * times.MINUTE):
                self.event(p, end + after, now, user="last_%d" % after, kind="click")
            self.event(p, end + 30 * times.MINUTE, end + 30 * times.MINUTE, user="closer", kind="session_end")
        if r.random() < 0.3:
            for time in (
                "9999-12-31T23:59:59.999999Z", "9999-12-31T23:40:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:05:00+00:00",
                "1969-12-31T23:59:59.999999Z",
            ):
                far = {"event_time": time, "user_id": "far", "page_url": "/far", "event_type": "page_view"}
                self.put(p, ("unknown", -1), b"far", json.dumps(far).encode())

    def put(self, p, kafka_time, key, payload, headers=None):
        r = self.r
        if headers is None:
            headers = [] if r.random() < 0.9 else [(b"trace", b"abc"), (b"trace", b""), (b"bin", None)][: r.randrange(4)]
        tstype, ts = kafka_time
        record = Record(self.topic, p, self.offset[p], ts, headers, key, payload)
        self.records.append((record, tstype))
        # Aborted transactions and compaction leave gaps.
        self.offset[p] += 1 if r.random() < 0.95 else r.choice([2, 3, 500])


class WithoutSessions(Story):
    """A story without the scenes that are about sessions."""

    def edge_sessions(self, now):
        pass

    def plan_rest(self):
        pass

    def last_words(self, now):
        pass


EXTRA_NAMES = [
    "referrer", "device", "Device", "rest", "", "late", "event_date", "kafka_offset", "processing_time", "x", "x_x",
    "a.b", "a b", "a\"b", "a/b", "é", "日本", "user id", "null", "0", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
]


def escape_some(token, r):
    """The same name with some of its letters written as \\u escapes."""
    name = json.loads(token)
    return '"' + "".join("\\u%04x" % ord(c) if c.isalnum() and ord(c) < 128 and r.random() < 0.3 else json.dumps(c)[1:-1] for c in name) + '"'


def spell(micros, r):
    """One of the spellings of an instant that the contract reads."""
    if micros % 1000 == 0 and r.random() < 0.3:
        return str(micros // 1000)
    minutes = 0
    zone = r.choice(["Z", "Z", "Z", "z", "", "+00:00", "-00:00", "+05:30", "-11:59", "+23:59"])
    if zone[1:]:
        minutes = (int(zone[1:3]) * 60 + int(zone[4:6])) * (1 if zone[0] == "+" else -1)
    text = times.rfc3339(micros + minutes * times.MINUTE)[:-1]
    text = text.replace("T", r.choice(["T", "T", "t", " "]))
    whole, fraction = text.split(".")
    digits = r.randrange(1, 10)
    if micros % times.SECOND == 0 and digits < 4:
        text = whole
    elif digits > 6:
        # Digits beyond the microsecond are cut, not rounded.
        text += "9" * (digits - 6)
    else:
        kept = fraction.rstrip("0").ljust(1, "0")
        text = whole + "." + kept.ljust(digits, "0")
    return '"' + text + zone + '"'


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--pipeline", choices=["activity", "iot", "hydraulic", "transit"], default="activity")
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    if os.listdir(arguments.out):
        sys.exit("%s is not empty" % arguments.out)
    # The other stories take from this module.
    told = Story if arguments.pipeline == "activity" else importlib.import_module(arguments.pipeline + "_story").Story
    story = told(arguments.seed, arguments.records)
    layout.write(arguments.out, story.tell(), random.Random(arguments.seed * 2 + 1))


if __name__ == "__main__":
    main()
