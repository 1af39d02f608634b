#!/usr/bin/env bash
# transit: the oracle's answer for recorded and hostile fixtures, and Delta tables as delta-rs and DuckDB read them.
# usage: tests/transit.sh [--seeds N]     TIDEGATE_BINARY   the program (default: the release build)
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/services/live.sh
seeds=3
[ "${1:-}" != --seeds ] || seeds=$2
python=$(python_venv)
own_place transit
trap 'rm -rf "$work"' EXIT

agrees() { # FIXTURE WORKERS...: every number of workers gives the oracle's answer
    local fixture=$1 outs=() workers
    shift
    for workers in "$@"; do
        rm -rf "$work/out-$workers"
        tidegate replay transit --fixture "$fixture" --out "$work/out-$workers" -w "$workers"
        outs+=("$work/out-$workers")
    done
    "$python" tests/oracle/compare.py --pipeline transit "$fixture" "${outs[@]}" || die "$fixture: not the oracle's answer"
}

agrees fixtures/transit 1 2 3 8
for seed in $(seq 1 "$seeds"); do
    "$python" tests/oracle/random_fixture.py "$work/seed-$seed" --pipeline transit --seed "$seed" --records 1500
    agrees "$work/seed-$seed" 1 2 3 8
    rm -rf "$work/seed-$seed"
done

# Messages of a type of one's own, written by Protobuf's own library.
protobuf=$(venv protobuf grpcio-tools gtfs-realtime-bindings)/bin/python
"${bare[@]}" "$protobuf" tests/described.py "$binary" "$work/described" || die "messages of a described type"
"$python" tests/described.py "$binary" "$work/described" check || die "messages of a described type are not their objects"

# Feeds in the official schema, by its own bindings, and with fields that nobody knows.
"${bare[@]}" "$protobuf" tests/gtfs_official.py "$binary" "$work/official" || die "feeds of the official bindings"
"$python" tests/gtfs_official.py "$binary" "$work/official" check || die "feeds of the official bindings are read otherwise"

# In epochs, stopped and begun again: versions that time travel reads, and nothing twice.
tidegate generate transit --fixture "$work/long" --polls 900 --vehicles 60
tidegate replay transit --fixture "$work/long" --out "$work/whole" -w 2
# Small files are merged meanwhile.
"${bare[@]}" TIDEGATE_TRANSIT_SINKS_FILES_MERGE_AFTER=2 "$python" tests/crash.py "$binary" "$work/epochs" 5 --kills 4 -- transit --fixture "$work/long" --epoch 100ms --speed 3000x
"$python" tests/transit_delta.py "$work/whole" "$work/epochs" || die "the Delta tables differ"
# The same for programs.
positions=$work/epochs/delta/vehicle_positions
tidegate delta history "$positions" --json | "$python" -c '
import json, sys
commits = json.load(sys.stdin)
versions = [commit["version"] for commit in commits]
assert versions and versions == list(reversed(range(len(versions)))), versions
merged = [commit for commit in commits if commit["operation"] == "OPTIMIZE"]
print("small files were merged %d times in %d versions" % (len(merged), len(versions)))
assert merged and all(commit["removed"] > 1 for commit in merged), commits' || die "the history as JSON"
tidegate delta vacuum "$positions" --dry-run --json | grep -q '"removed": false' || die "the vacuum as JSON"
audited_with_tables "$work/epochs"

# A feed that is polled: cut, slow, refused and repeated answers, and each entity once in a topic.
export KAFKA_PORT KAFKA_CONTROLLER_PORT
KAFKA_PORT=$(free_port 29692) KAFKA_CONTROLLER_PORT=$(free_port 29793)
trap 'bash tests/services/kafka.sh wipe >/dev/null 2>&1 || :; rm -rf "$work"' EXIT
bash tests/services/kafka.sh start
tidegate generate transit --fixture "$work/snapshots" --polls 3 --partitions 1
"${bare[@]}" "$python" tests/feed.py "$binary" "127.0.0.1:$KAFKA_PORT" feed "$work/snapshots" "$work/produced" || die "not each entity once"
echo "transit: ok"
