#!/usr/bin/env python3
"""How long it takes from a record in Kafka to its row in PostgreSQL.

usage: latency.py SERVERS TOPIC SECONDS

Probes are page views of pages of their own, 50 a second, at instants that were fixed before: a probe that is sent late because this
program or the broker was held up counts from when it was to be sent (coordinated omission). A row is there when a query that began
after its commit sees it; queries follow each other at once but for a pause that leaves the processors to what is measured.
"""

import json
import sys
import threading
import time
from datetime import datetime, timezone

import psycopg
from confluent_kafka import Producer

A_SECOND = 50
# So many seconds at the start are not counted: connections are made, pages are read for the first time, and the broker's virtual machine
# compiles itself. Where it has two processors with all others, that takes half of one for more than a minute.
WARM_UP = 60
BOUND_MS = 200
# Seconds between an answer and the next query.
A_PAUSE = 0.003


def main():
    servers, topic, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    count = A_SECOND * (seconds + WARM_UP)
    began = time.monotonic() + 1
    due = [began + number / A_SECOND for number in range(count)]
    waiting, seen, sent_all = {}, {}, threading.Event()

    def send():
        producer = Producer({"bootstrap.servers": servers, "linger.ms": 0, "acks": "1"})
        partitions = len(producer.list_topics(topic, timeout=10).topics[topic].partitions)
        for number, instant in enumerate(due):
            time.sleep(max(0, instant - time.monotonic()))
            now = datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
            page = f"/probe/{number}"
            event = {"event_time": now, "user_id": "probe", "page_url": page, "event_type": "page_view"}
            waiting[page] = number
            producer.produce(topic, json.dumps(event), partition=number % partitions)
            producer.poll(0)
        producer.flush(30)
        sent_all.set()

    threading.Thread(target=send, daemon=True).start()
    with psycopg.connect(autocommit=True) as connection:
        deadline = due[-1] + 30
        # By the table's key, so that looking costs little.
        query = """SELECT page_url FROM page_view_counts WHERE page_url = ANY(%s)
                   AND window_start = ANY(ARRAY[date_trunc('minute', now()), date_trunc('minute', now()) - interval '1 minute'])"""
        while time.monotonic() < deadline and not (sent_all.is_set() and not waiting):
            time.sleep(A_PAUSE)
            pages = list(waiting)
            if not pages:
                continue
            try:
                found = connection.execute(query, [pages]).fetchall()
            except psycopg.errors.UndefinedTable:
                time.sleep(0.1)
                continue
            now = time.monotonic()
            for (page,) in found:
                seen[waiting.pop(page)] = now
    if waiting:
        sys.exit(f"{len(waiting)} of {count} rows never came: {list(waiting)[:3]}")
    late = sorted((seen[number] - due[number]) * 1e3 for number in range(A_SECOND * WARM_UP, count))
    at = lambda share: late[min(len(late) - 1, int(share * len(late)))]
    verdict = "kept" if at(0.99) <= BOUND_MS else "MISSED"
    print(f"{len(late)} probes: p50 {at(0.5):.0f} ms, p90 {at(0.9):.0f}, p99 {at(0.99):.0f}, largest {late[-1]:.0f}")
    print(f"= record in Kafka to row in PostgreSQL, p99, ms {at(0.99):>8.0f}  at most {BOUND_MS}: {verdict}")


main()
