#!/usr/bin/env bash
# The wall clock of a live run is set an hour back and two days ahead, again and again, while partitions fall silent and wake up. It goes
# on, lets go of a partition that has been silent for long enough and of no other, and leaves what a replay gives that has the log and
# these decisions. Called by tests/run.
# usage: tests/clock.sh     TIDEGATE_BINARY   the program (default: the release build)
#   CLOCK_STEPS (2)   how often it is set back, and ahead, in each half
cd "$(dirname "$0")/.."
. tests/services/live.sh
steps=$(for _ in $(seq "${CLOCK_STEPS:-2}"); do echo -3600 172800; done)
apt_for cc build-essential
broker_and_postgres clock 19862 19963 15753
live_activity --epoch 200ms -w 2
# Only of the run, and only the clock that can be set (tests/clock.c).
cc -O2 -shared -fPIC -o "$work/clock.so" tests/clock.c -ldl -lpthread
set_clock() { # SECONDS, by which it goes wrong
    say "the clock: $1 s"
    "$python" -c 'import struct, sys; open(sys.argv[1], "r+b").write(struct.pack("=q", int(sys.argv[2])))' "$work/clock" "$1"
}
head -c 8 /dev/zero >"$work/clock"
begin() { # IDLE_TIMEOUT
    with=(LD_PRELOAD="$work/clock.so" CLOCK_FILE="$work/clock" TIDEGATE_IDLE_TIMEOUT="$1")
    run
}
more_by() { # ROWS
    local before
    before=$(rows)
    until_true 60 "$1 more rows" more_rows $((before + $1 - 1))
}
written() { grep -c ' records, ' "$work/generate.log" || :; }
more_written() { [ "$(written)" -ge "$1" ]; }
rounds() { until_true 60 "$1 more rounds of clicks" more_written $(($(written) + $1)); } # N
began=$(date +%s)
clicks
begin 1h
until_true 60 'rows in PostgreSQL' more_rows 0

say 'nobody has been silent for an hour, whatever the clock says'
for step in $steps; do
    # One partition goes on, and its windows wait for the two that do not.
    users 1
    rounds 3
    set_clock "$step"
    rounds 2
    users 3000
    more_by 1
done
kill -TERM "$runner"
wait "$runner" || fail "exit code $? after SIGTERM"
decisions
[ ! -s "$decided" ] || fail 'partitions were let go'

say 'who is silent for a second is let go, whatever the clock says'
begin 1s
for step in $steps; do
    set_clock "$step"
    users 1
    # More than two partitions that stand still leave room for: the windows of one whole round are less than this.
    more_by 4000
    users 3000
    more_by 1
done
to_the_end
decisions
[ -s "$decided" ] || die 'no partition was let go'
same_as_replay "$decided"

# That the run has seen these clocks.
"$python" - "$work/written" "$began" <<'P'
import datetime, json, pathlib, sys

began, ended = float(sys.argv[2]), datetime.datetime.now(datetime.timezone.utc).timestamp()
behind = ahead = 0
for path in pathlib.Path(sys.argv[1]).rglob("enriched_activity*.jsonl"):
    for line in path.read_text().splitlines():
        told = json.loads(json.loads(line)["payload"])["processing_time"]
        at = datetime.datetime.fromisoformat(told.replace("Z", "+00:00")).timestamp()
        behind += at < began
        ahead += at > ended + 86400
print(f"{behind} records of an hour ago, {ahead} of two days ahead")
sys.exit(0 if behind and ahead else "the clock was not set")
P
say 'clock: what is left is what the log gives'
