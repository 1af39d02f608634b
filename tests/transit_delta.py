#!/usr/bin/env python3
"""Whether two outputs hold the same Delta tables, as delta-rs and as DuckDB read them, and older versions can be read.

usage: transit_delta.py WHOLE EPOCHS     each an output directory, or s3://BUCKET/PREFIX with the tables in it
"""

import os
import sys

import deltalake
import duckdb

TABLES = ("vehicle_positions", "trip_updates", "alerts", "events", "route_activity", "vehicle_sessions", "route_totals")


def rows(table):
    found = table.to_pyarrow_table()
    return sorted(map(repr, zip(*(found[name].to_pylist() for name in sorted(found.column_names)))))


def opened(out, name):
    if not out.startswith("s3://"):
        return deltalake.DeltaTable(os.path.join(out, "delta", name))
    # Whose keys and where is in the environment.
    return deltalake.DeltaTable(out + "/" + name, storage_options={"AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"})


def main(whole, epochs):
    # Closed before the interpreter ends: a connection that lives on is torn down after its threads.
    with duckdb.connect() as connection:
        compare(connection, whole, epochs)


def compare(connection, whole, epochs):
    for name in TABLES:
        tables = [opened(out, name) for out in (whole, epochs)]
        expected, found = map(rows, tables)
        assert expected == found, "%s: %d rows, then %d" % (name, len(expected), len(found))
        # DuckDB's own Delta extension is downloaded when it is used; the files that are in, it reads without.
        files = tables[1].file_uris()
        if files and not epochs.startswith("s3://"):
            count = connection.sql(f"SELECT count(*) FROM read_parquet({list(files)!r})").fetchall()[0][0]
            assert count == len(found), "%s: DuckDB reads %d rows" % (name, count)
        versions, table = tables[1].version(), tables[1]
        before = -1
        for version in range(0, versions + 1, max(1, versions // 5)):
            table.load_as_version(version)
            now = len(rows(table))
            assert now >= before, "%s: version %d has fewer rows than the one before" % (name, version)
            before = now
        print("%s: %d rows, %d versions" % (name, len(found), versions + 1))


if __name__ == "__main__":
    main(*sys.argv[1:])
