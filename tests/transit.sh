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
protobuf=$(venv protobuf grpcio-tools)/bin/python
"${bare[@]}" "$protobuf" tests/described.py "$binary" "$work/described" || die "messages of a described type"
"$python" tests/described.py "$binary" "$work/described" check || die "messages of a described type are not their objects"

# In epochs, stopped and begun again: versions that time travel reads, and nothing twice.
tidegate generate transit --fixture "$work/long" --polls 900 --vehicles 60
tidegate replay transit --fixture "$work/long" --out "$work/whole" -w 2
"${bare[@]}" "$python" tests/crash.py "$binary" "$work/epochs" 5 --kills 4 -- transit --fixture "$work/long" --epoch 100ms
"$python" tests/transit_delta.py "$work/whole" "$work/epochs" || die "the Delta tables differ"

# The same in S3, killed and begun again.
export S3_PORT SEAWEEDFS_MASTER_PORT SEAWEEDFS_VOLUME_PORT SEAWEEDFS_FILER_PORT
S3_PORT=$(free_port 18433) SEAWEEDFS_MASTER_PORT=$(free_port 19433) SEAWEEDFS_VOLUME_PORT=$(free_port 18680) SEAWEEDFS_FILER_PORT=$(free_port 18988)
trap 'bash tests/services/seaweedfs.sh kill || :; rm -rf "$work"' EXIT
bash tests/services/seaweedfs.sh start
eval "$(bash tests/services/seaweedfs.sh env)"
into_s3() { exec "${bare[@]}" "$binary" run transit --fixture "$work/long" --out "$work/s3" --lake s3a://tidegate/delta --epoch 200ms "$@" >>"$work/s3.log" 2>&1; }
for workers in 1 3 2; do
    into_s3 -w "$workers" --speed 1500x &
    pid=$!
    sleep "1.$((RANDOM % 10))"
    kill -9 "$pid" 2>/dev/null || { tail -n 20 "$work/s3.log" >&2; die "it ended before it was killed"; }
    wait "$pid" 2>/dev/null || :
done
(into_s3 -w 2) || { tail -n 20 "$work/s3.log" >&2; die "exit code $?"; }
"$python" tests/transit_delta.py "$work/whole" s3://tidegate/delta || die "the Delta tables in S3 differ"
# By the program's own comparison, of a lake in S3 beside tables and topics in a directory; and as a deployment.
audited() { # COUNT ARGUMENTS...: so many tables and topics agree
    tidegate verify transit --fixture "$work/long" "${@:2}" >"$work/audited" || { cat "$work/audited"; die "verify ${*:2}"; }
    [ "$(grep -c ': agrees, ' "$work/audited")" = "$1" ] || { cat "$work/audited"; die "verify ${*:2}: not $1 audits"; }
}
audited 12 --out "$work/s3" --lake=s3a://tidegate/delta
audited 12 --out "$work/epochs"
for lake in "--out $work/s3 --lake=s3a://tidegate/delta" "--out $work/epochs"; do
    # shellcheck disable=SC2086
    tidegate verify transit --deployment $lake >"$work/audited" || { cat "$work/audited"; die "verify --deployment $lake"; }
    grep -q '^ok    rows of vehicle_positions in lake.*, as counted$' "$work/audited" || { cat "$work/audited"; die "rows of $lake are not counted"; }
done
# Small files merged, there and in a directory: the same rows, and fewer files.
merge_once s3://tidegate/delta
merge_once "$work/epochs/delta"
"$python" tests/transit_delta.py "$work/whole" s3://tidegate/delta || die "the Delta tables in S3 differ once they are merged"
"$python" tests/transit_delta.py "$work/whole" "$work/epochs" || die "the Delta tables differ once they are merged"
audited 7 --lake=s3a://tidegate/delta
tidegate delta history s3://tidegate/delta/vehicle_positions | head -n 3

# A feed that is polled: cut, slow, refused and repeated answers, and each entity once in a topic.
export KAFKA_PORT KAFKA_CONTROLLER_PORT
KAFKA_PORT=$(free_port 29692) KAFKA_CONTROLLER_PORT=$(free_port 29793)
trap 'bash tests/services/seaweedfs.sh kill || :; bash tests/services/kafka.sh wipe >/dev/null 2>&1 || :; rm -rf "$work"' EXIT
bash tests/services/kafka.sh start
tidegate generate transit --fixture "$work/snapshots" --polls 3 --partitions 1
"${bare[@]}" "$python" tests/feed.py "$binary" "127.0.0.1:$KAFKA_PORT" feed "$work/snapshots" "$work/produced" || die "not each entity once"
echo "transit: ok"
