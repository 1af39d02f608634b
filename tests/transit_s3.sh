#!/usr/bin/env bash
# transit's Delta tables in S3, under a run that is killed at random moments and goes on with other workers, and once their small files are
# merged: as delta-rs reads them, and by the program's own comparison. Called by tests/run.
# usage: tests/transit_s3.sh     TIDEGATE_BINARY   the program (default: the release build)
#   S3_SERVER (seaweedfs)  whose S3: seaweedfs, minio
cd "$(dirname "$0")/.."
. tests/services/live.sh
python=$(python_venv)
own_s3 transit-s3 18433 19433 18680 18988
# Of MinIO the program is told by its own names alone.
[ "${S3_SERVER:-}" != minio ] || bare+=(-u AWS_ENDPOINT_URL -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY)

# What no waiting mends ends a run, and is said by name.
refused() { # SAYING LAKE SETTING...
    local status=0
    timeout 60 "${bare[@]}" "${@:3}" "$binary" run transit --fixture fixtures/transit --out "$work/refused" --lake "$2" --web off >"$work/refused.log" 2>&1 || status=$?
    { [ "$status" = 1 ] && grep -q "$1" "$work/refused.log"; } || { tail -n 20 "$work/refused.log" >&2; die "$2: exit code $status, not by its name: $1"; }
    rm -rf "$work/refused" "$work/refused.checkpoint"
}
refused 'there is no such bucket: create it' s3a://nowhere/delta
refused SignatureDoesNotMatch s3a://tidegate/delta AWS_SECRET_ACCESS_KEY=of-somebody-else MINIO_ROOT_PASSWORD=of-somebody-else
refused InvalidAccessKeyId s3a://tidegate/delta AWS_ACCESS_KEY_ID=somebody-else MINIO_ROOT_USER=somebody-else

tidegate generate transit --fixture "$work/long" --polls 900 --vehicles 60
tidegate replay transit --fixture "$work/long" --out "$work/whole" -w 2
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
# Of a lake in S3 beside tables and topics in a directory.
audited_with_tables "$work/s3" --lake=s3a://tidegate/delta
merge_once s3://tidegate/delta
"$python" tests/transit_delta.py "$work/whole" s3://tidegate/delta || die "the Delta tables in S3 differ once they are merged"
audited 7 --lake=s3a://tidegate/delta
tidegate delta history s3://tidegate/delta/vehicle_positions | head -n 3
say "transit-s3: the Delta tables in ${S3_SERVER:-seaweedfs} are the undisturbed ones"
