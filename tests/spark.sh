#!/usr/bin/env bash
# Spark reads what tidegate wrote: Delta tables with their versions, before and after small files are merged, and Parquet lakes.
# Called by tests/run --all, since Spark is half a gigabyte. Delta's jars are from Maven Central, PySpark from PyPI.
# usage: tests/spark.sh     TIDEGATE_BINARY   the program (default: the release build)
cd "$(dirname "$0")/.."
. tests/services/live.sh
own_place spark
trap 'rm -rf "$work"' EXIT
delta=4.0.0
jars=$TIDEGATE_CACHE/delta-spark-$delta/libs
maven_jars "$jars" "io.delta:delta-spark_2.13:$delta"
# Spark has Scala's library itself.
list=$(printf '%s,' "$jars"/delta-*.jar "$jars"/antlr4-*.jar)
python=$(venv spark pyspark==4.0.1 deltalake pyarrow)/bin/python

tidegate generate transit --fixture "$work/transit" --polls 300 --vehicles 40
tidegate run transit --fixture "$work/transit" --out "$work/out" --epoch 500ms --speed 600x --web off
read_back() { "$python" tests/spark_read.py "${list%,}" "$@"; }
read_back "$work/out" 4
say 'once small files are merged'
merge_once "$work/out/delta"
read_back "$work/out" 5
say 'what the first command writes'
beside_fixtures "$work/first"
(cd "$work/first" && tidegate -w 2 >/dev/null)
read_back "$work/first/out" 1
say 'Spark reads it all'
