#!/usr/bin/env bash
# The connection to PostgreSQL is cut, and stands still, at chosen points of a live run's transactions: before COMMIT, with COMMIT on its
# way, and with the answer to it. First where each row is written once, by its epoch alone; then in update mode, where transactions within
# epochs are met too. What is left is what a replay of the log gives. Called by tests/run.
# usage: tests/severed.sh     TIDEGATE_BINARY   the program (default: the release build)
#   SEVERED_TIMES (2)    how often each happens in each mode, to commits of epochs, and to what is shown within epochs
#   SEVERED_MUTE (1)     how many new connections are never answered: for longer than the client's own limit
#   SEVERED_SILENT (1)   for how many seconds a connection stands still where each row is written once
cd "$(dirname "$0")/.."
. tests/services/live.sh
broker_and_postgres severed 19842 19943 15733
times=${SEVERED_TIMES:-2} mute=${SEVERED_MUTE:-1} silent=${SEVERED_SILENT:-1}
faults=(middle swallowed unknown unanswered silent)
stand_between() { # MUTE [--early]: on the port `through`, with what happens in the file `events`
    through=$(free_port 15783) events=$work/events$2
    : >"$events"
    tells=("$events")
    "$python" tests/severed.py "$through" "$PG_PORT" "$events" --times "$times" --mute "$1" --silent "$silent" $2 >>"$work/between.log" 2>&1 &
    until port_open "$through"; do
        kill -0 $! 2>/dev/null || { cat "$work/between.log" >&2; die 'nothing stands between'; }
        sleep 0.1
    done
}
happened() { grep -cx "$1" "$events" || :; } # KIND FAULT
all_happened() { # MUTE KIND...
    local kind fault
    for kind in "${@:2}"; do
        for fault in "${faults[@]}"; do [ "$(happened "$kind $fault")" -ge "$times" ] || return 1; done
    done
    [ "$(happened 'connection mute')" -ge "$1" ] && [ "$(happened 'epoch known')" -ge "$times" ]
}
met() { # MUTE KIND...: all of it has happened to the run, and it goes on
    local before
    # A machine that does other things too takes its time for each transaction.
    until_true $((420 + 4 * times * silent)) 'each fault, often enough' all_happened "$@"
    sort "$events" | uniq -c >&2
    [ "$(happened 'epoch repeated')" = 0 ] || fail 'an epoch was committed again after the server had said that it is in'
    before=$(rows)
    until_true 60 'rows after all of it' more_rows "$before"
}

live_activity --epoch 300ms -w 2
# The run alone goes through it. Partitions are not released by the clock: the log alone says what the answer is.
plain=(TIDEGATE_ACTIVITY_SINKS_POSTGRES_TLS=disable TIDEGATE_IDLE_TIMEOUT=none)
clicks

say 'each row once: nothing else would bring the rows of an epoch that is lost'
stand_between 0 ''
with=(DB_PORT="$through" "${plain[@]}")
run
met 0 epoch
kill -TERM "$runner"
wait "$runner" || fail "exit code $? after SIGTERM"

say 'in update mode'
silent=1
stand_between "$mute" --early
with=(DB_PORT="$through" "${plain[@]}" TIDEGATE_ACTIVITY_UPDATE_EVERY=30ms TIDEGATE_ACTIVITY_UPDATE_SESSIONS=true)
run
met "$mute" epoch early
to_the_end
[ ! -s "$work/between.log" ] || { cat "$work/between.log" >&2; die 'what stands between has failed'; }

same_as_replay
[ "$(psql -c 'SELECT count(*) FROM tidegate_early')" = 0 ] || die 'rows of open windows are still noted'
say 'severed: what is left is what the log gives'
