"""A fixture for tests of what a run shows: half a minute's burst, a slow minute, and then an hour of silence in Kafka time,
so that a replay at the recorded pace first moves, and then stands still.

usage: fixture.py DIR SECONDS
"""
import json, os, random, sys

BASE_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z


def main(folder, seconds):
    draw = random.Random(7)
    os.makedirs(folder, exist_ok=True)
    files = [open(os.path.join(folder, f"activity-{p}.jsonl"), "w") for p in range(2)]
    offsets = [0, 0]

    def put(partition, at_ms, payload):
        line = {"topic": "user_activity", "partition": partition, "offset": offsets[partition], "tstype": "create",
                "ts": at_ms, "headers": [], "key": None, "payload": payload}
        offsets[partition] += 1
        files[partition].write(json.dumps(line) + "\n")

    def event(at_ms, n):
        stamp = at_ms / 1000
        kind = draw.choice(["page_view", "page_view", "click", "session_start", "session_end"])
        return json.dumps({"event_time": int(stamp * 1000), "user_id": f"u{n % 50}", "page_url": f"/page/{n % 9}",
                           "event_type": kind})

    n = 0
    # An hour of history in one second, so that windows have closed and a straggler can be late.
    for step in range(2_000):
        put(n % 2, BASE_MS + step // 2, event(BASE_MS - 3_600_000 + step * 1_790, n))
        n += 1
    for tick in range(seconds * 10):
        at_ms = BASE_MS + 1_000 + tick * 100
        if tick % 25 == 7:
            put(n % 2, at_ms, event(at_ms - 1_200_000, n))  # late
        elif tick % 25 == 13:
            put(n % 2, at_ms, '{"user_id": 5}')  # schema
        elif tick % 50 == 21:
            put(n % 2, at_ms, "<script>alert(1)</script>")  # not_json, and the page must not run it
        else:
            put(n % 2, at_ms, event(at_ms, n))
        n += 1
    for partition in range(2):
        put(partition, BASE_MS + 3_600_000, event(BASE_MS + 3_600_000, n))
    for file in files:
        file.close()


main(sys.argv[1], int(sys.argv[2]))
