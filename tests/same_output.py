#!/usr/bin/env python3
"""Compares what two runs over the same log have left: figures, tables row by row, topics byte by byte, the lake as rows.

usage: same_output.py EXPECTED GOT [PIPELINE [live]]

Where one of the runs was live, columns of wall-clock time are left out.
"""

import json
import sqlite3
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet

import wall_clock


def summary(out, pipeline, live):
    figures = json.loads((out / "summary.json").read_text())["pipelines"][pipeline]
    figures.pop("seconds")
    for name in wall_clock.OUTPUTS & figures["outputs"].keys() if live else ():
        figures["outputs"][name].pop("digest")
    return figures


def tables(out, live):
    connection = sqlite3.connect(out / "tables.sqlite")
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    shown = [name for name in names if not name.startswith("tidegate_")]
    connection.row_factory = sqlite3.Row
    left_out = wall_clock.COLUMNS if live else set()

    def rows(name):
        for row in connection.execute(f"SELECT * FROM {name}"):
            yield repr([(column, row[column]) for column in row.keys() if column not in left_out])

    return {name: sorted(rows(name)) for name in shown}


def without_times(lines):
    records = map(json.loads, lines.splitlines())
    return [{**record, "payload": wall_clock.without(record.get("payload"))} for record in records]


def topics(out, live):
    files = {path.name: path.read_bytes() for path in sorted((out / "topics").glob("*.jsonl"))}
    if live:
        files = {name: without_times(lines) for name, lines in files.items()}
    # A live run has a topic of its decisions about idle partitions, and here there are none.
    return {name: lines for name, lines in files.items() if lines or not name.endswith(".idle.jsonl")}


def lake(out, pipeline):
    """By folder, its rows as one table in an order of their own: how they were spread over files is not part of the answer."""
    root, folders = out / "lake" / pipeline, {}
    for path in sorted(root.rglob("*.parquet")):
        folders.setdefault(str(path.parent.relative_to(root)), []).append(pyarrow.parquet.ParquetFile(path).read())
    return {folder: in_order(tables) for folder, tables in folders.items()}


def in_order(tables):
    rows = pyarrow.concat_tables(tables, promote_options="default")
    # A column that a file does not have is null in its rows; one that is null in all is none.
    rows = rows.select(sorted(name for name in rows.column_names if rows[name].null_count < len(rows)))
    first = [name for name in ("kafka_topic", "kafka_partition", "kafka_offset") if name in rows.column_names]
    rest = [field.name for field in rows.schema if field.name not in first and not pyarrow.types.is_nested(field.type)]
    return rows.sort_by([(name, "ascending") for name in first + rest]).combine_chunks()


def main():
    expected, got = Path(sys.argv[1]), Path(sys.argv[2])
    pipeline, live = (sys.argv[3:4] or ["activity"])[0], sys.argv[4:] == ["live"]
    parts = {
        "summary": lambda out: summary(out, pipeline, live),
        "tables": lambda out: tables(out, live),
        "topics": lambda out: topics(out, live),
        "lake": lambda out: lake(out, pipeline),
    }
    for name, part in parts.items():
        a, b = part(expected), part(got)
        if not a and name != "lake":
            sys.exit(f"{name}: there is nothing in {expected}")
        if a != b:
            detail = ""
            if isinstance(a, dict):
                detail = ", ".join(sorted(str(key) for key in a.keys() | b.keys() if a.get(key) != b.get(key)))
            sys.exit(f"{name} differ: {detail or f'{len(a)} and {len(b)} rows'}")
    print("the same")


main()
