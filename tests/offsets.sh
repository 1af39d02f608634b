#!/usr/bin/env bash
# The Kafka source in whole runs: where a first start begins, what retention takes away, other producers' transactions, a partition
# that never has a record, and one that is far ahead in event time. What a run leaves is what a replay of just those records gives.
# Called by tests/run.
# usage: tests/offsets.sh     TIDEGATE_BINARY   the program (default: the release build)
cd "$(dirname "$0")/.."
. tests/services/live.sh
python=$(python_venv)
apt_for curl curl kcat kcat
own_place offsets
KAFKA_PORT=$(free_port 22120) && KAFKA_CONTROLLER_PORT=$(free_port 22140)
export KAFKA_PORT KAFKA_CONTROLLER_PORT
runner=''
finish() {
    kill_jobs
    tests/services/kafka.sh wipe || :
    rm -rf "$work"
}
trap finish EXIT
tests/services/kafka.sh start
export KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:$KAFKA_PORT
servers=(--bootstrap-servers "$KAFKA_BOOTSTRAP_SERVERS")
offsets() { "$python" tests/offsets.py "$@"; }
fail() { [ ! -s "$log" ] || tail -n 40 "$log" >&2; die "$*"; }

# Each part has a topic, and so a checkpoint and an output, of its own. Partitions are not released by the clock, so the log alone says
# what the answer is.
without=("${bare[@]}")
part() { # TOPIC SETTING...
    topic=$1 log=$work/$1.log out=$work/$1
    say "$topic"
    bare=("${without[@]}" TIDEGATE_ACTIVITY_TOPIC="$1" TIDEGATE_IDLE_TIMEOUT=none "${@:2}")
}
made() { tidegate generate activity "${servers[@]}" --topic "$topic" --partitions 3 --users 500 --start 2026-01-01T00:00:00Z "$@" 2>>"$log"; }
recorded() { tidegate record "${servers[@]}" --topic "$topic" --out "$1" "${@:2}" 2>>"$log"; } # DIR FLAGS...
replayed() { tidegate replay activity --fixture "$1" --out "$2" -w 2 >/dev/null 2>>"$log"; } # FIXTURE OUT
run() { tidegate run activity --out "$out" --epoch 100ms --web off "$@" >>"$log" 2>&1; }
begun() { # FLAGS...: in the background, with a page
    page=$(free_port 22160)
    "${bare[@]}" "$binary" run activity --out "$out" --epoch 100ms --web "127.0.0.1:$page" "$@" >>"$log" 2>&1 &
    runner=$!
}
stopped() {
    kill -TERM "$runner"
    wait "$runner" || fail "$topic: exit code $? after SIGTERM"
}
same() { # RECORDED LEFT-OUT...: the output is what the recording without these offsets gives
    local left
    rm -rf "$out.cut" "$out.expected"
    left=$(offsets cut "$1" "$out.cut" "${@:2}")
    replayed "$out.cut" "$out.expected" || fail "$topic: the replay has failed"
    "$python" tests/same_output.py "$out.expected" "$out" activity live || fail "$topic: not what the replay gives"
    [ "$(summary)" = "$left" ] || fail "$topic: $(summary) records were read, and there are $left"
}
summary() { "$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["pipelines"]["activity"]["read"])' "$out/summary.json"; }
afresh() { rm -rf "$out" "$out.checkpoint"; }

# A figure of the run that is under way, of one partition where it is given; nothing as long as there is none.
figure() { # METRIC [PARTITION]
    curl -sS "http://127.0.0.1:$page/metrics" 2>/dev/null |
        awk -v name="tidegate_$1" -v label="partition=\"${2:-}\"" '{ of = $1; sub(/\{.*/, "", of) } of == name && index($1, label) { print $NF; exit }
            of == name && label == "partition=\"\"" { print $NF; exit }'
}
is() { [ "$(figure "$1" "$2")" = "$3" ]; }             # METRIC PARTITION VALUE
has_read() { local of; for of in "$@"; do is source_position_offset "${of%:*}" "${of#*:}" || return 1; done; } # PARTITION:OFFSET...
until_true() { # WHAT COMMAND...
    local left=300 what=$1
    shift
    until "$@"; do
        [ $((left -= 1)) -gt 0 ] || fail "$topic: it never came: $what"
        kill -0 "$runner" 2>/dev/null || fail "$topic: the run has ended before: $what"
        sleep 0.1
    done
}
epoch() { local of; of=$(figure epoch_decided_number) && printf '%s' "${of:-0}"; }
has_decided() { [ "$(epoch)" -ge "$1" ]; }
# Whatever can come of what it has read has come when so many epochs more are decided.
some_epochs() { until_true 'twenty epochs more' has_decided $(($(epoch) + 20)); }

earliest() { # not offset 0: retention has taken away what was before
    part earliest
    made --records 6000
    recorded "$out.recorded"
    offsets delete "$KAFKA_BOOTSTRAP_SERVERS" "$topic" 1:150
    run --until-end || fail "exit code $?"
    same "$out.recorded" 1:0-150
    afresh
    run --until-end --start earliest -w 2 || fail "exit code $?"
    same "$out.recorded" 1:0-150
}
by_offset() {
    part by-offset
    made --records 6000
    recorded "$out.recorded"
    offsets delete "$KAFKA_BOOTSTRAP_SERVERS" "$topic" 1:150
    # Partition 1 is not named and begins at the earliest.
    run --until-end --start "$topic-0:100,$topic-2:777" -w 2 || fail "exit code $?"
    same "$out.recorded" 0:0-100 1:0-150 2:0-777
    # Where nothing is any more, or not yet, it does not begin anywhere else without a word.
    afresh
    refused_start 'the records from offset 149 on are gone, the earliest is 150' "$topic-1:149"
    refused_start "$topic-0" "$topic-0:999999"
    status=0 && run --until-end --start nowhere || status=$?
    [ "$status" = 2 ] || fail "--start nowhere: exit code $status"
}
refused_start() { # TEXT WHERE
    local status=0
    : >"$log"
    run --until-end --start "$2" || status=$?
    [ "$status" = 1 ] && grep -qF "$1" "$log" || fail "--start $2: exit code $status"
    [ ! -e "$out/summary.json" ] || fail "--start $2: it has read"
}
by_time() { # in each partition the first record that is not before it
    local ms
    part by-time
    made --records 6000 --span 1h
    recorded "$out.recorded"
    ms=$((1767225600000 + 20 * 60000 + 17))
    # shellcheck disable=SC2046
    set -- $(offsets since "$out.recorded" "$ms")
    run --until-end --start "$ms" || fail "exit code $?"
    same "$out.recorded" "$@"
    # shellcheck disable=SC2046
    set -- $(offsets since "$out.recorded" $((1767225600000 + 30 * 60000)))
    afresh
    run --until-end --start 2026-01-01T00:30:00Z -w 2 || fail "exit code $?"
    same "$out.recorded" "$@"
}
latest() { # what comes after the first start is read, also what comes while nobody runs
    local before end=()
    part latest
    made --records 3000
    read -ra before <<<"$(offsets ends "$KAFKA_BOOTSTRAP_SERVERS" "$topic")"
    begun --start latest
    until_true 'the end of what was there' has_read "${before[@]}"
    some_epochs
    made --records 3000 --seed 2
    read -ra end <<<"$(offsets ends "$KAFKA_BOOTSTRAP_SERVERS" "$topic")"
    until_true 'the end of what came then' has_read "${end[@]}"
    kill -9 "$runner" && wait "$runner" 2>/dev/null || :
    made --records 3000 --seed 3
    run --start latest --until-end -w 2 || fail "exit code $?"
    recorded "$out.recorded"
    same "$out.recorded" "${before[@]/:/:0-}"
}

retention() { # it passes what a stopped run has not read: of partition 0 some, of partition 1 all
    local read=() end=() at status=0
    part retention
    made --records 6000
    read -ra read <<<"$(offsets ends "$KAFKA_BOOTSTRAP_SERVERS" "$topic")"
    begun
    until_true 'the end of what was there' has_read "${read[@]}"
    stopped
    made --records 6000 --seed 2
    read -ra end <<<"$(offsets ends "$KAFKA_BOOTSTRAP_SERVERS" "$topic")"
    recorded "$out.recorded"
    at=$((${read[0]#*:} + 321))
    offsets delete "$KAFKA_BOOTSTRAP_SERVERS" "$topic" "0:$at" "${end[1]}"
    # By default it ends, as often as it is started, and nothing of the output has changed.
    cp -r "$out" "$out.before"
    for _ in 1 2; do
        : >"$log"
        status=0 && run --until-end || status=$?
        [ "$status" = 1 ] || fail "records that are gone: exit code $status"
        grep -qE "$topic-0: the records from offset ${read[0]#*:} on are gone, the earliest is $at|$topic-1: the records from offset ${read[1]#*:} on are gone, the earliest is ${end[1]#*:}" "$log" ||
            fail 'it does not say which records are gone'
        grep -qi 'retention' "$log" && grep -q 'skip' "$log" || fail 'it does not say what to do'
    done
    # Tables by their rows: opening a database again may change its file.
    left "$out.before" >"$out.left" && left "$out" | diff "$out.left" - >&2 || fail 'it has changed the output'
    # Told to skip them, it goes on without them and says how many.
    : >"$log"
    bare+=(TIDEGATE_KAFKA_LOST_RECORDS=skip)
    run --until-end || fail "exit code $?"
    same "$out.recorded" "0:${read[0]#*:}-$at" "1:${read[1]#*:}-${end[1]#*:}"
    grep -qE "$topic-0: skipped 321 offsets, ${read[0]#*:} to $((at - 1))" "$log" && grep -q "$topic-1: skipped $((${end[1]#*:} - ${read[1]#*:})) offsets" "$log" ||
        fail 'it does not say how many it has skipped'
}
left() ( cd "$1" && find lake topics -type f ! -path '*/_tidegate/*' ! -path '*/.*' -exec sha256sum {} + | sort &&
    "$python" - <<'P'
import sqlite3
tables = sqlite3.connect("tables.sqlite")
for (name,) in tables.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'tidegate%' ORDER BY 1").fetchall():
    for row in sorted(map(repr, tables.execute(f"SELECT * FROM {name}"))):
        print(name, row)
P
)

earliest
by_offset
by_time
latest
retention
say 'offsets: each run has read what it was to read'
