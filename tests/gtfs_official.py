#!/usr/bin/env python3
"""Feeds as the official GTFS-Realtime bindings write them, every field of their schema set at random, in both forms of Protobuf.

usage: gtfs_official.py BINARY DIR     run by an interpreter that has gtfs-realtime-bindings; `gtfs_official.py BINARY DIR check`
    by one that has deltalake, over what the first has left

Checked is that the tables have what the bindings read from the same messages, that either form gives the same rows, that no field of
the official schema is unknown, and that an entity with one that nobody knows is kept as it came.
"""

import base64
import json
import os
import random
import subprocess
import sys

FEEDS = 120
START = 1_767_225_600
KEPT = "entity"
TABLES = ("vehicle_positions", "trip_updates", "alerts")
TRIP = ("trip_id", "route_id", "direction_id", "start_date", "start_time")


def filled(message, random, chance, depth=0):
    """Sets fields of it, each with that chance; times are of the minute that begins at START."""
    for field in message.DESCRIPTOR.fields:
        if not field.is_required and random.random() > chance:
            continue
        several = random.randint(1, 3) if field.is_repeated else 1
        for _ in range(several):
            if field.message_type:
                if depth < 6:
                    filled(getattr(message, field.name).add() if field.is_repeated else getattr(message, field.name), random, chance, depth + 1)
                    if not field.is_repeated:
                        getattr(message, field.name).SetInParent()
                continue
            value = scalar(field, random)
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)


def scalar(field, random):
    if field.enum_type:
        return random.choice(field.enum_type.values).number
    if field.name in ("timestamp", "time", "scheduled_time", "start", "end"):
        return START + random.randrange(60)
    return {
        field.CPPTYPE_STRING: lambda: "".join(random.choice('aé"\\\n7🚌') for _ in range(random.randint(1, 8))),
        field.CPPTYPE_BOOL: lambda: random.random() < 0.5,
        field.CPPTYPE_FLOAT: lambda: random.randint(-(2**20), 2**20) / 2**10,
        field.CPPTYPE_DOUBLE: lambda: random.uniform(-1e9, 1e9),
        field.CPPTYPE_INT32: lambda: random.randint(-(2**31), 2**31 - 1),
        field.CPPTYPE_UINT32: lambda: random.randint(0, 2**32 - 1),
        field.CPPTYPE_INT64: lambda: random.randint(-(2**40), 2**40),
        field.CPPTYPE_UINT64: lambda: random.randint(0, 2**40),
    }[field.cpp_type]()


def value_of(message, *path):
    """What the field at this path holds, by the name of it where it is an enum's; None where something on the way is absent."""
    for name in path:
        if message is None or not message.HasField(name):
            return None
        field = message.DESCRIPTOR.fields_by_name[name]
        message = getattr(message, name)
        if field.enum_type:
            return field.enum_type.values_by_number[message].name
    return message


def translated(text):
    return text.translation[0].text if text and text.translation else None


def rows_of(entity, rows):
    """What the bindings read of an entity, as columns."""
    if entity.HasField("vehicle"):
        of = lambda *path: value_of(entity.vehicle, *path)
        row = {name: of("trip", name) for name in TRIP} | {name: of("position", name) for name in ("latitude", "longitude", "bearing", "speed")}
        row |= {name: of(name) for name in ("stop_id", "current_stop_sequence", "current_status", "congestion_level", "occupancy_status")}
        rows["vehicle_positions"].append(row | {"vehicle_id": of("vehicle", "id"), "vehicle_label": of("vehicle", "label"), "entity_id": entity.id})
    if entity.HasField("trip_update"):
        of = lambda *path: value_of(entity.trip_update, *path)
        trip = {name: of("trip", name) for name in TRIP} | {"trip_schedule_relationship": of("trip", "schedule_relationship")}
        trip |= {"vehicle_id": of("vehicle", "id"), "vehicle_label": of("vehicle", "label"), "entity_id": entity.id}
        for stop in entity.trip_update.stop_time_update or [None]:
            row = {name: value_of(stop, name) for name in ("stop_sequence", "stop_id", "schedule_relationship")}
            for event in ("arrival", "departure"):
                row |= {f"{event}_{name}": value_of(stop, event, name) for name in ("delay", "time")}
            rows["trip_updates"].append(trip | row)
    if entity.HasField("alert"):
        of = lambda *path: value_of(entity.alert, *path)
        row = {name: of(name) for name in ("cause", "effect", "severity_level")}
        row |= {name: translated(of(name)) for name in ("header_text", "description_text")}
        rows["alerts"].append(row | {"entity_id": entity.id})


def tagged(number, payload):
    """A field of this number that holds these bytes."""
    out, rest = b"", number << 3 | 2
    while rest >= 0x80:
        out, rest = out + bytes([rest & 0x7F | 0x80]), rest >> 7
    assert len(payload) < 0x80
    return out + bytes([rest, len(payload)]) + payload


def made(binary, place):
    from google.protobuf import json_format
    from google.transit import gtfs_realtime_pb2 as gtfs

    os.makedirs(place)
    source, forms, rows, kept = random.Random(8), {"wire": [], "json": []}, {name: [] for name in TABLES}, {"wire": {}, "json": {}}
    for number in range(FEEDS):
        header = gtfs.FeedHeader(gtfs_realtime_version="2.0", timestamp=START + 30)
        wire, texts = tagged(1, header.SerializeToString()), []
        for part in range(3):
            entity = gtfs.FeedEntity()
            # The first ones have everything.
            filled(entity, source, 1 if number < 2 else 0.5)
            entity.id = f"{number}-{part}"
            rows_of(entity, rows)
            whole = json.loads(json_format.MessageToJson(entity, preserving_proto_field_name=bool(number % 2)))
            payload = entity.SerializeToString()
            if number % 5 == 4:
                # A vendor's extension, at the top, or a number that nobody has yet, within the vehicle.
                payload += tagged(1001, b"vendor") if part % 2 else tagged(4, tagged(19_000, b"new"))
                whole.setdefault("vehicle", {})["from_the_future"] = {"a": [1, None]}
                if not part % 2 and not entity.HasField("vehicle"):
                    rows_of(gtfs.FeedEntity.FromString(payload), with_vehicle := {name: [] for name in TABLES})
                    rows["vehicle_positions"] += with_vehicle["vehicle_positions"]
                elif not entity.HasField("vehicle"):
                    del whole["vehicle"]
                    whole["from_the_future"] = 1
                kept["wire"][entity.id] = base64.b64encode(payload).decode()
                kept["json"][entity.id] = json.dumps(whole)
            length, rest = b"", len(payload)
            while rest >= 0x80:
                length, rest = length + bytes([rest & 0x7F | 0x80]), rest >> 7
            wire += b"\x12" + length + bytes([rest]) + payload
            texts.append(json.dumps(whole))
        forms["wire"].append(wire)
        forms["json"].append(f'{{"header":{json_format.MessageToJson(header)},"entity":[{",".join(texts)}]}}'.encode())
    with open(os.path.join(place, "expected.json"), "w") as file:
        json.dump({"rows": rows, "kept": kept}, file)
    for form, payloads in forms.items():
        fixture = os.path.join(place, form)
        os.makedirs(fixture)
        with open(os.path.join(fixture, "dev_topic.jsonl"), "w") as lines:
            for number, payload in enumerate(payloads):
                line = {"topic": "dev_topic", "partition": number % 2, "offset": number // 2, "tstype": "create", "ts": (START + 60) * 1000,
                        "headers": [], "key": None, "payload_base64": base64.b64encode(payload).decode()}
                lines.write(json.dumps(line) + "\n")
        subprocess.run([binary, "replay", "transit", "--fixture", fixture, "--out", os.path.join(place, "out-" + form), "-w", "2"], check=True,
                       env={**os.environ, "TIDEGATE_TRANSIT_KEEP_UNKNOWN": "true"})


def check(place):
    import deltalake

    with open(os.path.join(place, "expected.json")) as file:
        expected = json.load(file)
    in_order = lambda rows: sorted(json.dumps(row, sort_keys=True) for row in rows)
    seconds = lambda cell: int(cell.timestamp()) if hasattr(cell, "timestamp") else cell
    with_rows, whole = {row["entity_id"] for rows in expected["rows"].values() for row in rows}, {}
    for form in ("wire", "json"):
        kept = []
        for name, rows in expected["rows"].items():
            found = deltalake.DeltaTable(os.path.join(place, "out-" + form, "delta", name)).to_pyarrow_table().to_pylist()
            kept += [(row["entity_id"], row[KEPT]) for row in found if row[KEPT] is not None]
            for row in found:
                del row[KEPT]
            read = [{key: seconds(row[key]) for key in rows[0]} for row in found]
            wrong = [pair for pair in zip(in_order(read), in_order(rows)) if pair[0] != pair[1]]
            assert len(found) == len(rows) > 50 and not wrong, (form, name, len(found), len(rows), wrong[:1])
            found = in_order([{key: str(cell) for key, cell in row.items()} for row in found])
            assert whole.setdefault(name, found) == found, f"{name}: the forms differ"
        # Each once, in one of its rows.
        wanted = [item for item in expected["kept"][form].items() if item[0] in with_rows]
        assert len(wanted) > 30 and sorted(kept) == sorted(wanted), (form, len(kept), len(wanted))
        print(f"{form}: {sum(map(len, whole.values()))} rows as the official bindings read them, {len(kept)} entities with unknown fields kept")


if __name__ == "__main__":
    if sys.argv[3:] == ["check"]:
        check(sys.argv[2])
    else:
        made(sys.argv[1], sys.argv[2])
