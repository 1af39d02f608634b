#!/usr/bin/env bash
# A memory limit with state above it: millions of events wait for event time, several times what the limit allows. The run is killed
# while they do, takes them back from its checkpoint, and leaves what the log gives, in bounded memory. Called by tests/run.
# usage: tests/memory.sh
#   TIDEGATE_BINARY   the program (default: the release build)
#   MEMORY_RECORDS (2000000) of six hours, MEMORY_DELAY (90m): events wait for so much of it; MEMORY_LIMIT (5), MEMORY_MOST (800), both MiB
cd "$(dirname "$0")/.."
. tests/services/live.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/tidegate-memory.XXXXXX")
trap 'kill_jobs; rm -rf "$work"' EXIT
limit=${MEMORY_LIMIT:-5}
tidegate generate activity --fixture "$work/log" --records "${MEMORY_RECORDS:-2000000}" --span 6h --form segments --codec lz4
# Events wait for a part of the log: long before its end there is as much as there ever will be.
cat >"$work/memory.yaml" <<Y
data: $work/data
checkpoint: $work/data/checkpoint
memory_limit: ${limit}MiB
# What no window takes would only fill the disk, here and where it is replayed.
activity: {delay: ${MEMORY_DELAY:-90m}, outputs: {lake: false, enriched_activity: false}, sinks: {tables: sqlite, lake: none, topics: none}}
Y
"${bare[@]}" "$(command -v python3)" tests/memory.py "$limit" "${MEMORY_MOST:-800}" \
    "$binary" run activity --fixture "$work/log" --config "$work/memory.yaml" --web off --epoch 200ms -w 2
tidegate verify activity --fixture "$work/log" --out "$work/data" --config "$work/memory.yaml" >"$work/verified" || { cat "$work/verified"; die 'verify'; }
grep 'rows expected' "$work/verified"
[ "$(grep -cF '(tables.sqlite): agrees' "$work/verified")" = 4 ] || die 'the tables are not what the log gives'
