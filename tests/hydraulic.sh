#!/usr/bin/env bash
# The lake of hydraulic in real places: HDFS (a NameNode and a DataNode) and S3, each under runs that are killed at random moments; its
# compaction; what is read from it. Servers that are away: sinks_away.sh. Called by tests/run.
# usage: tests/hydraulic.sh   TIDEGATE_BINARY   the program (default target/release/tidegate)
#   HYDRAULIC_KILLS (2)  how often each run is killed   S3_SERVER (seaweedfs)  whose S3: seaweedfs, minio
cd "$(dirname "$0")/.."
. tests/services/lib.sh
binary=$(realpath "${TIDEGATE_BINARY:-target/release/tidegate}")
kills=${HYDRAULIC_KILLS:-2}
unset TIDEGATE_BINARY
export -n TIDEGATE_CACHE TIDEGATE_SERVICES_DIR
cache=$TIDEGATE_CACHE
services=$(mktemp -d)
place=$(mktemp -d)
hdfs_port=$(free_port 19820)
export HDFS_RPC_PORT=$hdfs_port HDFS_HTTP_PORT HDFS_DN_PORT HDFS_DN_HTTP_PORT HDFS_DN_IPC_PORT
HDFS_HTTP_PORT=$(free_port 19870) HDFS_DN_PORT=$(free_port 19900) HDFS_DN_HTTP_PORT=$(free_port 19930) HDFS_DN_IPC_PORT=$(free_port 19960)
export S3_PORT SEAWEEDFS_MASTER_PORT SEAWEEDFS_VOLUME_PORT SEAWEEDFS_FILER_PORT
S3_PORT=$(free_port 18333) SEAWEEDFS_MASTER_PORT=$(free_port 19333) SEAWEEDFS_VOLUME_PORT=$(free_port 18580) SEAWEEDFS_FILER_PORT=$(free_port 18888)
serve() { TIDEGATE_SERVICES_DIR=$services TIDEGATE_CACHE=$cache bash "tests/services/$1.sh" "${@:2}"; }
finish() {
    kill_jobs
    serve hdfs kill || :
    serve s3 kill || :
    rm -rf "$services" "$place"
}
trap finish EXIT

python=$(TIDEGATE_CACHE=$cache python_venv)
rows() { "$python" tests/lake_rows.py "$@"; }

serve s3 start 2>"$place/s3.out" &
starting=$!
serve hdfs start 2>"$place/hdfs.out" || { cat "$place/hdfs.out" >&2; exit 1; }
wait "$starting" || { cat "$place/s3.out" >&2; exit 1; }
eval "$(serve s3 env)"
hdfs=hdfs://127.0.0.1:$HDFS_RPC_PORT/hydraulic_data/streaming
s3=s3://tidegate/hydraulic_data/streaming
# A file a second: four cycles are 240 of them.
fixture=$place/fixture
"$binary" generate hydraulic --fixture "$fixture" --cycles 4 --high-rate 10 2>/dev/null

say 'what each kind of place promises, and the fence of checkpoints in S3'
places_test() {
    # The features of the whole workspace, as all other tests have them: nothing is built again.
    # shellcheck disable=SC2086
    TIDEGATE_TEST_PLACES="hdfs://127.0.0.1:$HDFS_RPC_PORT/places s3://tidegate/places" \
        cargo test ${TIDEGATE_TEST_PROFILE---release} --workspace --lib -- --nocapture storage:: checkpoint::s3
}
places_test >"$place/places.log" 2>&1 || { tail -n 60 "$place/places.log" >&2; die 'the tests of places failed'; }
if grep 'skipped: ' "$place/places.log" >&2; then die 'tests of places were skipped'; fi
for test in storage::tests::publishing checkpoint::s3::tests::older_run; do
    grep -q "^test $test" "$place/places.log" || { cat "$place/places.log" >&2; die "$test… did not run"; }
done

copy_hdfs() { # FOLDER TO
    rm -rf "$2"
    serve hdfs dfs -get "/hydraulic_data/$1" "$2" 2>"$place/get.out" || { cat "$place/get.out" >&2; die "$1 could not be copied from HDFS"; }
}
copy_s3() { "$python" tests/bucket.py copy "hydraulic_data/$1" "$2"; }

# Always in a subshell or in the background, whose pid is then the program's.
run() { # NAME LAKE CHECKPOINT ARGS...
    exec "$binary" run hydraulic --fixture $fixture --out "$place/$1" --lake "$2" --checkpoint "$3" --epoch 200ms "${@:4}" >>"$place/$1.log" 2>&1
}
# Killed at random moments until it has ended by itself; each life with other workers.
until_the_end() { # NAME LAKE CHECKPOINT
    local hits=0 workers pid status
    while :; do
        workers=$((1 + RANDOM % 3))
        run "$@" -w "$workers" --speed 60x &
        pid=$!
        if [ "$hits" -lt "$kills" ]; then
            sleep "0.$((RANDOM % 8 + 2))"
            [ $((RANDOM % 2)) = 0 ] || sleep 0.7
            kill -9 "$pid" 2>/dev/null || :
        fi
        status=0
        wait "$pid" 2>/dev/null || status=$?
        case $status in
        0) break ;;
        137) hits=$((hits + 1)) ;;
        *)
            tail -n 20 "$place/$1.log" >&2
            die "$1 ended with status $status"
            ;;
        esac
    done
    # A run that was over before the first kill has shown nothing.
    [ "$hits" -gt 0 ] || die "no kill hit a run of $1"
}

say 'the undisturbed lake, on this disk'
(run wanted "$place/lake" "$place/wanted.checkpoint" -w 2) || { tail "$place/wanted.log" >&2; exit 1; }
rows compare "$place/lake" "$place/lake"

say 'killed at random moments into HDFS'
until_the_end hdfs "$hdfs" "$place/hdfs.checkpoint"
copy_hdfs streaming "$place/from-hdfs"
rows compare "$place/lake" "$place/from-hdfs"
rows compare "$place/lake" "$place/from-hdfs" --list

say 'killed at random moments into S3, with checkpoints in S3'
until_the_end s3 "$s3" s3://tidegate/checkpoint
copy_s3 streaming "$place/from-s3"
rows compare "$place/lake" "$place/from-s3"
rows compare "$place/lake" "$place/from-s3" --list
"$binary" checkpoint list --checkpoint s3://tidegate/checkpoint --pipeline hydraulic
"$binary" checkpoint show --checkpoint s3://tidegate/checkpoint --pipeline hydraulic | grep -q '"finished": true'
"$binary" checkpoint verify --checkpoint s3://tidegate/checkpoint --pipeline hydraulic

say 'the same by the program itself, and as deployments'
for lake in "$hdfs" "$s3"; do
    case $lake in hdfs*) name=hdfs checkpoint=$place/hdfs.checkpoint ;; *) name=s3 checkpoint=s3://tidegate/checkpoint ;; esac
    "$binary" verify hydraulic --fixture "$fixture" --out "$place/$name" --lake="$lake" >"$place/verify.log" || { cat "$place/verify.log"; die "verify: $lake"; }
    grep -q '^lake/hydraulic (.*: agrees, ' "$place/verify.log" || { cat "$place/verify.log"; die "$lake was not compared"; }
    "$binary" verify hydraulic --deployment --out "$place/$name" --lake="$lake" --checkpoint "$checkpoint" >"$place/verify.log" || { cat "$place/verify.log"; die "verify --deployment: $lake"; }
    grep -q '^ok    files of lake at ' "$place/verify.log" || { cat "$place/verify.log"; die "the files of $lake were not looked for"; }
done

say 'the training set, from each place and from the stream'
labels=$place/profile.txt
for cycle in 0 1 2; do printf '%d\t%d\t%d\t%d\t%d\n' "$cycle" 100 $((cycle % 2)) 130 0; done >"$labels"
for lake in "$place/lake" "$hdfs" "$s3"; do
    name=$(printf '%s' "$lake" | tr -c 'a-z0-9\n' _)
    "$binary" dataset --lake "$lake" --labels "$labels" --out "$place/set-$name" -w 2 >/dev/null
    cmp "$place/set-$(printf '%s' "$place/lake" | tr -c 'a-z0-9\n' _)/training_set.csv" "$place/set-$name/training_set.csv"
done
"$binary" dataset --fixture $fixture --labels "$labels" --out "$place/set-stream" >/dev/null
cmp "$place/set-$name/training_set.csv" "$place/set-stream/training_set.csv"
rows dataset "$place/lake" "$place/set-stream/training_set.csv" "$labels"
"$python" -c 'import pyarrow.parquet, sys; t = pyarrow.parquet.read_table(sys.argv[1]); print(t.num_rows, "rows of", t.num_columns, "columns")' "$place/set-stream/training_set.parquet"

say 'compaction, killed at random moments, loses and repeats no row, and a training set that is kept up to date is still the same'
# The labels that it reads, its files, and what it says.
current=$place/current.txt kept=$place/set-kept
cp "$labels" "$current"
"$binary" dataset --lake "$hdfs" --labels "$current" --out "$kept" --every 500ms >/dev/null 2>"$kept.log" &
keeper=$!
keeper_says() { # WHAT
    local left=300
    until grep -q "$1" "$kept.log"; do
        [ $((left -= 1)) -gt 0 ] && kill -0 "$keeper" 2>/dev/null || { cat "$kept.log" >&2; die "the training set that is kept up to date: never $1"; }
        sleep 0.2
    done
}
keeper_says ': 4 added, 0 changed, 0 removed'
cmp "$place/set-stream/training_set.csv" "$kept/training_set.csv"
before=$(rows duckdb "$place/from-hdfs")
compacted() { # hdfs|s3 LAKE
    local hits=0 life pid status
    # Later each time: the first is early enough to hit, the last late enough to have published something.
    for life in 0 1 2; do
        "$binary" compact --lake "$2" >"$place/compact.log" 2>&1 &
        pid=$!
        sleep "0.$((2 * life + RANDOM % 2 + 1))"
        kill -9 "$pid" 2>/dev/null || :
        status=0
        wait "$pid" 2>/dev/null || status=$?
        case $status in
        0) ;;
        137) hits=$((hits + 1)) ;;
        *)
            cat "$place/compact.log" >&2
            die "compact ended with status $status"
            ;;
        esac
        "copy_$1" streaming "$place/from-$1"
        rows compare "$place/lake" "$place/from-$1"
    done
    [ "$hits" -gt 0 ] || die "no kill hit a compaction in $1"
    "$binary" compact --lake "$2"
    "copy_$1" streaming "$place/from-$1"
}
compacted hdfs "$hdfs"
compacted s3 "$s3"
for lake in from-hdfs from-s3; do
    rows compare "$place/lake" "$place/$lake"
    rows compare "$place/lake" "$place/$lake" --list
    [ "$(find "$place/$lake" -name '*.parquet' | wc -l)" -lt 5 ]
    [ "$(rows codecs "$place/$lake")" = ZSTD ] || die "files of $lake are not compressed: $(rows codecs "$place/$lake")"
    after=$(rows duckdb "$place/$lake")
    [ "$before" = "$after" ] || die "DuckDB read $before before and $after after the compaction"
done
"$binary" dataset --lake "$hdfs" --labels "$labels" --out "$place/set-compacted" >/dev/null
cmp "$place/set-stream/training_set.csv" "$place/set-compacted/training_set.csv"
# The stable flag of cycle 1, corrected: its row changes, and nothing has changed before.
awk 'BEGIN { OFS = "\t" } NR == 2 { $5 = 1 } { print }' "$labels" >"$current.new" && mv "$current.new" "$current"
keeper_says ': 0 added, 1 changed, 0 removed'
[ "$(grep -c ' changed, ' "$kept.log")" = 2 ] || { cat "$kept.log" >&2; die 'the training set has changed while the lake was compacted'; }
kill -TERM "$keeper"
wait "$keeper" || die "the training set that is kept up to date: exit code $?"
cmp -s "$kept/training_set.csv" "$place/set-stream/training_set.csv" && die 'the corrected label is not in the training set'
rows dataset "$place/lake" "$kept/training_set.csv" "$current"

say 'cycles side by side'
(cd "$place" && "$binary" cycles compare 0 1 --lake "$hdfs" --most 5 && "$binary" cycles trend pressure_mean --lake "$s3")
for picture in cycles-0-1 trend-pressure_mean; do
    "$python" -c 'import sys, xml.dom.minidom as d; d.parse(sys.argv[1])' "$place/$picture.svg"
done
say "hydraulic: the lake in HDFS and in ${S3_SERVER:-seaweedfs} is the undisturbed one"
