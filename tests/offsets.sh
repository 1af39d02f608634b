#!/usr/bin/env bash
# The Kafka source in whole runs: where a first start begins, what retention takes away, other producers' transactions, a partition
# that never has a record, and one that is far ahead in event time. What a run leaves is what a replay of just those records gives.
# Called by tests/run.
# usage: tests/offsets.sh     TIDEGATE_BINARY   the program (default: the release build)
#   OFFSETS_PARTS   functions below, with spaces between, to try a part alone (default: all)
cd "$(dirname "$0")/.."
. tests/services/live.sh
python=$(python_venv)
apt_for curl curl kcat kcat
own_place offsets
KAFKA_PORT=$(free_port 22120) && KAFKA_CONTROLLER_PORT=$(free_port 22140)
export KAFKA_PORT KAFKA_CONTROLLER_PORT
finish() {
    # What commands said is in the log of the part.
    [ $? = 0 ] || [ ! -s "${log:-}" ] || tail -n 40 "$log" >&2
    kill_jobs
    tests/services/kafka.sh wipe || :
    rm -rf "$work"
}
trap finish EXIT
tests/services/kafka.sh start
export KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:$KAFKA_PORT
servers=(--bootstrap-servers "$KAFKA_BOOTSTRAP_SERVERS")
offsets() { "$python" tests/offsets.py "$@"; }
fail() { die "$topic: $*"; }

# Each part has a topic, and so a checkpoint and an output, of its own. Partitions are not released by the clock, so the log alone says
# what the answer is.
without=("${bare[@]}")
part() { # TOPIC SETTING...
    topic=$1 log=$work/$1.log out=$work/$1 partitions=3 begin=2026-01-01T00:00:00Z
    say "$topic"
    bare=("${without[@]}" TIDEGATE_ACTIVITY_TOPIC="$1" TIDEGATE_IDLE_TIMEOUT=none "${@:2}")
}
made() { tidegate generate activity "${servers[@]}" --topic "$topic" --partitions "$partitions" --users 500 --start "$begin" "$@" 2>>"$log"; }
recorded() { tidegate record "${servers[@]}" --topic "$topic" --out "$1" "${@:2}" 2>>"$log"; } # DIR FLAGS...
replayed() { tidegate replay activity --fixture "$1" --out "$2" -w 2 "${@:3}" >/dev/null 2>>"$log"; } # FIXTURE OUT FLAGS...
run() { tidegate run activity --out "$out" --epoch 100ms --web off "$@" >>"$log" 2>&1; }
begun() { # FLAGS...: in the background, with a page
    page=$(free_port 22160)
    "${bare[@]}" "$binary" run activity --out "$out" --epoch 100ms --web "127.0.0.1:$page" "$@" >>"$log" 2>&1 &
    runner=$!
}
stopped() {
    kill -TERM "$runner"
    wait "$runner" || fail "exit code $? after SIGTERM"
}
same() { # RECORDED LEFT-OUT...: the output is what the recording without these offsets gives
    local left
    rm -rf "$out.cut" "$out.expected"
    left=$(offsets cut "$1" "$out.cut" "${@:2}")
    replayed "$out.cut" "$out.expected" || fail "the replay has failed"
    "$python" tests/same_output.py "$out.expected" "$out" activity live || fail "not what the replay gives"
    [ "$(summary)" = "$left" ] || fail "$(summary) records were read, and there are $left"
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
epoch() { local of; of=$(figure epoch_decided_number) && printf '%s' "${of:-0}"; }
has_decided() { [ "$(epoch)" -ge "$1" ]; }
# Whatever can come of what it has read has come when so many epochs more are decided.
some_epochs() { until_true 60 'twenty epochs more' has_decided $(($(epoch) + 20)); }

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
restarted() { # by the same command, as a unit file has it: what retention has taken since was read before
    local end=()
    part restarted
    made --records 6000
    recorded "$out.recorded"
    read -ra end <<<"$(offsets ends "$KAFKA_BOOTSTRAP_SERVERS" "$topic")"
    begun --start "$topic-0:100"
    until_true 60 'the end of what is there' has_read "${end[@]}"
    stopped
    offsets delete "$KAFKA_BOOTSTRAP_SERVERS" "$topic" 0:500
    run --until-end --start "$topic-0:100" || fail "started again where its first start began: exit code $?"
    same "$out.recorded" 0:0-100
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
    until_true 60 'the end of what was there' has_read "${before[@]}"
    some_epochs
    begin=2026-01-01T01:00:00Z && made --records 3000 --seed 2
    read -ra end <<<"$(offsets ends "$KAFKA_BOOTSTRAP_SERVERS" "$topic")"
    until_true 60 'the end of what came then' has_read "${end[@]}"
    kill -9 "$runner" && wait "$runner" 2>/dev/null || :
    begin=2026-01-01T02:00:00Z && made --records 3000 --seed 3
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
    until_true 60 'the end of what was there' has_read "${read[@]}"
    stopped
    begin=2026-01-01T01:00:00Z && made --records 6000 --seed 2
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
    begun
    until_true 60 'the end, without what is gone' has_read "${end[@]}"
    # docs/live.md: "it goes on without them, and counts them".
    curl -sS "http://127.0.0.1:$page/metrics" | grep -qE '^tidegate_[a-z_]*(lost|skipped|gone)[a-z_]*\{[^}]*partition="0"[^}]*\} 321$' ||
        fail 'no metric counts what is gone'
    stopped
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

transactions() { # of another producer: committed, aborted, and one that stays open for a while; partition 2 never has a record
    local end=() open copy=$work/segments forms decided
    # Here partitions are released, those that have been read to their end.
    part transactions TIDEGATE_IDLE_TIMEOUT=1s
    made --records 0
    coproc producer { exec "$python" tests/offsets.py transactions "$KAFKA_BOOTSTRAP_SERVERS" "$topic" 2>>"$log"; }
    local to=${producer[1]} other=$producer_PID word
    read -r word <&"${producer[0]}" && [ "$word" = open ] || fail 'the other producer has failed'
    # 800 records of eight transactions, and their markers, come before the open one.
    open=$((8 * 100 + 8))
    read -ra end <<<"$(offsets ends "$KAFKA_BOOTSTRAP_SERVERS" "$topic")"
    [ "${end[*]}" = "0:$((open + 1 + 200)) 1:$((open + 200)) 2:0" ] || fail "the topic ends at ${end[*]}"
    begun -w 2
    until_true 60 'the open transaction, and the end beside it' has_read "0:$open" "${end[1]}" 2:0
    until_true 60 'the release of the partitions that have ended' released 1 2
    some_epochs
    is source_partition_released 0 0 || fail 'a partition with an open transaction was released'
    has_read "0:$open" || fail 'it has read on behind an open transaction'
    # A recording made meanwhile ends there too: what lies behind is not yet decided.
    recorded "$out.meanwhile"
    [ "$(cat "$out.meanwhile"/*.jsonl | wc -l)" = $((4 * 200 + 200)) ] || fail 'a recording beside the open transaction has not what is committed'
    echo commit >&"$to"
    wait "$other" || fail 'the other producer could not commit'
    # Its own marker is one more.
    until_true 60 'the end, when the transaction was committed' has_read "0:$((${end[0]#*:} + 1))"
    stopped
    recorded "$out.recorded"
    # The same from kcat, and the broker's own files.
    mkdir "$out.kcat" "$copy"
    kcat -C -q -e -J -b "$KAFKA_BOOTSTRAP_SERVERS" -t "$topic" >"$out.kcat/all.jsonl" 2>>"$log"
    cp -r "$TIDEGATE_SERVICES_DIR/kafka/data/$topic"-[012] "$copy"
    # Retention takes all of it, markers behind the last records too. All was read: nothing is lost.
    read -ra end <<<"$(offsets ends "$KAFKA_BOOTSTRAP_SERVERS" "$topic")"
    offsets delete "$KAFKA_BOOTSTRAP_SERVERS" "$topic" "${end[@]:0:2}"
    run --until-end || fail "exit code $?: records are missed that were read"
    # What was released and has had no more records when it ended may be decided once more, and is part of the answer.
    if grep -v '"partition":[12],' "$out/topics/$topic.idle.jsonl"; then fail 'a decision about a partition that was never released'; fi
    decided=(--idle "$out/topics/$topic.idle.jsonl")
    # Of both that the script counts: four transactions of 200, one of 1, 400 of the other's, and none of what was aborted.
    [ "$(summary)" = $((4 * 200 + 1 + 400)) ] || fail "$(summary) records were read"
    if grep -rl aborted "$out/topics" "$out.recorded"; then fail 'what was aborted was seen'; fi
    # They all say the same.
    for forms in "$out.recorded" "$out.kcat" "$copy"; do
        rm -rf "$out.expected"
        replayed "$forms" "$out.expected" "${decided[@]}" || fail "the replay of $forms has failed"
        "$python" tests/same_output.py "$out.expected" "$out" activity live || fail "not what the replay of $forms gives"
    done
}
released() { local of; for of in "$@"; do is source_partition_released "$of" 1 || return 1; done; }

ahead() { # one partition is hours ahead of the other: it is not read further than event time goes, and in the end nothing is missing
    local end=() held now hours=8
    part ahead
    partitions=2 && made --records 0
    offsets skewed "$KAFKA_BOOTSTRAP_SERVERS" "$topic" $hours
    read -ra end <<<"$(offsets ends "$KAFKA_BOOTSTRAP_SERVERS" "$topic")"
    # A partition a worker.
    begun -w 2
    until_true 60 'the end of the partition that is behind' has_read "${end[1]}"
    some_epochs
    held=$(figure source_position_offset 0)
    some_epochs
    now=$(figure source_position_offset 0)
    say "held at $held of ${end[0]#*:} records"
    [ "$held" = "$now" ] || fail "it was read on from $held to $now"
    [ "$held" -lt $((${end[0]#*:} / 4)) ] || fail "it was read to $held"
    is watermark_holds_frontier 1 1 || fail 'the page does not say who holds event time back'
    offsets follow "$KAFKA_BOOTSTRAP_SERVERS" "$topic" $hours
    until_true 60 'the rest of the partition that was held' has_read "${end[0]}"
    stopped
    run --until-end -w 3 || fail "exit code $?"
    recorded "$out.recorded" --packed zstd
    rm -rf "$out.expected"
    replayed "$out.recorded" "$out.expected"
    "$python" tests/same_output.py "$out.expected" "$out" activity live || fail 'not what the replay gives'
}

for name in ${OFFSETS_PARTS:-earliest by_offset restarted by_time latest retention transactions ahead}; do "$name"; done
say 'offsets: each run has read what it was to read'
