#!/usr/bin/env bash
# All stages of iot, hydraulic and transit in one process; MongoDB, HDFS, S3, PostgreSQL and Kafka are killed and started again one after the
# other while it runs, and PostgreSQL is slow for a while. Whoever needs the one that is away or slow waits for it, the others go on, and in the
# end each has in its sinks what a replay of its log gives. Called by tests/run.
# usage: tests/sinks_away.sh [SERVICE...]     mongo, hdfs, s3, 'hdfs s3', postgres, slow, kafka (all)
#   TIDEGATE_BINARY   the program (default: the release build)   S3_SERVER (seaweedfs)  whose S3: seaweedfs, minio
cd "$(dirname "$0")/.."
. tests/services/live.sh
apt_for curl curl
broker_and_postgres sinks-away 22480 22500 22520
log=$work/run.log tells=()
finish() {
    # What commands said is there.
    [ $? = 0 ] || [ ! -s "$log" ] || tail -n 40 "$log" >&2
    local service
    for service in mongo hdfs s3; do tests/services/$service.sh wipe >/dev/null 2>&1 || :; done
    end_broker_and_postgres
}
trap finish EXIT
postgres_of_all
HDFS_RPC_PORT=$(free_port 22540) HDFS_HTTP_PORT=$(free_port 22560) HDFS_DN_PORT=$(free_port 22580) HDFS_DN_HTTP_PORT=$(free_port 22600) HDFS_DN_IPC_PORT=$(free_port 22620)
export HDFS_RPC_PORT HDFS_HTTP_PORT HDFS_DN_PORT HDFS_DN_HTTP_PORT HDFS_DN_IPC_PORT
tests/services/hdfs.sh start
s3_server 22640 22660 22680 22700
mongo_server 22720
# No partition is released by the clock: the logs alone say what the answers are.
bare+=(TIDEGATE_DATA="$work/data" TIDEGATE_CHECKPOINT="$work/data/checkpoint" TIDEGATE_IDLE_TIMEOUT=none TIDEGATE_IOT_UPDATE_EVERY=100ms
    TIDEGATE_HYDRAULIC_SINKS_LAKE="hdfs://127.0.0.1:$HDFS_RPC_PORT/rig" TIDEGATE_TRANSIT_SINKS_LAKE=s3://tidegate/delta)
pipelines=(iot-validate iot hydraulic transit)

run() { # PIPELINE... FLAGS...: in the background
    page=$(free_port 22740)
    "${bare[@]}" "$binary" run "$@" --epoch 200ms -w 2 --web "127.0.0.1:$page" >>"$log" 2>&1 &
    runner=$!
}
# Another five minutes of all.
part=0
written() { # WHAT FLAGS...
    tidegate generate "$1" "${servers[@]}" --seed $((part + 1)) --start "$(date -u -d "2026-01-01 $((part * 5)) minutes" +%Y-%m-%dT%H:%M:%SZ)" "${@:2}" 2>>"$log"
}
more_input() {
    written iot --partitions 3 --records 2000 --span 5m --late-every 40 --fault-every 40
    written hydraulic --cycles 1 --high-rate 10
    written transit --partitions 3 --polls 20 --vehicles 20
    part=$((part + 1))
}
more_than() { [ "$(figure source_records_read_total iot-validate)" -gt "$1" ]; }
a_wait='waiting for it, and trying again\|trying again until it is available'
waits_more_than() { [ "$(grep -c "$a_wait" "$log")" -gt "$1" ]; } # COUNT
waited() { awk -v now="$(figure epoch_backpressure_seconds_total transit)" -v before="$1" 'BEGIN { exit !(now - before >= 1) }'; } # SECONDS-BEFORE
epochs_more() { # PIPELINE N
    until_true 60 "$2 epochs more of $1" has_decided "$1" $(($(epoch "$1") + $2))
}
stands() { # PIPELINE OTHER: while the other one decides ten epochs
    local stood
    stood=$(epoch "$1")
    epochs_more "$2" 10
    [ "$(epoch "$1")" = "$stood" ]
}
away() { # "SERVICE..." WHO-WAITS-FOR-ONE-OF-THEM...
    local pipeline service services others=() starting=() before
    read -ra services <<<"$1"
    for pipeline in "${pipelines[@]}"; do
        case " ${*:2} " in *" $pipeline "*) ;; *) others+=("$pipeline") ;; esac
    done
    say "${services[*]}: away"
    before=$(grep -c "$a_wait" "$log" || :)
    for service in "${services[@]}"; do
        # SeaweedFS loses what it has not written when it is killed.
        if [ "$service" = s3 ]; then tests/services/s3.sh stop; else "tests/services/$service.sh" kill; fi
    done
    more_input
    for pipeline in "${others[@]}"; do all_of_it "$pipeline"; done
    for pipeline in "${@:2}"; do
        until_true 60 "$pipeline waits for $1, and ${others[0]} goes on" stands "$pipeline" "${others[0]}"
    done
    # The client of HDFS tries for a minute by itself before anything can be said.
    [ "$1" = hdfs ] || until_true 60 'a word about the wait' waits_more_than "$before"
    for service in "${services[@]}"; do
        "tests/services/$service.sh" start &
        starting+=($!)
    done
    for service in "${starting[@]}"; do wait "$service"; done
    more_input
    for pipeline in "${pipelines[@]}"; do all_of_it "$pipeline"; done
}

more_input
run "${pipelines[@]}"
for pipeline in "${pipelines[@]}"; do all_of_it "$pipeline"; done
# Those of two pipelines at once.
[ $# -gt 0 ] || set -- mongo 'hdfs s3' postgres slow kafka
for service in "$@"; do
    began=$SECONDS
    case $service in
    mongo) away mongo iot-validate iot ;;
    hdfs) away hdfs hydraulic ;;
    'hdfs s3') away 'hdfs s3' hydraulic transit ;;
    s3) away s3 transit ;;
    postgres) away postgres hydraulic transit ;;
    slow)
        say 'PostgreSQL is slow'
        psql -c "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3); RETURN NULL; END'" \
            -c 'CREATE TRIGGER slow BEFORE INSERT ON route_activity FOR EACH STATEMENT EXECUTE FUNCTION slow()'
        before=$(figure epoch_backpressure_seconds_total transit)
        more_input
        until_true 60 'an epoch of transit that waits for the one before' waited "$before"
        epochs_more iot 5
        for pipeline in "${pipelines[@]}"; do all_of_it "$pipeline"; done
        psql -c 'DROP TRIGGER slow ON route_activity' -c 'DROP FUNCTION slow'
        ;;
    kafka)
        # Records are on their way when it is killed; those that did not arrive are not in the log.
        before=$(figure source_records_read_total iot-validate)
        written iot --partitions 3 --records 30000 --rate 2000 --late-every 40 --fault-every 40 &
        writer=$!
        until_true 60 'the first of them' more_than "$before"
        say 'kafka is away'
        tests/services/kafka.sh kill
        until_true 60 'a word about Kafka' told 'kafka sink: no broker answers'
        tests/services/kafka.sh start
        wait "$writer" || :
        part=$((part + 1))
        more_input
        for pipeline in "${pipelines[@]}"; do all_of_it "$pipeline"; done
        ;;
    esac
    say "$service: over, in $((SECONDS - began)) s"
done
kill -TERM "$runner"
wait "$runner" || fail "exit code $? after SIGTERM"

say 'the rest, and all compared with their replays'
# Each to its end, the second stage of iot once the first has come to its own.
run iot-validate --until-end
wait "$runner" || fail "iot-validate to the end: exit code $?"
run iot hydraulic transit --until-end
wait "$runner" || fail "the others to the end: exit code $?"
replayed() { tidegate replay "$1" --fixture "$work/$1" --out "$work/expected-$1" -w 2 >/dev/null 2>>"$log"; } # PIPELINE
agree() { # COUNT PIPELINE FIXTURE ARGUMENTS...: so many tables, lakes and topics
    tidegate verify "$2" --fixture "$work/$3" "${@:4}" >"$work/said" 2>>"$log" || { cat "$work/said"; fail "verify $2: exit code $?"; }
    [ "$(grep -c ': agrees, ' "$work/said")" = "$1" ] || { cat "$work/said"; fail "verify $2: not $1 audits"; }
}
{
    recorded iot iot_data
    recorded hydraulic "${rig_topics[@]}"
    recorded transit dev_topic
    recorded validated validated_iot_data
} 2>>"$log"
agree 4 iot iot --mongo --topics
agree 2 iot validated --topics
agree 39 hydraulic hydraulic --postgres --lake --topics
agree 12 transit transit --postgres --lake --topics
# Documents and Delta tables also by others.
replayed iot
MONGO_DATABASE=iot_data "$MONGO_TEST_PYTHON" tests/iot_live.py compare "$work/expected-iot" mongo
replayed transit
"$python" tests/transit_delta.py "$work/expected-transit" s3://tidegate/delta
say 'sinks-away: those that could went on, and nothing is missing'
