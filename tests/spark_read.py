#!/usr/bin/env python3
"""Reads with Spark what tidegate wrote: Delta tables, older versions of them too, and Parquet lakes.

usage: spark_read.py JARS OUT VERSIONS   JARS are Delta's for Spark, comma-separated; OUT is an output directory; VERSIONS is how many
                                         versions one of its Delta tables has at least

Delta tables are compared row by row with what delta-rs reads, lakes by their number of rows with summary.json.
"""

import json
import os
import sys
from collections import Counter

os.environ["TZ"] = "UTC"

import deltalake
from pyspark.sql import SparkSession

LAKES = {"activity": "lake/activity", "hydraulic": "synchronized_features"}


def session(jars):
    builder = SparkSession.builder.master("local[2]").appName("tidegate's tests")
    settings = {
        "spark.jars": jars,
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # Fifty tasks to read a log of ten lines take their time.
        "spark.databricks.delta.snapshotPartitions": "2",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def plain(value):
    """Of one kind in both: Spark's times are without a zone, and in UTC here."""
    return value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value


def multiset(columns, rows):
    order = sorted(range(len(columns)), key=lambda at: columns[at])
    return Counter(repr([(columns[at], plain(row[at])) for at in order]) for row in rows)


def by_spark(spark, place, version=None):
    reader = spark.read.format("delta")
    frame = (reader if version is None else reader.option("versionAsOf", version)).load(place)
    return multiset(frame.columns, frame.collect())


def by_delta_rs(place, version=None):
    rows = deltalake.DeltaTable(place, version=version).to_pyarrow_table()
    return multiset(rows.column_names, zip(*(rows[name].to_pylist() for name in rows.column_names)))


def main(jars, out, least):
    spark = session(jars)
    spark.sparkContext.setLogLevel("ERROR")
    tables = sorted(os.listdir(os.path.join(out, "delta")))
    assert tables, "there is no Delta table in %s" % out
    versions = 0
    for name in tables:
        place = os.path.join(out, "delta", name)
        last = deltalake.DeltaTable(place).version()
        versions = max(versions, last + 1)
        for version in sorted({0, last // 2, last}):
            wanted, found = by_delta_rs(place, version), by_spark(spark, place, version)
            assert wanted == found, "%s, version %d: %d rows, %d by Spark" % (name, version, wanted.total(), found.total())
        assert by_spark(spark, place) == found, "%s: not the last version" % name
        print("%s: %d rows, %d versions" % (name, found.total(), last + 1))
    assert versions >= int(least), "%d versions are too few to travel between" % versions
    summary = json.load(open(os.path.join(out, "summary.json")))["pipelines"]
    for pipeline, output in LAKES.items():
        if pipeline not in summary:
            continue
        wanted = summary[pipeline]["outputs"][output]["rows"]
        found = spark.read.parquet(os.path.join(out, "lake", pipeline)).count()
        assert wanted == found > 0, "lake/%s: %d rows, %d by Spark" % (pipeline, wanted, found)
        print("lake/%s: %d rows" % (pipeline, found))
    spark.stop()


main(*sys.argv[1:])
