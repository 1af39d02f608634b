#!/usr/bin/env bash
# Spark reads what tidegate wrote: Delta tables with their versions, before and after small files are merged, and Parquet lakes.
# Called by tests/run --all, since Spark is half a gigabyte. Delta's jars are from Maven Central, PySpark from PyPI.
# usage: tests/spark.sh     TIDEGATE_BINARY   the program (default: the release build)
cd "$(dirname "$0")/.."
. tests/services/live.sh
own_place spark
trap 'rm -rf "$work"' EXIT
apt_for java default-jre-headless mvn maven
delta=4.0.0
jars=$TIDEGATE_CACHE/delta-spark-$delta
if [ ! -e "$jars/.whole" ]; then
    mkdir -p "$jars"
    cat >"$jars/pom.xml" <<X
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>tidegate</groupId><artifactId>delta-spark</artifactId><version>1</version><dependencies><dependency>
<groupId>io.delta</groupId><artifactId>delta-spark_2.13</artifactId><version>$delta</version></dependency></dependencies></project>
X
    mvn -q -B -f "$jars/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$jars" >"$jars/mvn.log" 2>&1 ||
        { tail -n 20 "$jars/mvn.log" >&2; die "maven could not fetch Delta $delta for Spark"; }
    touch "$jars/.whole"
fi
# Spark has Scala's library itself.
list=$(printf '%s,' "$jars"/delta-*.jar "$jars"/antlr4-*.jar)
python=$(venv spark pyspark==4.0.1 deltalake pyarrow)/bin/python

tidegate generate transit --fixture "$work/transit" --polls 300 --vehicles 40
tidegate run transit --fixture "$work/transit" --out "$work/out" --epoch 500ms --speed 600x --web off
read_back() { "$python" tests/spark_read.py "${list%,}" "$@"; }
read_back "$work/out" 4
say 'once small files are merged'
for table in vehicle_positions trip_updates; do
    merged=$(tidegate delta optimize "$work/out/delta/$table")
    grep -qE '^version [0-9]+: [0-9]+ files became [12],' <<<"$merged" || die "$table: $merged"
done
read_back "$work/out" 5
say 'what the first command writes'
mkdir "$work/first" && ln -s "$PWD/fixtures" "$work/first/fixtures"
(cd "$work/first" && tidegate -w 2 >/dev/null)
read_back "$work/first/out" 1
say 'Spark reads it all'
