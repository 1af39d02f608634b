#!/usr/bin/env python3
"""What tests/offsets.sh asks of a broker and of recordings.

usage: offsets.py delete BROKERS TOPIC PARTITION:OFFSET...   removes the records before these offsets, as retention does
       offsets.py ends BROKERS TOPIC                          PARTITION:OFFSET, behind the last record of each partition
       offsets.py since RECORDED MS                           PARTITION:0-OFFSET, what lies before the first record of each partition
                                                              whose Kafka timestamp is not before MS
       offsets.py cut RECORDED OUT PARTITION:FROM-TO...       the recording without these offsets; TO is not among them
       offsets.py transactions BROKERS TOPIC                  another producer's transactions, of which the last stays open until a
                                                              line comes on standard input, and is then committed
       offsets.py skewed BROKERS TOPIC HOURS                  in partition 0 a record a second over so many hours of event time, in
                                                              partition 1 those of the first minute
       offsets.py follow BROKERS TOPIC HOURS                  what partition 1 has after its first minute
"""

import datetime
import json
import sys
from pathlib import Path

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

PATIENCE = 30
# Kafka timestamps, in milliseconds: all there are lie before now.
BEGIN = 1_767_225_600_000


def partitions(brokers, topic):
    admin = AdminClient({"bootstrap.servers": brokers})
    found = admin.list_topics(topic, timeout=PATIENCE).topics[topic]
    return admin, sorted(found.partitions)


def delete(brokers, topic, *before):
    admin, _ = partitions(brokers, topic)
    pairs = [map(int, word.split(":")) for word in before]
    wanted = [TopicPartition(topic, partition, offset) for partition, offset in pairs]
    for asked, done in admin.delete_records(wanted).items():
        lowest = done.result(PATIENCE).low_watermark
        assert lowest == asked.offset, f"{asked}: the earliest is {lowest}"


def ends(brokers, topic):
    admin, numbers = partitions(brokers, topic)
    asked = {TopicPartition(topic, number): OffsetSpec.latest() for number in numbers}
    found = {of.partition: done.result(PATIENCE).offset for of, done in admin.list_offsets(asked).items()}
    print(*(f"{number}:{found[number]}" for number in numbers))


def records(recorded):
    for path in sorted(Path(recorded).rglob("*.jsonl")):
        for line in path.read_text().splitlines():
            yield path, line, json.loads(line)


def since(recorded, ms):
    first, behind = {}, {}
    for _, _, record in records(recorded):
        partition, offset = record["partition"], record["offset"]
        behind[partition] = max(behind.get(partition, 0), offset + 1)
        if record["ts"] >= int(ms):
            first[partition] = min(first.get(partition, offset), offset)
    print(*(f"{partition}:0-{first.get(partition, behind[partition])}" for partition in sorted(behind)))


def cut(recorded, out, *ranges):
    left_out = []
    for word in ranges:
        partition, offsets = word.split(":")
        begin, end = offsets.split("-")
        left_out.append((int(partition), range(int(begin), int(end))))
    Path(out).mkdir()
    files, kept, gone = {}, 0, 0
    for path, line, record in records(recorded):
        if any(record["partition"] == partition and record["offset"] in offsets for partition, offsets in left_out):
            gone += 1
            continue
        kept += 1
        files.setdefault(path.name, []).append(line + "\n")
    # Both would be a comparison that says nothing.
    assert kept and gone, f"{kept} records stay, {gone} are cut off"
    for name, lines in files.items():
        (Path(out) / name).write_text("".join(lines))
    print(kept)


def event(seconds, user, page="/"):
    at = datetime.datetime.fromtimestamp(BEGIN / 1000 + seconds, datetime.timezone.utc)
    made = {"event_time": at.isoformat(), "user_id": f"user-{user}", "page_url": page, "event_type": "page_view"}
    return json.dumps(made).encode(), BEGIN + round(seconds * 1000)


def send(producer, topic, partition, seconds, user, page="/"):
    value, at = event(seconds, user, page)
    producer.produce(topic, value, f"user-{user}".encode(), partition, timestamp=at)
    producer.poll(0)


def flushed(producer):
    assert producer.flush(PATIENCE) == 0, "the broker does not take all records"


def transactions(brokers, topic):
    # Partitions 0 and 1 only: the last one never has a record.
    producer = Producer({"bootstrap.servers": brokers, "transactional.id": topic})
    producer.init_transactions(PATIENCE)
    for number in range(8):
        producer.begin_transaction()
        aborted = number % 2 == 1
        for n in range(200):
            # What is aborted is hours ahead: whoever saw it would call all that follows late.
            seconds = number * 60 + n * 0.3 + (20_000 if aborted else 0)
            send(producer, topic, n % 2, seconds, n % 17, "/aborted" if aborted else f"/{n % 5}")
        flushed(producer)
        (producer.abort_transaction if aborted else producer.commit_transaction)(PATIENCE)
    producer.begin_transaction()
    send(producer, topic, 0, 500, 1, "/open")
    flushed(producer)
    # Somebody else's, behind the open one in partition 0, and beside it in partition 1.
    other = Producer({"bootstrap.servers": brokers})
    for n in range(400):
        send(other, topic, n % 2, 500 + n, n % 17, f"/{n % 5}")
    flushed(other)
    print("open", flush=True)
    assert sys.stdin.readline(), "nobody asks for the end"
    producer.commit_transaction(PATIENCE)


def skewed(brokers, topic, hours):
    producer = Producer({"bootstrap.servers": brokers})
    for n in range(int(hours) * 3600):
        send(producer, topic, 0, n, n % 500, f"/{n % 20}")
    for n in range(60):
        send(producer, topic, 1, n, 1000 + n % 500, f"/{n % 20}")
    flushed(producer)


def follow(brokers, topic, hours):
    producer = Producer({"bootstrap.servers": brokers})
    for n in range(60, int(hours) * 3600):
        send(producer, topic, 1, n, 1000 + n % 500, f"/{n % 20}")
    flushed(producer)


commands = {"delete": delete, "ends": ends, "since": since, "cut": cut, "transactions": transactions, "skewed": skewed, "follow": follow}
commands[sys.argv[1]](*sys.argv[2:])
