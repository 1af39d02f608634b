#!/usr/bin/env python3
"""A topic of messages of a type of one's own, as protoc describes it and Protobuf's own library writes them.

usage: described.py BINARY DIR     run by an interpreter that has grpcio-tools and protobuf; `described.py BINARY DIR check`
    by one that has deltalake, over what the first has left
"""

import base64
import json
import os
import subprocess
import sys

PROTO = """
syntax = "proto3";
package fleet.v1;
import "google/protobuf/timestamp.proto";
enum Door { CLOSED = 0; OPEN = 1; }
message Position {
  string vehicle = 1;
  google.protobuf.Timestamp at = 2;
  sint64 odometer = 3;
  repeated double axles = 4;
  map<string, Door> doors = 5;
  bytes raw = 6;
  oneof note { string text = 7; uint32 code = 8; }
}
"""
MESSAGES = 500


def made(binary, place):
    from grpc_tools import protoc

    os.makedirs(place)
    proto, described = os.path.join(place, "fleet.proto"), os.path.join(place, "fleet.pb")
    with open(proto, "w") as file:
        file.write(PROTO)
    own = os.path.join(os.path.dirname(protoc.__file__), "_proto")
    code = protoc.main(["protoc", "-I" + place, "-I" + own, "--include_imports", "--descriptor_set_out=" + described,
                        "--python_out=" + place, proto])
    assert code == 0, "protoc failed"
    sys.path.insert(0, place)
    import fleet_pb2
    from google.protobuf import json_format

    expected = []
    os.makedirs(os.path.join(place, "fixture"))
    with open(os.path.join(place, "fixture", "fleet.jsonl"), "w") as fixture:
        for number in range(MESSAGES):
            message = fleet_pb2.Position(vehicle="v%d" % (number % 7), odometer=-number if number % 3 else 2**60 + number)
            message.at.FromMicroseconds(1_700_000_000_000_000 + number * 1_234_567)
            message.axles.extend([0.5 * number, float("inf")] if number % 50 == 0 else [0.1 * number])
            for door in range(number % 9):
                message.doors["door %d" % door] = door % 2
            message.raw = bytes([number % 256, 255])
            if number % 2:
                message.code = number
            else:
                message.text = 'a "quoted" ü\n'
            payload = message.SerializeToString()
            if number == 100:
                # What no message is: cut.
                payload = payload[:-3]
            else:
                expected.append(json.loads(json_format.MessageToJson(message)))
            line = {"topic": "fleet", "partition": number % 2, "offset": number // 2, "tstype": "create",
                    "ts": 1_700_000_000_000 + number * 1_235, "headers": [], "key": None,
                    "payload_base64": base64.b64encode(payload).decode()}
            fixture.write(json.dumps(line) + "\n")
    with open(os.path.join(place, "expected.json"), "w") as file:
        json.dump(expected, file)
    with open(os.path.join(place, "config.yaml"), "w") as file:
        file.write("transit:\n  topic: fleet\n  message: {descriptor_set: %s, type: fleet.v1.Position}\n"
                   "  events: {time_field: at, unit: rfc3339}\n" % described)
    for workers in ("1", "3"):
        subprocess.run([binary, "replay", "transit", "--config", os.path.join(place, "config.yaml"), "--fixture",
                        os.path.join(place, "fixture"), "--out", os.path.join(place, "out-" + workers), "-w", workers], check=True)
    wrong = subprocess.run([binary, "validate", "--config", os.path.join(place, "config.yaml")], capture_output=True,
                           text=True, env={**os.environ, "TIDEGATE_TRANSIT_MESSAGE_TYPE": "fleet.Position"})
    assert wrong.returncode == 2 and "fleet.v1.Position" in wrong.stdout + wrong.stderr, wrong


def check(place):
    import deltalake

    with open(os.path.join(place, "expected.json")) as file:
        expected = json.load(file)
    for message in expected:
        # Our numbers are numbers.
        if "odometer" in message:
            message["odometer"] = int(message["odometer"])
    in_order = lambda messages: sorted(messages, key=lambda message: message["at"])
    texts = []
    for workers in ("1", "3"):
        rows = deltalake.DeltaTable(os.path.join(place, "out-" + workers, "delta", "events")).to_pyarrow_table().to_pylist()
        found = [json.loads(row["payload"]) for row in rows]
        texts.append(sorted(row["payload"] for row in rows))
        assert in_order(found) == in_order(expected), "%d of %d" % (len(found), len(expected))
        for row, message in zip(rows, found):
            at = row["event_time"].isoformat(timespec="microseconds")
            assert at[:19] == message["at"][:19], (at, message["at"])
        with open(os.path.join(place, "out-" + workers, "topics", "fleet.dlq.jsonl")) as file:
            letters = [json.loads(line) for line in file]
        assert len(letters) == 1 and "schema" in letters[0]["headers"], letters
    assert texts[0] == texts[1], "the same messages are other texts"
    print("%d messages are the objects that Protobuf's own library makes of them" % len(expected))


if __name__ == "__main__":
    if sys.argv[3:] == ["check"]:
        check(sys.argv[2])
    else:
        made(sys.argv[1], sys.argv[2])
