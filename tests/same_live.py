#!/usr/bin/env python3
"""Compares what a live run has left in Kafka and in its lake with what the replay of its input gives.

usage: same_live.py EXPECTED DATA RECORDED [PIPELINE]

EXPECTED is the replay's output directory, DATA the run's data directory, RECORDED what `tidegate record` has made of the topics that the run
wrote. Offsets are left out, since a broker counts the marks of transactions too, and so are the headers that say which epoch wrote a record, and columns of wall-clock time.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet

import wall_clock

MARKS = {"tidegate-epoch", "tidegate-generation"}


def lines(folder):
    found = {}
    for path in sorted(folder.rglob("*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            headers = record.get("headers") or []
            pairs = [pair for pair in zip(headers[::2], headers[1::2]) if pair[0] not in MARKS]
            payload = wall_clock.without(record.get("payload")), record.get("payload_base64")
            key = record.get("key"), record.get("key_base64")
            kept = (record["partition"], record.get("ts"), key, payload, tuple(pairs))
            found.setdefault(record["topic"], Counter())[kept] += 1
    return found


def lake(folder):
    rows = Counter()
    for path in folder.rglob("*.parquet"):
        for row in pyarrow.parquet.ParquetFile(path).read().to_pylist():
            present = sorted((name, repr(value)) for name, value in row.items() if value is not None)
            rows[(path.parent.name, tuple(present))] += 1
    return rows


def main():
    expected, data, recorded = map(Path, sys.argv[1:4])
    pipeline = sys.argv[4] if len(sys.argv) > 4 else "activity"
    wanted, got = lines(expected / "topics"), lines(recorded)
    if not wanted:
        sys.exit(f"there is no topic in {expected}")
    for topic in sorted(wanted.keys() | got.keys()):
        before, after = wanted.get(topic, Counter()), got.get(topic, Counter())
        missing, more = before - after, after - before
        if missing or more:
            shown = [*missing][:2] + [*more][:2]
            sys.exit(f"{topic}: {missing.total()} records missing, {more.total()} too many: {shown}")
    # Not every pipeline has one.
    has_lake = (expected / "lake" / pipeline).is_dir()
    wanted, got = lake(expected / "lake" / pipeline), lake(data / "lake" / pipeline)
    if wanted != got or has_lake != bool(wanted):
        sys.exit(f"the lake differs: {(wanted - got).total()} rows missing, {(got - wanted).total()} too many")
    print("the same")


main()
