#!/usr/bin/env bash
# Two pipelines in one process, activity into PostgreSQL and transit into Delta tables on this disk: while PostgreSQL is away transit goes on
# and activity waits, also when the process is killed and started again meanwhile; in the end both have what a replay gives.
# Called by tests/run.
# usage: tests/beside.sh     TIDEGATE_BINARY   the program (default: the release build)
cd "$(dirname "$0")/.."
. tests/services/live.sh
apt_for curl curl
broker_and_postgres beside 22220 22240 22260
# No partition is released by the clock: the logs alone say what the answers are.
bare+=(TIDEGATE_DATA="$work/data" TIDEGATE_CHECKPOINT="$work/data/checkpoint" TIDEGATE_IDLE_TIMEOUT=none
    TIDEGATE_TRANSIT_SINKS_TABLES=sqlite TIDEGATE_TRANSIT_SINKS_TOPICS=files)
log=$work/run.log
fail() { die "$*"; }
finish() {
    # What commands said is there.
    [ $? = 0 ] || [ ! -s "$log" ] || tail -n 40 "$log" >&2
    end_broker_and_postgres
}
trap finish EXIT
run() { # FLAGS...: in the background
    page=$(free_port 22280)
    "${bare[@]}" "$binary" run activity transit --epoch 200ms -w 2 --web "127.0.0.1:$page" "$@" >>"$log" 2>&1 &
    runner=$!
}
# Another quarter of an hour of both.
quarter=0
more_input() {
    local start
    start=$(date -u -d "2026-01-01 $((quarter * 15)) minutes" +%Y-%m-%dT%H:%M:%SZ)
    quarter=$((quarter + 1))
    tidegate generate activity "${servers[@]}" --topic user_activity --users 500 --partitions 3 --records 8000 --span 15m --seed $quarter --start "$start" 2>>"$log"
    tidegate generate transit "${servers[@]}" --vehicles 20 --partitions 3 --polls 60 --seed $quarter --start "$start" 2>>"$log"
}

# The Delta table's own versions, and the rows of the newest, as delta-rs reads them.
delta() {
    "$python" -c 'import deltalake, sys; t = deltalake.DeltaTable(sys.argv[1]); print(t.version(), t.to_pyarrow_table().num_rows)' "$work/data/delta/vehicle_positions"
}
rows() { psql -c 'SELECT count(*) FROM page_view_counts' 2>/dev/null || echo 0; }
grows() { # WHAT: both the versions and the rows of the Delta table, since the last call
    local version rows
    read -r version rows <<<"$(delta)"
    say "$1: version $version of the Delta table, $rows rows"
    [ "$version" -gt "${former_version:--1}" ] && [ "$rows" -gt "${former_rows:-0}" ] || fail "$1: transit has stood still"
    former_version=$version former_rows=$rows
}

more_input
run
all_of_it activity
all_of_it transit
before=$(rows)
[ "$before" -gt 0 ] || fail 'no rows in PostgreSQL'
grows 'both run'

say 'PostgreSQL is away'
tests/services/postgres.sh kill
more_input
until_true 60 'trouble with PostgreSQL' is sink_failing activity 1
stood=$(epoch activity)
all_of_it transit
grows 'PostgreSQL is away'
[ "$(figure sink_retries_total activity)" -gt 0 ] || fail 'it is not tried again'
is sink_failing transit 0 || fail 'transit has trouble too'
is sink_failing activity 1 || fail 'activity has no trouble any more'
[ "$(epoch activity)" = "$stood" ] || fail "activity has gone on from epoch $stood without PostgreSQL"

say 'the process is killed, and started again without PostgreSQL'
kill -9 "$runner" && wait "$runner" 2>/dev/null || :
more_input
run
all_of_it transit
grows 'started again without PostgreSQL'

say 'PostgreSQL is back'
tests/services/postgres.sh start
[ "$(rows)" = "$before" ] || fail "$(rows) rows in PostgreSQL, where there were $before"
more_input
all_of_it activity
all_of_it transit
[ "$(rows)" -gt "$before" ] || fail 'no more rows in PostgreSQL'
grows 'PostgreSQL is back'
kill -TERM "$runner"
wait "$runner" || fail "exit code $? after SIGTERM"

say 'the rest, and both compared with their replays'
run --until-end
wait "$runner" || fail "exit code $?"
for of in activity:user_activity transit:dev_topic; do
    tidegate record "${servers[@]}" --topic "${of#*:}" --out "$work/recorded-${of%:*}" 2>>"$log"
    tidegate replay "${of%:*}" --fixture "$work/recorded-${of%:*}" --out "$work/expected-${of%:*}" -w 2 >/dev/null 2>>"$log"
done
tidegate verify activity --fixture "$work/recorded-activity" --postgres
tidegate record "${servers[@]}" --topic enriched_activity --topic user_activity.late --topic user_activity.dlq --out "$work/written" 2>>"$log"
"$python" tests/same_live.py "$work/expected-activity" "$work/data" "$work/written"
"$python" tests/same_output.py "$work/expected-transit" "$work/data" transit live
"$python" tests/transit_delta.py "$work/expected-transit" "$work/data"
say 'beside: the one that could went on, and nothing is missing'
