"""What the `transit` pipeline must answer to a fixture: contract sections 1, 2, 5 and 6.

Feeds are read by hand, from the wire or from JSON, by one description of their messages (`TYPES`).
"""

import json
import struct
from fractions import Fraction

import activity
import fixture
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
    kafka = None if record.ts_ms is None else times.read_millis(record.ts_ms)
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
                kafka = None if record.ts_ms is None else times.read_millis(record.ts_ms)
                if kafka is None:
                    raise Refused("schema")
                return [(None, value, Item(kafka, payload=value))]
            header = named["header"]
            feed = seconds(of_json("Header", header), "timestamp")
            entities = named["entity"]
            if entities.kind not in ("array", "null"):
                raise Refused("schema")
            parts = entities.value if entities.kind == "array" else []
            read, name = (lambda part: of_json("Entity", part)), json_id
            text = value.decode()
            spelled = lambda node: text[slice(*node.span)]  # noqa: E731
            alone = lambda part: ('{"header":%s,"entity":[%s]}' % (spelled(header), spelled(part))).encode()  # noqa: E731
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


def answer(directory):
    """The expected answer to the fixture in `directory`."""
    return Answer(fixture.read_directory(directory))


class Answer:
    """The answer to records given in the order in which they are read."""

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
                self.letter(".dlq", record, index, [("reason", item), ("detail", None)], name, payload)
                continue
            self.accepted += 1
            self.accept(record, index, watermark, name, payload, item)

    def letter(self, kind, record, index, headers, name, payload):
        headers = headers + activity.origin(record) + ([] if name is None else [("entity_id", name)])
        self.topics[TOPIC + kind].append(((record.offset, index), activity.Line(record, headers, payload)))

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
            headers = [("reason", "late"), ("outputs", "route_activity"), ("late_by_ms", late_by)]
            self.letter(".late", record, index, headers, name, payload)
        else:
            speed = finite(vehicle.get("position", {}).get("speed"))
            self.groups.setdefault((end - WINDOW, route), []).append((seen, speed))

    def rows(self, record, item):
        origin = record.topic, record.partition, record.offset, times.of_kafka(record.ts_ms)
        day, time = times.date(item.time), times.rfc3339(item.time)

        def row(table, *cells):
            self.tables[table].append((day, *cells, *origin))

        if item.entity is None:
            row("events", time, item.payload.decode())
            return
        own = None if item.feed is None else times.rfc3339(item.feed), time, item.entity["id"]
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
        return made

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
        return made

    def summary(self):
        counts = {"counted": sum(map(len, self.groups.values())), "filtered": self.filtered, "late": self.late, "idle": 0,
                  "rows": len(self.groups)}
        rows = {"vehicle_sessions": len(self.vehicle_sessions()), "route_totals": len(self.totals)}
        rows.update({name: len(rows) for name, rows in self.tables.items()})
        rows.update({name: len(lines) for name, lines in self.topics.items()})
        return {
            "read": self.read, "duplicate_offsets": self.duplicates, "accepted": self.accepted,
            "rejected": self.rejected,
            "outputs": {"route_activity": counts, **{name: {"rows": n} for name, n in rows.items()}},
        }


def finite(value):
    return value + 0.0 if value is not None and abs(value) < float("inf") else None


def trip_cells(of):
    trip = of.get("trip", {})
    return tuple(trip.get(m) for m in ("trip_id", "route_id", "direction_id", "start_date", "start_time"))


def stop_time(event):
    time = event.get("time", 0)
    micros = times.in_range(time * times.SECOND)
    return None if time == 0 or micros is None else times.rfc3339(micros)


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
