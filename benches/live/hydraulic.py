#!/usr/bin/env python3
"""How long it takes from the close of a second's window to its row in PostgreSQL and on the console, and how much memory that takes.

usage: hydraulic.py topics SERVERS
       hydraulic.py measure SERVERS CONSOLE PID SECONDS -- GENERATOR...

The generator goes through a cycle of 60 seconds in each second, so 60 windows close in it. It keeps to a schedule, whatever the pipeline
does: nothing that is slow makes a later window wait its turn (open loop).

A window closes when the last of the 17 topics holds a record whose event time is `delay` (10 s) beyond the window's end: before that
record no program could close it, with that record any could. The instant is when the record was in Kafka, by the broker's clock, which is
ours: the topics have LogAppendTime. What the generator's client waits before it sends is no part of it.

All 17 topics are read back for that, once everything is over: nothing that measures reads from the broker meanwhile.

A row is in PostgreSQL when the server tells a listener of its commit, and on the console when its line has been read from the pipe.
The row is that of `synchronized_features`; those of `sensor_features` are in the same transaction. A trigger of the bench sends what
the listener hears, so that nobody has to ask again and again, which took a fifth of a processor. Memory is that of the program, looked
at ten times a second over the whole run.

The broker keeps its log in memory where there is room (/dev/shm), as if it were on another machine: on this one's only disk the system
writes half a minute of log at once, and whoever commits meanwhile waits for half a second.
"""

import functools
import re
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition
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


@functools.lru_cache(maxsize=1 << 16)
def second_of(text):
    """The whole second, since the epoch, of the first 19 characters of a time."""
    return int(datetime.fromisoformat(text + "+00:00").timestamp())


def read_back(servers):
    """When, by the broker's clock in ms, all topics had come to `delay` beyond each window's end."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "bench", "enable.auto.commit": False})
    came = {}
    for sensor in SLOW + FAST:
        partition = TopicPartition(f"hydraulic-{sensor}", 0, 0)
        _, left = consumer.get_watermark_offsets(partition, timeout=10)
        consumer.assign([partition])
        reached = None
        while left > 0:
            messages = consumer.consume(10_000, 10)
            if not messages:
                sys.exit(f"{left} records of {partition.topic} were not read back within 10 s")
            for message in messages:
                if message.error():
                    raise KafkaException(message.error())
                left -= 1
                value = message.value()
                time_at = value.index(b'"', value.index(b'"timestamp"') + 11) + 1
                at = second_of(value[time_at : time_at + 19].decode())
                if reached is not None and at <= reached:
                    continue
                # All ends up to here that this topic had not come to.
                for end in range(at if reached is None else reached + 1, at + 1):
                    came.setdefault(end, []).append(message.timestamp()[1])
                reached = at
        consumer.unassign()
    consumer.close()
    return {end - DELAY_S: max(times) for end, times in came.items() if len(times) == len(SLOW + FAST)}


def watch_console(path, shown):
    wanted = re.compile(r'"window_end": ?"([^"]+)"')
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.endswith('"table":"synchronized_features"}\n'):
                shown.setdefault(second_of(wanted.search(line)[1][:19]), time.time() * 1e3)


def watch_postgres(seen, over):
    with psycopg.connect(autocommit=True) as connection:
        while connection.execute("SELECT to_regclass('synchronized_features')").fetchone()[0] is None:
            time.sleep(0.1)
        connection.execute("LISTEN shown")
        connection.execute(
            """CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                   -- What is told at once is limited to 8,000 bytes.
                   PERFORM pg_notify('shown', string_agg(ends, ' ')) FROM (
                       SELECT extract(epoch FROM window_end)::bigint::text AS ends, row_number() OVER () / 500 AS part FROM rows
                   ) AS parted GROUP BY part;
                   RETURN NULL;
               END $$"""
        )
        connection.execute(
            """CREATE TRIGGER tell AFTER INSERT ON synchronized_features
               REFERENCING NEW TABLE AS rows FOR EACH STATEMENT EXECUTE FUNCTION tell()"""
        )
        while not over.is_set():
            for told in connection.notifies(timeout=1):
                now_ms = time.time() * 1e3
                for end in told.payload.split():
                    seen.setdefault(int(end), now_ms)


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
    shown, seen, peaks, over = {}, {}, {}, threading.Event()
    for work in (
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
    missing = lambda: [end for end in wanted if end not in shown or end not in seen]
    while missing() and time.monotonic() < deadline:
        time.sleep(0.2)
    over.set()
    if left := missing():
        sys.exit(f"{len(left)} of {len(wanted)} windows never came: {[(end in shown, end in seen) for end in left[:5]]}")
    closed_at = read_back(servers)
    if left := [end for end in wanted if end not in closed_at]:
        sys.exit(f"{len(left)} windows closed that not all topics had passed: {left[:5]}")
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
