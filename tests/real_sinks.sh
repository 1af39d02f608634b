#!/usr/bin/env bash
# Pipelines from a real broker into real sinks, killed at random moments while their input comes and started again with other workers: what is
# left in databases, in topics and in S3 is what an undisturbed run leaves. Called by tests/run.
# usage: tests/real_sinks.sh PIPELINE,... [--matrix | FLAGS...]
#   PIPELINE          activity, hydraulic (PostgreSQL, and a lake on this disk; hydraulic's also in S3), transit (PostgreSQL, and Delta tables
#                     on this disk and in S3), iot (MongoDB and PostgreSQL in the same epoch); and the topics of each
#   --matrix          with each number of workers and with changing ones, each in one process and in two
#   FLAGS             one cell of that: those of tests/crash_live.py, as --workers 8 --cluster
#   TIDEGATE_BINARY   the program (default: the release build)   KILLS (6)   SEED (31)
cd "$(dirname "$0")/.."
. tests/services/live.sh
pipelines=${1:?usage: tests/real_sinks.sh PIPELINE,... [--matrix | FLAGS...]}
shift
cells=("$*")
[ "${1:-}" != --matrix ] || mapfile -t cells < <(tests/killed.sh --cells)
[ ${#cells[@]} -gt 0 ] || die 'there are no cells'
finish() {
    [ -z "${MONGO_PORT:-}" ] || tests/services/mongo.sh wipe || :
    [ -z "${S3_PORT:-}" ] || tests/services/s3.sh wipe || :
    end_broker_and_postgres
}
broker_and_postgres real-sinks 22320 22340 22360
trap finish EXIT
postgres_of_all
case $pipelines in *hydraulic* | *transit*) s3_server 22380 22400 22420 22440 ;; esac
case $pipelines in *iot*) mongo_server 22460 ;; esac
# No partition is released by the clock: the logs alone say what the answers are.
bare+=(TIDEGATE_IDLE_TIMEOUT=none TIDEGATE_HYDRAULIC_SINKS_LAKE="embedded, s3://tidegate/rig" TIDEGATE_TRANSIT_SINKS_LAKE="embedded, s3://tidegate/delta"
    TIDEGATE_IOT_SINKS_TABLES="mongo, postgres")
# Rows of open windows and sessions within epochs: what a killed run has shown must not stay.
bare+=(TIDEGATE_ACTIVITY_UPDATE_EVERY=20ms TIDEGATE_ACTIVITY_UPDATE_SESSIONS=true TIDEGATE_IOT_UPDATE_EVERY=20ms
    TIDEGATE_HYDRAULIC_UPDATE_EVERY=20ms TIDEGATE_TRANSIT_UPDATE_EVERY=20ms TIDEGATE_TRANSIT_UPDATE_SESSIONS=true)

afresh() { # nothing of another cell is there any more
    rm -rf "$work/data" "$work/data.log"
    psql -c 'SET client_min_messages = warning' -c 'DROP SCHEMA public CASCADE' -c 'CREATE SCHEMA public'
    [ -z "${MONGO_URI:-}" ] || "$MONGO_TEST_PYTHON" -c 'import pymongo, sys; pymongo.MongoClient(sys.argv[1]).drop_database("iot_data")' "$MONGO_URI"
    [ -z "${S3_PORT:-}" ] || "$python" tests/bucket.py empty
    "$python" tests/drop_topics.py "$KAFKA_BOOTSTRAP_SERVERS"
}
recorded() { # NAME TOPIC...: what is in the topics, in $work/NAME
    local name=$1 topics=() topic
    for topic in "${@:2}"; do topics+=(--topic "$topic"); done
    rm -rf "${work:?}/$name"
    tidegate record "${servers[@]}" "${topics[@]}" --out "$work/$name" 2>"$work/said" || { cat "$work/said"; die "recording $name"; }
}
# Some input is there from the beginning, and the rest comes while the run is killed. Then what a replay of all of it gives is in $work/expected.
killed() { # PIPELINE,... FLAGS COMMAND: that writes the rest
    # A supervisor that is killed leaves what it had in the directory of temporary files.
    # shellcheck disable=SC2086
    "${bare[@]}" TMPDIR="$work" "$python" tests/crash_live.py "$binary" "$work/data" "${SEED:-31}" --kills "${KILLS:-6}" $2 --input "$3" -- \
        ${1//,/ } --epoch 100ms --web off || { tail -n 40 "$work/data.log"; exit 1; }
    recorded log "${inputs[@]}"
    rm -rf "$work/expected"
    tidegate replay "${1##*,}" --fixture "$work/log" --out "$work/expected" -w 2 >"$work/said" 2>&1 || { cat "$work/said"; die "replay of $1"; }
}
verified() { # PIPELINE FIXTURE COUNT ARGUMENTS...: so many tables, lakes and topics agree
    "${bare[@]}" TIDEGATE_DATA="$work/data" TIDEGATE_CHECKPOINT="$work/data/checkpoint" "$binary" verify "$1" --fixture "$work/$2" "${@:4}" >"$work/said" 2>&1 ||
        { cat "$work/said"; die "verify $1: exit code $?"; }
    [ "$(grep -c ': agrees, ' "$work/said")" = "$3" ] || { cat "$work/said"; die "verify $1: not $3 audits"; }
}
# By the program itself, and the topics and the lake on this disk by others.
same() { # PIPELINE COUNT TOPIC-THAT-IT-WRITES...
    verified "$1" log "$2" --postgres --lake --topics
    recorded written "${@:3}"
    "$python" tests/same_live.py "$work/expected" "$work/data" "$work/written" "$1"
}
writing() { printf '%q ' "${bare[@]}" "$binary" generate "$@" "${servers[@]}"; } # ARGUMENTS...: the command
# Of generators whose clock is that of the events: in parts.
writing_parts() { # MINUTES ARGUMENTS...
    # shellcheck disable=SC2016
    printf 'for part in {1..12}; do %s --span %sm --seed $part --start $(date -u -d "2026-01-01 $((part * %s)) minutes" +%%FT%%TZ) 2>/dev/null; sleep 0.7; done' \
        "$(writing "${@:2}")" "$1" "$1"
}

activity() { # FLAGS
    inputs=(user_activity)
    tidegate generate activity "${servers[@]}" --topic user_activity --partitions 5 --records 10000 --span 10m --start 2026-01-01T00:00:00Z
    killed activity "$1" "$(writing_parts 10 activity --topic user_activity --records 10000)"
    same activity 8 enriched_activity user_activity.late user_activity.dlq
}
hydraulic() { # FLAGS
    inputs=("${rig_topics[@]}")
    tidegate generate hydraulic "${servers[@]}" --cycles 1 --high-rate 20 --start 2026-01-01T00:00:00Z
    killed hydraulic "$1" "$(writing hydraulic --cycles 5 --high-rate 20 --rate 3500 --seed 2 --start 2026-01-01T00:01:00Z)"
    same hydraulic 40 hydraulic-alerts "${inputs[@]/%/.late}" "${inputs[@]/%/.dlq}"
    "$python" tests/bucket.py copy rig "$work/rig"
    "$python" tests/lake_rows.py compare "$work/expected/lake/hydraulic" "$work/rig"
    "$python" tests/lake_rows.py compare "$work/expected/lake/hydraulic" "$work/rig" --list
}
transit() { # FLAGS
    inputs=(dev_topic)
    tidegate generate transit "${servers[@]}" --partitions 3 --polls 20 --start 2026-01-01T00:00:00Z
    killed transit "$1" "$(writing transit --polls 400 --rate 450 --seed 2 --start 2026-01-01T00:05:00Z)"
    same transit 19 dev_topic.late dev_topic.dlq
    "$python" tests/transit_delta.py "$work/expected" "$work/data"
    "$python" tests/transit_delta.py "$work/expected" s3://tidegate/delta
}
iot() { # FLAGS
    local how=(--late-every 40 --fault-every 40) place
    inputs=(iot_data)
    tidegate generate iot "${servers[@]}" --partitions 3 --records 2500 --span 5m --start 2026-01-01T00:00:00Z "${how[@]}"
    killed iot-validate,iot "$1" "$(writing_parts 5 iot --records 2500 "${how[@]}")"
    verified iot log 6 --mongo --postgres --topics
    recorded validated validated_iot_data
    verified iot validated 2 --topics
    for place in mongo postgres; do MONGO_DATABASE=iot_data "$MONGO_TEST_PYTHON" tests/iot_live.py compare "$work/expected" $place; done
}
for pipeline in ${pipelines//,/ }; do
    for cell in "${cells[@]}"; do
        began=$SECONDS
        afresh
        "$pipeline" "$cell"
        say "real-sinks: $pipeline${cell:+, $cell}: the undisturbed one, in $((SECONDS - began)) s"
    done
done
