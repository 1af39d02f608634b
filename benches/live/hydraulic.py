#!/usr/bin/env python3
"""How long it takes from the close of a second's window to its row in PostgreSQL and on the console, and how much memory that takes.

usage: hydraulic.py topics SERVERS
       hydraulic.py measure SERVERS CONSOLE PID SECONDS -- GENERATOR...

The generator goes through a cycle of 60 seconds in each second, so 60 windows close in it. It keeps to a schedule, whatever the pipeline
does: nothing that is slow makes a later window wait its turn (open loop).

A window closes when the last of the 17 topics holds a record whose event time is `delay` (10 s) beyond the window's end: before that
record no program could close it, with that record any could. The instant is when the record was in Kafka, by the broker's clock, which is
ours: the topics have LogAppendTime. What the generator's client waits before it sends is no part of it.

Read back are the ten topics of at most 10 readings a second. The seven of 100 come to the same event time at most some hundredths of a
second of the rig later, which is less than a millisecond here: leaving them out makes latencies longer, if anything. The largest of the
ten instants counts.

A row is in PostgreSQL when a query that began after its commit sees it, and on the console when its line has been read from the pipe.
The row is that of `synchronized_features`; those of `sensor_features` are in the same transaction. Memory is that of the program, looked
at ten times a second over the whole run.
"""

import json
import re
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone

import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

SLOW = ["FS1", "FS2", "TS1", "TS2", "TS3", "TS4", "VS1", "CE", "CP", "SE"]
FAST = ["PS1", "PS2", "PS3", "PS4", "PS5", "PS6", "EPS1"]
A_SECOND = 43_680
DELAY_S = 10
# A cycle of the rig in seconds, which the generator takes one second for.
CYCLE_S = 60
# So many seconds at the start are not counted: connections are made, pages are read for the first time, and the broker's virtual machine
# compiles itself: for more than a minute, where it has two processors with all others.
WARM_UP = 60
BOUND_MS, BOUND_MB = 100, 300
# Seconds between an answer and the next query.
A_PAUSE = 0.003


def topics(servers):
    config = {"message.timestamp.type": "LogAppendTime"}
    wanted = [NewTopic(f"hydraulic-{sensor}", 1, 1, config=config) for sensor in SLOW + FAST]
    # Kept: what it is to make is given up with it.
    admin = AdminClient({"bootstrap.servers": servers})
    for made in admin.create_topics(wanted).values():
        made.result(30)
    # A topic that was made has no leader for a moment, and who asks it then is refused.
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "bench"})
    for topic in wanted:
        for left in reversed(range(50)):
            try:
                consumer.get_watermark_offsets(TopicPartition(topic.topic, 0), timeout=5)
                break
            except KafkaException:
                if not left:
                    raise
                time.sleep(0.2)
    consumer.close()


def second_of(text):
    """The whole second, since the epoch, of a time as it is written."""
    return int(datetime.fromisoformat(text[:19] + "+00:00").timestamp())


def read_back(servers, closed_at, over):
    """When, by its wall clock in ms, each topic came to each event time; `closed_at` has the windows' ends that all have come to."""
    # Nobody waits for it, and the broker has less to do.
    rarely = {"fetch.wait.max.ms": 200, "fetch.min.bytes": 1 << 20}
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "bench", "enable.auto.commit": False, **rarely})
    consumer.assign([TopicPartition(f"hydraulic-{sensor}", 0, OFFSET_BEGINNING) for sensor in SLOW])
    reached, came = {}, {}
    while not over.is_set():
        for message in consumer.consume(1_000, 0.2):
            if message.error():
                raise KafkaException(message.error())
            at = second_of(json.loads(message.value())["timestamp"])
            topic, (_, append_ms) = message.topic(), message.timestamp()
            # All ends up to here that this topic had not come to.
            before = reached.get(topic)
            reached[topic] = max(at, before or at)
            for end in range(at if before is None else before + 1, at + 1):
                count, latest = came.get(end, (0, 0))
                came[end] = (count + 1, max(latest, append_ms))
                if count + 1 == len(SLOW):
                    closed_at[end - DELAY_S] = came.pop(end)[1]
    consumer.close()


def watch_console(path, shown):
    wanted = re.compile(r'"window_end": ?"([^"]+)"')
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.endswith('"table":"synchronized_features"}\n'):
                shown.setdefault(second_of(wanted.search(line)[1]), time.time() * 1e3)


def watch_postgres(seen, over):
    with psycopg.connect(autocommit=True) as connection:
        newest = datetime(2000, 1, 1, tzinfo=timezone.utc)
        while not over.is_set():
            time.sleep(A_PAUSE)
            try:
                # By the table's key, so that looking costs little.
                query = "SELECT window_start, window_end FROM synchronized_features WHERE window_start > %s"
                rows = connection.execute(query, [newest]).fetchall()
            except psycopg.errors.UndefinedTable:
                time.sleep(0.1)
                continue
            now_ms = time.time() * 1e3
            for start, end in rows:
                seen.setdefault(int(end.timestamp()), now_ms)
                newest = max(newest, start)


def watch_memory(pid, peaks, over):
    while not over.is_set():
        # A program that has ended has no memory, and its rows will be missed.
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            for line in status:
                name, _, value = line.partition(":")
                if name in ("VmRSS", "RssAnon"):
                    peaks[name] = max(peaks.get(name, 0), int(value.split()[0]) / 1e3)
        time.sleep(0.1)


def figure(name, value, bound):
    print(f"= {name:<56} {value:>8.0f}  at most {bound}: {'kept' if value <= bound else 'MISSED'}")


def latencies(name, seen, closed_at, counted):
    late = sorted(seen[end] - closed_at[end] for end in counted)
    at = lambda share: late[min(len(late) - 1, int(share * len(late)))]
    print(f"{name}: {len(late)} windows: p50 {at(0.5):.0f} ms, p90 {at(0.9):.0f}, p99 {at(0.99):.0f}, largest {late[-1]:.0f}")
    figure(f"window closed to row {name}, p99, ms", at(0.99), BOUND_MS)


def measure(servers, console, pid, seconds, generator):
    closed_at, shown, seen, peaks, over = {}, {}, {}, {}, threading.Event()
    for work in (
        (read_back, servers, closed_at, over),
        (watch_console, console, shown),
        (watch_postgres, seen, over),
        (watch_memory, pid, peaks, over),
    ):
        threading.Thread(target=work[0], args=work[1:], daemon=True).start()
    # The rig's clock is sixty times as fast as ours: it begins so that it does not come to the future.
    start = datetime.now(timezone.utc) - timedelta(seconds=CYCLE_S * (seconds + WARM_UP + 60))
    start = start.replace(second=0, microsecond=0)
    flags = ["--cycles", str(seconds + WARM_UP), "--start", start.strftime("%Y-%m-%dT%H:%M:%SZ")]
    subprocess.run([*generator, *flags], check=True)
    first = int(start.timestamp()) + CYCLE_S * WARM_UP
    # A topic may be without a reading for a moment at the end: its last ones can be late ones.
    last = int(start.timestamp()) + CYCLE_S * (seconds + WARM_UP) - 2 * DELAY_S
    wanted = range(first, last)
    deadline = time.monotonic() + 30
    missing = lambda: [end for end in wanted if not all(end in of for of in (closed_at, shown, seen))]
    while missing() and time.monotonic() < deadline:
        time.sleep(0.2)
    over.set()
    if left := missing():
        sys.exit(f"{len(left)} of {len(wanted)} windows never came: {[(end in closed_at, end in shown, end in seen) for end in left[:5]]}")
    took_s = (closed_at[last - 1] - closed_at[first]) / 1e3
    rate = (last - 1 - first) / took_s * A_SECOND / CYCLE_S
    print(f"{rate:,.0f} readings a second came to Kafka")
    if rate < 0.98 * A_SECOND:
        sys.exit("the generator did not keep its rate: nothing can be said")
    latencies("in PostgreSQL", seen, closed_at, wanted)
    latencies("on the console", shown, closed_at, wanted)
    figure("resident memory, MB", peaks["VmRSS"], BOUND_MB)
    print(f"  of which anonymous, MB {peaks['RssAnon']:.0f}")


if sys.argv[1] == "topics":
    topics(sys.argv[2])
else:
    measure(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), sys.argv[7:])
