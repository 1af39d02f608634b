#!/usr/bin/env python3
"""The rows of a local copy of a lake, by its manifests or by its files; and how two lakes differ.

usage: lake_rows.py compare WANTED FOUND [--list]   exits with 1 and says how the multisets of rows differ
       lake_rows.py codecs DIR                       how its files are compressed
       lake_rows.py duckdb DIR                       rows and a sum, by DuckDB over the files with Hive's partitions
       lake_rows.py dataset DIR CSV LABELS           checks a training set against the lake, computed anew

By manifests unless --list is given. Rows are compared with their partition columns of cycle, so that a compacted lake has
the rows that it had.
"""
import collections
import csv
import glob
import json
import math
import os
import statistics
import sys

import pyarrow.parquet as pq


def listed(lake):
    """The files of a lake by its manifests, as tidegate reads them."""
    books = os.path.join(lake, "_tidegate")
    snapshots = sorted(glob.glob(os.path.join(books, "state", "snapshot-*.json")))
    files, through = [], 0
    if snapshots:
        snapshot = json.load(open(snapshots[-1]))
        files, through = [f["path"] for f in snapshot["files"]], snapshot["through"]
    last = math.inf
    mark = os.path.join(books, "mark.json")
    if os.path.exists(mark):
        last = json.load(open(mark))["epoch"] or 0
    for path in sorted(glob.glob(os.path.join(books, "manifest-*.json"))):
        manifest = json.load(open(path))
        if through < manifest["epoch"] <= last:
            files += [f["path"] for f in manifest["files"]]
    return files


def found(lake):
    paths = glob.glob(os.path.join(lake, "**", "*.parquet"), recursive=True)
    return [os.path.relpath(p, lake) for p in paths if "_tidegate" not in p]


def groups(file):
    return [file.metadata.row_group(group) for group in range(file.num_row_groups)]


def codecs(file):
    return {group.column(column).compression for group in groups(file) for column in range(group.num_columns)}


def size(file):
    return sum(group.total_byte_size for group in groups(file))


def rows(lake, files):
    for path in files:
        file = pq.ParquetFile(os.path.join(lake, path))
        # Where there is little, compressing costs more than it gives.
        assert codecs(file) == {"ZSTD"} or codecs(file) == {"UNCOMPRESSED"} and size(file) < 1 << 17, (path, size(file), codecs(file))
        table = file.read()
        cycle = [level.split("=", 1)[1] for level in path.split("/") if level.startswith("cycle=")]
        for row in table.to_pylist():
            row.pop("minute", None)
            row.pop("second", None)
            if cycle:
                row["cycle"] = int(cycle[0])
            yield row


def multiset(lake, by_list):
    files = found(lake) if by_list else listed(lake)
    # A column that a file does not have is null in its rows.
    present = ([pair for pair in row.items() if pair[1] is not None] for row in rows(lake, files))
    return collections.Counter(tuple(sorted(row)) for row in present)


def compare(wanted, got, by_list):
    wanted, got = multiset(wanted, by_list), multiset(got, by_list)
    missing, surplus = wanted - got, got - wanted
    print(f"{sum(wanted.values())} rows wanted, {sum(got.values())} found")
    for name, some in (("missing", missing), ("too many", surplus)):
        if some:
            row = dict(next(iter(some)))
            which = f"cycle {row['cycle']} at {row['window_start']}" if "cycle" in row else row
            print(f"  {sum(some.values())} {name}, such as {which}")
    return not missing and not surplus and bool(wanted)


def by_duckdb(lake):
    import duckdb

    files = [os.path.join(lake, path) for path in found(lake)]
    query = "SELECT count(*), sum(PS1_count), min(window_start), count(DISTINCT cycle) FROM read_parquet(?, hive_partitioning = true, union_by_name = true)"
    print(duckdb.execute(query, [files]).fetchone())


def dataset(lake, path, labels):
    cycles = collections.defaultdict(list)
    for row in rows(lake, listed(lake)):
        cycles[row["cycle"]].append(row)
    labels = [line.split() for line in open(labels)]
    found = {int(row["cycle"]): row for row in csv.DictReader(open(path))}
    assert set(found) == set(cycles), (sorted(found), sorted(cycles))
    checked = 0
    for cycle, seconds in cycles.items():
        row = found[cycle]
        assert int(row["seconds"]) == len(seconds), (cycle, row["seconds"])
        assert row["complete"] == ("true" if len(seconds) >= 60 else "false"), cycle
        label = labels[cycle] if cycle < len(labels) else [""] * 5
        names = ["cooler", "valve", "pump_leakage", "accumulator", "stable_flag"]
        assert [row[name] for name in names] == label, (cycle, label)
        for feature in seconds[0]:
            if feature in ("window_start", "window_end", "cycle"):
                continue
            values = [s[feature] for s in seconds if s[feature] is not None]
            wanted = [None] * 4
            if values:
                deviation = statistics.stdev(values) if len(values) > 1 else 0.0
                wanted = [statistics.fmean(values), min(values), max(values), deviation]
            for name, value in zip(("mean", "min", "max", "std"), wanted):
                cell = row[f"{feature}_{name}"]
                same = cell == "" if value is None else math.isclose(float(cell), value, rel_tol=1e-9, abs_tol=1e-9)
                assert same, (cycle, feature, name, cell, value)
                checked += 1
    print(f"{len(found)} cycles, {checked} statistics")
    return checked > 0


def main():
    what, args = sys.argv[1], [a for a in sys.argv[2:] if a != "--list"]
    if what == "codecs":
        return print(*sorted(set().union(*(codecs(pq.ParquetFile(os.path.join(args[0], path))) for path in found(args[0])))))
    if what == "duckdb":
        return by_duckdb(args[0])
    good = compare(args[0], args[1], "--list" in sys.argv) if what == "compare" else dataset(*args)
    sys.exit(0 if good else 1)


main()
