#!/usr/bin/env bash
# The Kafka source and sink, and record and generate, against a real broker.
# usage: tests/kafka.sh     Starts a broker of its own (tests/services/kafka.sh; KAFKA_PORT and so on choose where) and stops it.
#   TIDEGATE_BINARY   the program (target/release/tidegate)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
tidegate=${TIDEGATE_BINARY:-${CARGO_TARGET_DIR:-$root/target}/release/tidegate}
unset TIDEGATE_BINARY
. tests/services/lib.sh
export -n TIDEGATE_CACHE
work=$(mktemp -d)
export TIDEGATE_SERVICES_DIR=$work/services KAFKA_PORT KAFKA_CONTROLLER_PORT
mkdir -p "$TIDEGATE_SERVICES_DIR"
KAFKA_PORT=$(free_port "${KAFKA_PORT:-29192}") KAFKA_CONTROLLER_PORT=$(free_port "${KAFKA_CONTROLLER_PORT:-29293}")
broker=tests/services/kafka.sh
trap 'TIDEGATE_SERVICES_DIR=$work/services "$broker" wipe >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

"$broker" start
eval "$("$broker" env)"
export TIDEGATE_TEST_KAFKA=127.0.0.1:$KAFKA_PORT

# Tests that share the broker, then the one that kills it.
log=$work/log
quietly() { "$@" >"$log" 2>&1 || { cat "$log"; fail "$*"; }; ! grep -q 'NOT TESTED' "$log" || { cat "$log"; fail "skipped: $*"; }; }
quietly cargo test -q --release --workspace --lib -- --nocapture sink::kafka source::kafka
quietly cargo test -q --release --workspace --test kafka -- --nocapture source::
export TIDEGATE_TEST_KAFKA_SCRIPT=$root/$broker
quietly cargo test -q --release --workspace --test kafka -- --nocapture restart::

# What was generated is what is recorded, and what is wrong with it on purpose is told as well.
unset TIDEGATE_TEST_KAFKA_SCRIPT
servers=$TIDEGATE_TEST_KAFKA
unset TIDEGATE_TEST_KAFKA TIDEGATE_SERVICES_DIR
events=(generate activity --records 20000 --users 300 --partitions 4 --seed 5 --topic kafka-test --start 2026-01-01T00:00:00Z --fault-every 100)
quietly "$tidegate" "${events[@]}" --fixture "$work/made" --marks "$work/made.json"
quietly "$tidegate" "${events[@]}" --bootstrap-servers "$servers" --marks "$work/sent.json"
quietly "$tidegate" record --bootstrap-servers "$servers" --topic kafka-test --out "$work/recorded"
diff -r "$work/made" "$work/recorded" || fail "the recording is not what was generated"
diff "$work/made.json" "$work/sent.json" || fail "the faults are told otherwise"
grep -q '"headers":\["fault","cut_short"\]' "$work"/recorded/*.jsonl || fail "no record says that it is faulty"

# A signal ends a paced stream and an endless recording cleanly.
"$tidegate" generate activity --bootstrap-servers "$servers" --topic kafka-paced --rate 500 2>"$log" &
generating=$!
for _ in $(seq 100); do grep -q 'made topic' "$log" && break; sleep 0.1; done
"$tidegate" record --bootstrap-servers "$servers" --topic kafka-paced --until 1h --out "$work/paced" 2>"$work/log2" &
recording=$!
count() { cat "$1"/*.jsonl | wc -l; }
for try in $(seq 100); do
    log=$work/log3 quietly "$tidegate" record --bootstrap-servers "$servers" --topic kafka-paced --out "$work/so-far-$try"
    [ "$(count "$work/so-far-$try")" = 0 ] || break
done
kill -INT "$generating"
wait "$generating" || fail "generate did not stop cleanly: $(cat "$log")"
kill -INT "$recording"
wait "$recording" || fail "record did not stop cleanly: $(cat "$work/log2")"
made=$(grep -o '^[0-9,]* records' "$log" | tr -dc 0-9)
log=$work/log3 quietly "$tidegate" record --bootstrap-servers "$servers" --topic kafka-paced --out "$work/all"
[ "$made" -gt 0 ] && [ "$made" = "$(count "$work/all")" ] || fail "$made records were generated, $(count "$work/all") recorded"
[ "$(count "$work/paced")" -le "$made" ] || fail "more was recorded than there is"
echo "kafka: all of it held"
