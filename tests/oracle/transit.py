#!/usr/bin/env python3
"""What the `transit` pipeline must answer to a fixture, and whether a replay did: contract sections 1, 2, 5 and 6.

usage: transit.py FIXTURE OUT...     compares each OUT with what is computed here
       transit.py --make OUT --seed N [--records N]     a hostile fixture

Exit: 0 the same, 1 different (the first differences are printed). Delta tables are read by their log; nothing is shared
with the engine.
"""

import argparse
import glob
import json
import os
import random
import struct
import sys
from fractions import Fraction

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import activity
import fixture
import layout
import random_fixture
import run_output
import strict_json
import times
from iot import rounded
from payload import MAX_RECORD_BYTES, MAX_STRING_BYTES, Refused, heartbeat_of, members_of

TOPIC = "dev_topic"
DELAY, WINDOW, GAP = 2 * times.MINUTE, 5 * times.MINUTE, 30 * times.MINUTE
DAY = 86_400 * times.SECOND

STOP = dict(enumerate("INCOMING_AT STOPPED_AT IN_TRANSIT_TO".split()))
CONGESTION = dict(enumerate(
    "UNKNOWN_CONGESTION_LEVEL RUNNING_SMOOTHLY STOP_AND_GO CONGESTION SEVERE_CONGESTION".split()))
OCCUPANCY = dict(enumerate(
    "EMPTY MANY_SEATS_AVAILABLE FEW_SEATS_AVAILABLE STANDING_ROOM_ONLY CRUSHED_STANDING_ROOM_ONLY FULL "
    "NOT_ACCEPTING_PASSENGERS NO_DATA_AVAILABLE NOT_BOARDABLE".split()))
CAUSE = dict(enumerate(
    "UNKNOWN_CAUSE OTHER_CAUSE TECHNICAL_PROBLEM STRIKE DEMONSTRATION ACCIDENT HOLIDAY WEATHER MAINTENANCE CONSTRUCTION "
    "POLICE_ACTIVITY MEDICAL_EMERGENCY".split(), 1))
EFFECT = dict(enumerate(
    "NO_SERVICE REDUCED_SERVICE SIGNIFICANT_DELAYS DETOUR ADDITIONAL_SERVICE MODIFIED_SERVICE OTHER_EFFECT UNKNOWN_EFFECT "
    "STOP_MOVED NO_EFFECT ACCESSIBILITY_ISSUE".split(), 1))
SEVERITY = dict(enumerate("UNKNOWN_SEVERITY INFO WARNING SEVERE".split(), 1))
TRIP_SCHEDULE = {0: "SCHEDULED", 1: "ADDED", 2: "UNSCHEDULED", 3: "CANCELED", 5: "REPLACEMENT", 6: "DUPLICATED",
                 7: "DELETED", 8: "NEW"}
STOP_SCHEDULE = dict(enumerate("SCHEDULED SKIPPED NO_DATA UNSCHEDULED".split()))

# number: (name, kind); a kind is a type's letter, an enum's dictionary, or a message's name; in a list where repeated.
TYPES = {
    "Header": {1: ("gtfs_realtime_version", "s"), 2: ("incrementality", {0: "FULL_DATASET", 1: "DIFFERENTIAL"}),
               3: ("timestamp", "u64"), 4: ("feed_version", "s")},
    "Entity": {1: ("id", "s"), 2: ("is_deleted", "b"), 3: ("trip_update", "Update"), 4: ("vehicle", "Position"),
               5: ("alert", "Alert")},
    "Update": {1: ("trip", "Trip"), 2: ("stop_time_update", ["Stop"]), 3: ("vehicle", "Vehicle"), 4: ("timestamp", "u64"),
               5: ("delay", "i32")},
    "Stop": {1: ("stop_sequence", "u32"), 2: ("arrival", "Event"), 3: ("departure", "Event"), 4: ("stop_id", "s"),
             5: ("schedule_relationship", STOP_SCHEDULE)},
    "Event": {1: ("delay", "i32"), 2: ("time", "i64"), 3: ("uncertainty", "i32")},
    "Position": {1: ("trip", "Trip"), 2: ("position", "Place"), 3: ("current_stop_sequence", "u32"),
                 4: ("current_status", STOP), 5: ("timestamp", "u64"), 6: ("congestion_level", CONGESTION),
                 7: ("stop_id", "s"), 8: ("vehicle", "Vehicle"), 9: ("occupancy_status", OCCUPANCY),
                 10: ("occupancy_percentage", "u32")},
    "Place": {1: ("latitude", "f"), 2: ("longitude", "f"), 3: ("bearing", "f"), 4: ("odometer", "d"), 5: ("speed", "f")},
    "Trip": {1: ("trip_id", "s"), 2: ("start_time", "s"), 3: ("start_date", "s"),
             4: ("schedule_relationship", TRIP_SCHEDULE), 5: ("route_id", "s"), 6: ("direction_id", "u32")},
    "Vehicle": {1: ("id", "s"), 2: ("label", "s"), 3: ("license_plate", "s")},
    "Alert": {1: ("active_period", ["Period"]), 5: ("informed_entity", ["Selector"]), 6: ("cause", CAUSE),
              7: ("effect", EFFECT), 10: ("header_text", "Words"), 11: ("description_text", "Words"),
              14: ("severity_level", SEVERITY)},
    "Period": {1: ("start", "u64"), 2: ("end", "u64")},
    "Selector": {1: ("agency_id", "s"), 2: ("route_id", "s"), 3: ("route_type", "i32"), 4: ("trip", "Trip"),
                 5: ("stop_id", "s"), 6: ("direction_id", "u32")},
    "Words": {1: ("translation", ["Word"])},
    "Word": {1: ("text", "s"), 2: ("language", "s")},
}
BOUNDS = {"i32": (-2**31, 2**31 - 1), "i64": (-2**63, 2**63 - 1), "u32": (0, 2**32 - 1), "u64": (0, 2**64 - 1)}


def varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data) or shift >= 70:
            raise Refused("schema")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value & (2**64 - 1), at


def fields(data):
    """(number, wire type, value) of a message's bytes, or `Refused`."""
    at, found = 0, []
    while at < len(data):
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not 1 <= number < 2**29:
            raise Refused("schema")
        if wire == 0:
            value, at = varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, at = data[at : at + size], at + size
        elif wire == 2:
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise Refused("schema")  # the fixtures made here have no groups
        if at > len(data):
            raise Refused("schema")
        found.append((number, wire, value))
    return found


def of_wire(name, data):
    message = {}
    for number, wire, value in fields(data):
        if number not in TYPES[name]:
            continue
        member, kind = TYPES[name][number]
        plain = kind[0] if isinstance(kind, list) else kind
        if isinstance(plain, dict) or plain in BOUNDS or plain == "b":
            if wire != 0:
                continue
            signed = value - 2**64 if value >= 2**63 else value
            if plain == "u64":
                value = min(value, 2**63 - 1)
            elif plain == "u32":
                value &= 2**32 - 1
            elif plain == "i64":
                value = signed
            else:
                value &= 2**32 - 1
                value -= 2**32 if value >= 2**31 else 0
            if isinstance(plain, dict):
                value = plain.get(value, str(value))
        elif plain in ("f", "d"):
            if wire != (5 if plain == "f" else 1):
                continue
            value = struct.unpack("<" + plain, value)[0]
        elif wire != 2:
            continue
        elif plain == "s":
            try:
                value = value.decode("utf-8")
            except UnicodeDecodeError:
                raise Refused("schema") from None
        else:
            value = of_wire(plain, value)
        put(message, member, kind, value)
    return message


def put(message, member, kind, value):
    if isinstance(kind, list):
        message.setdefault(member, []).append(value)
    elif isinstance(value, dict) and member in message:
        types = TYPES[kind].values()
        for inner, inner_kind in types:
            for part in (value.get(inner, []) if isinstance(inner_kind, list) else [value[inner]] if inner in value else []):
                put(message[member], inner, inner_kind, part)
    else:
        message[member] = value


def camel(name):
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def of_json(name, node):
    if node.kind != "object":
        raise Refused("schema")
    members = {}
    for given, _, value in node.value:
        members[given] = value
    message = {}
    for member, kind in TYPES[name].values():
        value = members.get(member)
        if value is None or value.kind == "null":
            value = members.get(camel(member))
        if value is None or value.kind == "null":
            continue
        if isinstance(kind, list):
            if value.kind != "array":
                raise Refused("schema")
            for part in value.value:
                message.setdefault(member, []).append(scalar(kind[0], part))
        else:
            message[member] = scalar(kind, value)
    return message


def whole(node):
    text = node.value if node.kind == "string" else node.compact
    if node.kind not in ("integer", "fraction", "string"):
        raise Refused("schema")
    try:
        number = strict_json.parse(text)
    except strict_json.NotJson:
        raise Refused("schema") from None
    if number.kind not in ("integer", "fraction") or text != text.strip():
        raise Refused("schema")
    if number.kind == "integer":
        return number.value
    value = float(text)
    if value != int(value) or abs(value) > 2**53:
        raise Refused("schema")
    return int(value)


def scalar(kind, node):  # an enum is a dictionary, which is no key
    if isinstance(kind, str) and kind in BOUNDS:
        value, (low, high) = whole(node), BOUNDS[kind]
        if not low <= value <= high:
            raise Refused("schema")
        return min(value, 2**63 - 1)
    if kind == "b":
        if node.kind not in ("true", "false"):
            raise Refused("schema")
        return int(node.kind == "true")
    if isinstance(kind, dict):
        if node.kind == "string":
            return node.value
        if node.kind not in ("integer", "fraction"):
            raise Refused("schema")
        value = whole(node)
        if not -2**31 <= value < 2**31:
            raise Refused("schema")
        return kind.get(value, str(value))
    if kind in ("f", "d"):
        if node.kind == "string" and node.value in ("NaN", "Infinity", "-Infinity"):
            return float(node.value.replace("Infinity", "inf"))
        if node.kind == "string":
            try:
                inner = strict_json.parse(node.value)
            except strict_json.NotJson:
                raise Refused("schema") from None
            if node.value != node.value.strip():
                raise Refused("schema")
            node = inner
        if node.kind not in ("integer", "fraction"):
            raise Refused("schema")
        value = float(node.compact)
        if kind == "f":
            try:
                return struct.unpack("<f", struct.pack("<f", value))[0]
            except OverflowError:
                raise Refused("schema") from None
        return value
    if kind == "s":
        if node.kind != "string":
            raise Refused("schema")
        return node.value
    return of_json(kind, node)


def texts(message):
    for value in message.values():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                yield from texts(part)
            elif isinstance(part, str):
                yield part


def seconds(message, member):
    """A time of the feed, or None where it is absent; `Refused` beyond the year 9999."""
    value = message.get(member, 0)
    if value == 0:
        return None
    if value >= 253_402_300_800:
        raise Refused("time")
    return value * times.SECOND


class Item:
    """An entity or an object, with what judging and the tables need of it."""

    def __init__(self, time, feed=None, entity=None, payload=None):
        self.time, self.feed, self.entity, self.payload = time, feed, entity, payload


def entity_item(message, feed, record):
    if not message.get("id"):
        raise Refused("schema")
    if any("\0" in text for text in texts(message)):
        raise Refused("schema")
    keys = [message["id"]] + [t for m in ("trip_update", "vehicle") for t in texts(message.get(m, {}))]
    if any(len(text.encode()) > MAX_STRING_BYTES for text in keys):
        raise Refused("schema")
    own = [seconds(message.get(member, {}), "timestamp") for member in ("vehicle", "trip_update")]
    kafka = None if record.ts_ms is None else record.ts_ms * 1000
    for time in (*own, feed, kafka):
        if time is not None:
            return Item(time, feed, message)
    raise Refused("schema")


def disguised(record):
    """Whether a feed on the wire looks like JSON: its header has 123 bytes."""
    if not record.value.startswith(b"\n{"):
        return False
    try:
        members_of(record, ())
        return False
    except Refused:
        pass
    try:
        headers = [data for number, wire, data in fields(record.value) if number == 1 and wire == 2]
        seconds(of_wire("Header", headers[-1]), "timestamp")
        return True
    except (Refused, IndexError):
        return False


def items(record):
    """(id or None, payload of a letter, item or reason) of all that a record holds."""
    value = record.value
    try:
        if not value:
            raise Refused("tombstone")
        if len(value) > MAX_RECORD_BYTES:
            raise Refused("too_large")
        if value.lstrip(b" \t\r\n\x0c").startswith(b"{") and not disguised(record):
            all_members, named = members_of(record, ())
            if "header" not in named or "entity" not in named:
                if record.ts_ms is None:
                    raise Refused("schema")
                return [(None, value, Item(record.ts_ms * 1000, payload=value))]
            header = named["header"]
            feed = seconds(of_json("Header", header), "timestamp")
            entities = named["entity"]
            if entities.kind not in ("array", "null"):
                raise Refused("schema")
            parts = entities.value if entities.kind == "array" else []
            read, name = (lambda part: of_json("Entity", part)), json_id
            alone = lambda part: ("json", header.compact, part.compact)  # noqa: E731
        else:
            found = fields(value)
            headers = [data for number, wire, data in found if number == 1 and wire == 2]
            if not headers:
                raise Refused("schema")
            feed = seconds(of_wire("Header", headers[-1]), "timestamp")
            parts = [data for number, wire, data in found if number == 2 and wire == 2]
            read, name = (lambda part: of_wire("Entity", part)), wire_id
            alone = lambda part: delimited(1, headers[-1]) + delimited(2, part)  # noqa: E731
    except Refused as refused:
        return [(None, value, refused.args[0])]
    if not parts:
        return [(None, value, Item(None))]
    made = []
    for part in parts:
        payload = alone(part) if len(parts) > 1 else value
        try:
            item = entity_item(read(part), feed, record)
            made.append((item.entity["id"], payload, item))
        except Refused as refused:
            made.append((name(part), payload, refused.args[0]))
    return made


def wire_id(data):
    ids, at = [""], 0
    for end in range(len(data), 0, -1):  # the longest beginning that is whole fields
        try:
            found = fields(data[:end])
        except Refused:
            continue
        for number, wire, value in found:
            if number == 1 and wire == 2:
                try:
                    ids.append(value.decode("utf-8"))
                except UnicodeDecodeError:
                    pass
        break
    return ids[-1]


def json_id(node):
    ids = [v.value for n, _, v in node.value if n == "id"] if node.kind == "object" else []
    return ids[-1] if ids and isinstance(ids[-1], str) else ""


def number_bytes(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def delimited(number, data):
    return number_bytes(number << 3 | 2) + number_bytes(len(data)) + data


class Answer:
    def __init__(self, records):
        self.last, self.largest, self.raised = {}, {}, {}
        self.groups, self.runs, self.totals, self.rejected = {}, {}, {}, {}
        self.tables = {name: [] for name in ("vehicle_positions", "trip_updates", "alerts", "events")}
        self.topics = {TOPIC + ".late": [], TOPIC + ".dlq": []}
        self.read = self.duplicates = self.accepted = self.late = self.filtered = 0
        for record in records:
            if record.topic == TOPIC:
                self.take(record)

    def watermark(self, p):
        by_events = self.largest[p] - DELAY if p in self.largest else activity.FOREVER_AGO
        return max(by_events, self.raised.get(p, activity.FOREVER_AGO))

    def take(self, record):
        p = record.partition
        if record.offset <= self.last.get(p, -1):
            self.read += 1
            self.duplicates += 1
            return
        self.last[p] = record.offset
        heartbeat = heartbeat_of(record)
        if heartbeat is not None:
            self.raised[p] = max(heartbeat, self.raised.get(p, activity.FOREVER_AGO))
            return
        watermark = self.watermark(p)
        for index, (name, payload, item) in enumerate(items(record)):
            self.read += 1
            if isinstance(item, Item) and item.time is not None and record.ts_ms is not None:
                if item.time - record.ts_ms * 1000 > activity.MAX_AHEAD:
                    item = "ahead"
            if not isinstance(item, Item):
                self.rejected[item] = self.rejected.get(item, 0) + 1
                self.letter(".dlq", record, index, [["reason", item], ["detail", None]], name, payload)
                continue
            self.accepted += 1
            self.accept(record, index, watermark, name, payload, item)

    def letter(self, kind, record, index, headers, name, payload):
        headers = headers + list(map(list, activity.origin(record))) + ([] if name is None else [["entity_id", name]])
        order = record.partition, record.offset, index
        self.topics[TOPIC + kind].append((order, record.partition, record.ts_ms, headers, record.key, payload))

    def accept(self, record, index, watermark, name, payload, item):
        if item.time is None:
            self.filtered += 1
            return
        p = record.partition
        self.largest[p] = max(item.time, self.largest.get(p, item.time))
        self.rows(record, item)
        vehicle = (item.entity or {}).get("vehicle")
        if vehicle is None:
            self.filtered += 1
            return
        trip = vehicle.get("trip", {})
        seen = vehicle.get("vehicle", {}).get("id") or trip.get("trip_id") or item.entity["id"]
        if item.time >= watermark:
            self.runs.setdefault(seen, []).append(item.time)
        route = trip.get("route_id")
        if not route:
            self.filtered += 1
            return
        self.totals[route] = self.totals.get(route, 0) + 1
        end = (item.time // WINDOW + 1) * WINDOW
        if end <= watermark:
            self.late += 1
            late_by = str(-((item.time - watermark) // 1000))
            headers = [["reason", "late"], ["outputs", "route_activity"], ["late_by_ms", late_by]]
            self.letter(".late", record, index, headers, name, payload)
        else:
            speed = finite(vehicle.get("position", {}).get("speed"))
            self.groups.setdefault((end - WINDOW, route), []).append((seen, speed))

    def rows(self, record, item):
        origin = (record.topic, p_of(record), record.offset, None if record.ts_ms is None else record.ts_ms * 1000)
        day = times.rfc3339(item.time)[:10]

        def row(table, *cells):
            self.tables[table].append((day, *cells, *origin))

        if item.entity is None:
            row("events", item.time, item.payload.decode())
            return
        own = item.feed, item.time, item.entity["id"]
        vehicle = item.entity.get("vehicle")
        if vehicle is not None:
            place, named = vehicle.get("position", {}), vehicle.get("vehicle", {})
            row("vehicle_positions", *own, *trip_cells(vehicle), named.get("id"), named.get("label"),
                *(finite(place.get(m)) for m in ("latitude", "longitude", "bearing", "speed")), vehicle.get("stop_id"),
                vehicle.get("current_stop_sequence"), vehicle.get("current_status"), vehicle.get("congestion_level"),
                vehicle.get("occupancy_status"))
        update = item.entity.get("trip_update")
        if update is not None:
            named = update.get("vehicle", {})
            for stop in update.get("stop_time_update") or [{}]:
                arrival, departure = stop.get("arrival", {}), stop.get("departure", {})
                row("trip_updates", *own, *trip_cells(update), update.get("trip", {}).get("schedule_relationship"),
                    named.get("id"), named.get("label"), stop.get("stop_sequence"), stop.get("stop_id"),
                    arrival.get("delay"), stop_time(arrival), departure.get("delay"), stop_time(departure),
                    stop.get("schedule_relationship"))
        alert = item.entity.get("alert")
        if alert is not None:
            words = [(alert.get(m, {}).get("translation") or [{}])[0].get("text") for m in ("header_text", "description_text")]
            row("alerts", *own, alert.get("cause"), alert.get("effect"), alert.get("severity_level"), *words,
                written([ordered("Period", x) for x in alert.get("active_period", [])]),
                written([ordered("Selector", x) for x in alert.get("informed_entity", [])]))

    def route_activity(self):
        made = []
        for (start, route), group in self.groups.items():
            speeds = [Fraction(speed) for _, speed in group if speed is not None]
            mean = rounded(sum(speeds) / len(speeds)) if speeds else None
            made.append((times.rfc3339(start), times.rfc3339(start + WINDOW), route, len({seen for seen, _ in group}),
                         len(group), mean))
        return sorted(made, key=repr)

    def vehicle_sessions(self):
        final = max((self.watermark(p) for p in {*self.largest, *self.raised}), default=activity.FOREVER_AGO)
        made = []
        for vehicle, seen in self.runs.items():
            seen.sort()
            run = [seen[0]]
            for time in seen[1:] + [None]:
                if time is None or time - run[-1] >= GAP:
                    timeout = time is not None or final >= run[-1] + GAP
                    made.append((vehicle, times.rfc3339(run[0]), times.rfc3339(run[-1]),
                                 (run[-1] - run[0]) // times.SECOND, 0, "timeout" if timeout else "open", len(run)))
                    run = []
                if time is not None:
                    run.append(time)
        return sorted(made, key=repr)

    def summary(self):
        counted = sum(map(len, self.groups.values()))
        rows = {"vehicle_sessions": len(self.vehicle_sessions()), "route_totals": len(self.totals)}
        rows.update({name: len(rows) for name, rows in self.tables.items()})
        rows.update({name: len(lines) for name, lines in self.topics.items()})
        return {
            "read": self.read, "duplicate_offsets": self.duplicates, "accepted": self.accepted,
            "rejected": self.rejected,
            "route_activity": [counted, self.filtered, self.late, 0, len(self.groups)], "rows": rows,
        }


def p_of(record):
    return record.partition


def finite(value):
    return value + 0.0 if value is not None and abs(value) < float("inf") else None


def trip_cells(of):
    trip = of.get("trip", {})
    return tuple(trip.get(m) for m in ("trip_id", "route_id", "direction_id", "start_date", "start_time"))


def stop_time(event):
    time = event.get("time", 0)
    micros = time * times.SECOND
    return micros if time != 0 and times.in_range(micros) else None


def ordered(name, message):
    found = {}
    for number in sorted(TYPES[name]):
        member, kind = TYPES[name][number]
        if member in message:
            value = message[member]
            found[member] = ordered(kind, value) if isinstance(value, dict) else value
    return found


def written(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def delta_rows(out, table):
    """The rows of a Delta table as its log has it, the partition's value in front."""
    import pyarrow.parquet  # only where rows are read

    root, files = os.path.join(out, "delta", table), {}
    for commit in sorted(glob.glob(os.path.join(root, "_delta_log", "*.json"))):
        with open(commit, encoding="utf-8") as lines:
            for action in map(json.loads, lines):
                if "add" in action:
                    files[action["add"]["path"]] = action["add"]
                if "remove" in action:
                    files.pop(action["remove"]["path"], None)
    rows = []
    for path, add in files.items():
        found = pyarrow.parquet.ParquetFile(os.path.join(root, path)).read()
        assert json.loads(add["stats"])["numRecords"] == found.num_rows, path
        columns = []
        for column in found.columns:
            stamp = pyarrow.types.is_timestamp(column.type)
            columns.append((column.cast(pyarrow.int64()) if stamp else column).to_pylist())
        day = add["partitionValues"].get("event_date")
        rows += [((day,) if day else ()) + row for row in zip(*columns)]
    return rows


def same_line(want, have):
    """A detail is free text; an entity alone is compared as what it says where it is JSON."""
    if want[:2] != have[:2] or want[3] != have[3] or len(want[2]) != len(have[2]):
        return False
    payload, found = want[4], have[4]
    if isinstance(payload, tuple):
        _, header, entity = payload
        try:
            found = strict_json.parse(found.decode()).compact
        except strict_json.NotJson:
            return False
        payload = '{"header":%s,"entity":[%s]}' % (header, entity)
    if payload != found:
        return False
    return all(n == m and (v == t or (n == "detail" and t)) for (n, v), (m, t) in zip(want[2], have[2]))


SQL = {
    "route_activity": "window_start,window_end,route_id,vehicles_seen,observations,mean_speed",
    "vehicle_sessions":
        "vehicle_id,session_start_time,session_end_time,session_duration_seconds,seq,end_reason,observations",
    "route_totals": "route_id,observations",
}


def compare(answer, out):
    wrong = []

    def check(name, want, have):
        want, have = sorted(map(repr, want)), sorted(map(repr, have))
        if want != have:
            wrong.append("%s: %d rows expected, %d found" % (name, len(want), len(have)))
            for row in sorted(set(want) - set(have))[:run_output.SHOWN]:
                wrong.append("  expected %s" % row)
            for row in sorted(set(have) - set(want))[:run_output.SHOWN]:
                wrong.append("  found    %s" % row)

    expected = {"route_activity": answer.route_activity(), "vehicle_sessions": answer.vehicle_sessions(),
                "route_totals": list(answer.totals.items())}
    connection = run_output.tables(out)
    for table, columns in SQL.items():
        check(table, expected[table], connection.execute("SELECT %s FROM %s" % (columns, table)))
    connection.close()
    micros = lambda text: times.read_text(text)  # noqa: E731
    stamps = {"route_activity": 2, "vehicle_sessions": 3, "route_totals": 0}
    for table, rows in expected.items():
        first = 1 if table == "vehicle_sessions" else 0
        timed = [tuple(micros(v) if first <= i < stamps[table] else v for i, v in enumerate(row)) for row in rows]
        check("delta/" + table, timed, delta_rows(out, table))
    for table, rows in answer.tables.items():
        check("delta/" + table, rows, delta_rows(out, table))
    wrong += run_output.topics(out, answer.topics, same_line)
    counts = run_output.summary(out, "transit", "route_activity")
    if counts != answer.summary():
        wrong.append("summary: expected %r\n  found %r" % (answer.summary(), counts))
    return run_output.tell(out, wrong)


class Story(random_fixture.Story):
    """Feeds in place of events: same disorder, same clocks, poisons of their own."""

    def step(self, now):
        r, p = self.r, self.r.randrange(self.partitions)
        x = r.random()
        if x < self.trouble:
            self.put(p, ("create", now // 1000), b"bad", self.bad(p, now))
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

    def edge_sessions(self, now):
        pass

    def plan_rest(self):
        pass

    def last_words(self, now):
        pass

    def poison(self, p, now, number=None):
        self.put(p, ("create", now // 1000), b"bad", self.bad(p, now))

    def put(self, p, kafka_time, key, payload, headers=None):
        super().put(p, kafka_time, key, payload, headers)
        record, _ = self.records[-1]
        record.topic = TOPIC


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
