#!/usr/bin/env python3
"""What the `activity` pipeline must answer to a fixture: contract sections 1, 2, 5 and 6, read aloud.

usage: activity.py FIXTURE [--summary]      prints the expected answer as JSON lines

Slow and plain on purpose, and sharing nothing with the engine: one loop over the log decides each record
by itself, then each output is computed from the list of accepted events. Windows are found by trying them.
"""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import fixture
import times
from payload import Refused, heartbeat_of, members_of, read_time, text_of

TOPIC = "user_activity"
DELAY = 2 * times.MINUTE
MAX_AHEAD = 60 * times.MINUTE
GAP = 30 * times.MINUTE
MAX_COLUMNS = 100
KINDS = ("page_view", "click", "session_start", "session_end")
MEMBERS = ("event_time", "user_id", "page_url", "event_type")
JUDGED = ("page_view_counts", "active_users", "user_sessions")
FOREVER_AGO = -(2**100)


class Event:
    """An accepted record: its members, where it stood, and the watermark before it."""

    __slots__ = ("time", "user", "page", "kind", "extras", "object", "record", "watermark")

    def __init__(self, time, user, page, kind, extras, members, record, watermark):
        self.time = time
        self.user = user
        self.page = page
        self.kind = kind
        self.extras = extras  # (name, name's text, Node) of the members that are not ours, in document order
        self.object = members  # all members
        self.record = record
        self.watermark = watermark

    def order(self):
        return self.time, self.record.partition, self.record.offset


class Line:
    """One line of an embedded topic, without its own offset (which only counts)."""

    __slots__ = ("partition", "ts_ms", "key", "headers", "payload")

    def __init__(self, record, headers, payload):
        self.partition = record.partition
        self.ts_ms = record.ts_ms
        self.key = record.key
        self.headers = headers  # list of (name, text)
        self.payload = payload  # bytes or None


class Answer:
    """Everything that a replay of the fixture must leave behind."""

    def __init__(self):
        self.summary = {}
        self.tables = {}  # name -> list of rows, each a dict
        self.lake = []  # rows, each a dict; columns that are absent are null
        self.topics = {}  # name -> list of Line in (partition, offset) order


def answer(directory):
    """The expected answer to the fixture in `directory`."""
    return compute(fixture.read_directory(directory))


def compute(records):
    """The expected answer to records given in the order in which they are read."""
    log = Log()
    for record in records:
        log.take(record)
    result = Answer()
    outputs = {}
    result.tables["page_view_counts"], outputs["page_view_counts"] = page_view_counts(log.accepted)
    result.tables["active_users"], outputs["active_users"] = active_users(log.accepted)
    last, history, outputs["user_sessions"] = sessions(log.accepted, log.final_watermark())
    result.tables["user_sessions"], result.tables["session_history"] = last, history
    outputs["session_history"] = {"rows": len(history)}
    result.lake = lake(log.accepted)
    result.topics["enriched_activity"] = in_order([enriched(event) for event in log.accepted])
    result.topics[TOPIC + ".late"] = in_order([line for line in map(late_line, log.accepted) if line])
    result.topics[TOPIC + ".dlq"] = in_order(log.dead)
    result.summary = {
        "read": log.duplicate_offsets + sum(log.rejected.values()) + len(log.accepted),
        "duplicate_offsets": log.duplicate_offsets,
        "rejected": log.rejected,
        "accepted": len(log.accepted),
        "outputs": outputs,
    }
    return result


class Log:
    """Section 1 and the front of section 6: each record by itself, in its own partition."""

    def __init__(self):
        self.accepted = []
        self.dead = []
        self.rejected = {}
        self.duplicate_offsets = 0
        self.last_offset = {}
        self.largest = {}  # partition -> largest event time of its accepted records
        self.raised = {}  # partition -> largest heartbeat

    def watermark(self, partition):
        by_events = self.largest[partition] - DELAY if partition in self.largest else FOREVER_AGO
        return max(by_events, self.raised.get(partition, FOREVER_AGO))

    def final_watermark(self):
        return max([self.watermark(p) for p in self.last_offset] or [FOREVER_AGO])

    def take(self, record):
        if record.topic != TOPIC:
            return
        partition = record.partition
        if record.offset <= self.last_offset.get(partition, -1):
            self.duplicate_offsets += 1
            return
        self.last_offset[partition] = record.offset
        heartbeat = heartbeat_of(record)
        if heartbeat is not None:
            self.raised[partition] = max(heartbeat, self.raised.get(partition, FOREVER_AGO))
            return
        try:
            event = decode(record, self.watermark(partition))
        except Refused as refused:
            reason = str(refused)
            self.rejected[reason] = self.rejected.get(reason, 0) + 1
            headers = [("reason", reason), ("detail", None)] + origin(record)
            self.dead.append((record.offset, Line(record, headers, record.value)))
            return
        self.accepted.append(event)
        self.largest[partition] = max(event.time, self.largest.get(partition, event.time))


def decode(record, watermark):
    """The event, or `Refused` with the first reason that holds, in the order of section 6."""
    members, named = members_of(record, MEMBERS)
    user, page, kind = (text_of(named[member]) for member in MEMBERS[1:])
    if kind not in KINDS:
        raise Refused("schema")
    time = read_time(named["event_time"])
    if time is None:
        raise Refused("time")
    if record.ts_ms is not None and time - record.ts_ms * 1000 > MAX_AHEAD:
        raise Refused("ahead")
    extras = [member for member in members if member[0] not in MEMBERS]
    return Event(time, user, page, kind, extras, members, record, watermark)


def windows(time, width, slide):
    """Every window [start, end) aligned to the epoch that holds `time`."""
    start = time - time % slide
    while start + width > time:
        yield start, start + width
        start -= slide


def is_late(window_end, event):
    return window_end <= event.watermark


def counts(counted=0, filtered=0, late=0):
    return {"counted": counted, "filtered": filtered, "late": late, "idle": 0, "rows": 0}


def late_for(event):
    """The outputs for which the event is late, in section 6 order."""
    outputs = []
    if event.kind == "page_view" and all(is_late(e, event) for _, e in windows(event.time, times.MINUTE, times.MINUTE)):
        outputs.append("page_view_counts")
    if all(is_late(e, event) for _, e in windows(event.time, 5 * times.MINUTE, times.MINUTE)):
        outputs.append("active_users")
    if event.time < event.watermark:
        outputs.append("user_sessions")
    return outputs


def page_view_counts(events):
    found, summary = {}, counts()
    for event in events:
        if event.kind != "page_view":
            summary["filtered"] += 1
        elif "page_view_counts" in late_for(event):
            summary["late"] += 1
        else:
            summary["counted"] += 1
            for start, end in windows(event.time, times.MINUTE, times.MINUTE):
                found[start, end, event.page] = found.get((start, end, event.page), 0) + 1
    rows = [
        {"window_start": times.rfc3339(s), "window_end": times.rfc3339(e), "page_url": p, "view_count": n}
        for (s, e, p), n in found.items()
    ]
    summary["rows"] = len(rows)
    return rows, summary


def active_users(events):
    found, summary = {}, counts()
    for event in events:
        if "active_users" in late_for(event):
            summary["late"] += 1
            continue
        summary["counted"] += 1
        for start, end in windows(event.time, 5 * times.MINUTE, times.MINUTE):
            if not is_late(end, event):
                found.setdefault((start, end), set()).add(event.user)
    rows = [
        {"window_start": times.rfc3339(s), "window_end": times.rfc3339(e), "active_user_count": len(users)}
        for (s, e), users in found.items()
    ]
    summary["rows"] = len(rows)
    return rows, summary


def sessions(events, final_watermark):
    """(user_sessions, session_history, the summary of user_sessions)."""
    summary = counts()
    by_user = {}
    for event in events:
        if event.time < event.watermark:
            summary["late"] += 1
        else:
            by_user.setdefault(event.user, []).append(event)
    last, history = [], []
    for user, own in by_user.items():
        closed, ignored = sessions_of_user(sorted(own, key=Event.order), final_watermark)
        summary["filtered"] += ignored
        summary["counted"] += len(own) - ignored
        rows = [session_row(user, closed, i) for i in range(len(closed))]
        history.extend(rows)
        if rows:
            newest = max(rows, key=lambda row: (row["session_start_time"], row["seq"]))
            last.append({k: v for k, v in newest.items() if k in USER_SESSIONS_COLUMNS})
    summary["rows"] = len(last)
    return last, history, summary


USER_SESSIONS_COLUMNS = ("user_id", "session_start_time", "session_end_time", "session_duration_seconds")


def session_row(user, closed, i):
    start, end, reason, events, page_views = closed[i]
    return {
        "user_id": user,
        "session_start_time": times.rfc3339(start),
        "session_end_time": times.rfc3339(end),
        "session_duration_seconds": (end - start) // times.SECOND,
        "seq": sum(1 for earlier in closed[:i] if earlier[0] == start),
        "end_reason": reason,
        "events": events,
        "page_views": page_views,
    }


def sessions_of_user(events, final_watermark):
    """([(start, end, reason, events, page views)] in the order they opened, how many events were ignored)."""
    done, ignored = [], 0
    current = None  # [start, last event, events, page views]

    def close(reason, end):
        nonlocal current
        done.append((current[0], end, reason, current[2], current[3]))
        current = None

    for event in events:
        if current is not None and event.time - current[1] >= GAP:
            close("timeout", current[1])
        if event.kind == "session_start":
            if current is not None:
                close("restart", current[1])
            current = [event.time, event.time, 1, 0]
        elif event.kind == "session_end":
            if current is None:
                ignored += 1
            else:
                current[2] += 1
                close("ended", event.time)
        else:
            if current is None:
                current = [event.time, event.time, 0, 0]
            current[1] = event.time
            current[2] += 1
            current[3] += event.kind == "page_view"
    if current is not None:
        close("timeout" if final_watermark >= current[1] + GAP else "open", current[1])
    return done, ignored


def lake(events):
    """Every accepted event. Which names have a column is decided partition by partition, in log order."""
    names_of = {}
    rows = []
    for event in events:
        record = event.record
        row = {
            "event_date": times.date(event.time),
            "event_time": times.rfc3339(event.time),
            "user_id": event.user,
            "page_url": event.page,
            "event_type": event.kind,
            "late": event.time < event.watermark,
            "kafka_topic": record.topic,
            "kafka_partition": record.partition,
            "kafka_offset": record.offset,
            "kafka_timestamp": times.of_kafka(record.ts_ms),
        }
        names = names_of.setdefault(record.partition, set())
        rest = []
        for name, _, node in event.extras:
            # A member called "rest" would take the place of the column for the rest: it goes in there.
            if name not in names and len(names) < MAX_COLUMNS and name != "rest":
                names.add(name)
            if name in names:
                row["x_" + name] = node.compact
            else:
                # The value as it was written; the name in its shortest form.
                rest.append(json.dumps(name, ensure_ascii=False) + ":" + node.compact)
        if rest:
            row["x_rest"] = "{" + ",".join(rest) + "}"
        rows.append(row)
    return rows


def enriched(event):
    """The original object, white space aside, with `processing_time` as its last member."""
    record = event.record
    processed_at = times.of_kafka(record.ts_ms)
    stamp = "null" if processed_at is None else '"' + processed_at + '"'
    parts = [token + ":" + node.compact for name, token, node in event.object if name != "processing_time"]
    payload = "{" + ",".join(parts + ['"processing_time":' + stamp]) + "}"
    return record.offset, Line(record, [], payload.encode())


def late_line(event):
    outputs = late_for(event)
    if not outputs:
        return None
    late_by_ms = -((event.time - event.watermark) // 1000)
    headers = [("reason", "late"), ("outputs", ",".join(outputs)), ("late_by_ms", str(late_by_ms))]
    record = event.record
    return record.offset, Line(record, headers + origin(record), record.value)


def origin(record):
    return [("topic", record.topic), ("partition", str(record.partition)), ("offset", str(record.offset))]


def in_order(lines):
    """By (partition, source offset)."""
    return [line for _, line in sorted(lines, key=lambda pair: (pair[1].partition, pair[0]))]


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
