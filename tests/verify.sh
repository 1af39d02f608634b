#!/usr/bin/env bash
# What `tidegate verify` says of directories: that what runs have left is what the log gives, what somebody changed in tables, lake and
# topics, and what is wrong with a deployment. Called by tests/run; the same of servers is in exactly_once.sh, iot.sh and transit.sh.
# usage: tests/verify.sh     TIDEGATE_BINARY   the program (default: the release build)
cd "$(dirname "$0")/.."
. tests/services/live.sh
python=$(python_venv)
own_place verify
trap 'kill_jobs; rm -rf "$work"' EXIT
unset KAFKA_BOOTSTRAP_SERVERS

agrees() { # PIPELINE COUNT ARGUMENTS...: so many tables, lakes and topics agree, and none differs
    tidegate verify "$1" "${@:3}" >"$work/said" 2>"$work/told" || { cat "$work/said" "$work/told"; die "verify $1 ${*:3}: exit code $?"; }
    [ "$(grep -c ': agrees, [0-9]* rows expected$' "$work/said")" = "$2" ] || { cat "$work/said"; die "verify $1: not $2 audits"; }
}
fails() { # STATUS ARGUMENTS...: with this exit code
    local status=0
    tidegate verify "${@:2}" >"$work/said" 2>"$work/told" || status=$?
    [ "$status" = "$1" ] || { cat "$work/said" "$work/told"; die "verify ${*:2}: exit code $status"; }
}
says() { # TEXT...: each stands in what was said
    local text
    for text in "$@"; do grep -qF -- "$text" "$work/said" || { cat "$work/said"; die "it does not say: $text"; }; done
}
below() { # NAME COUNT-AND-KIND...: in the part about NAME
    local name=$1 part kind
    shift
    part=$(sed -n "\\|^$name (|,/^[^ ]/p" "$work/said")
    for kind in "$@"; do grep -q "^  $kind, the first:" <<<"$part" || { cat "$work/said"; die "$name: it does not say: $kind"; }; done
}
ends() { # PIPELINE FLAGS...: a run with checkpoints, to the end of its recording
    tidegate run "$1" --fixture "fixtures/$1" --out "$work/$1" --web off -w 2 "${@:2}" >"$work/log" 2>&1 || { cat "$work/log"; die "$1: exit code $?"; }
}

say 'what runs have left agrees, also once small files are merged'
for pipeline in activity iot hydraulic; do ends $pipeline --epoch 50ms; done
# In several epochs, however fast it is: there is something to merge.
ends transit --epoch 1ms --batch 64
agrees activity 8 --fixture fixtures/activity --out "$work/activity"
agrees iot 5 --fixture fixtures/iot --out "$work/iot"
agrees hydraulic 39 --fixture fixtures/hydraulic --out "$work/hydraulic"
agrees transit 12 --fixture fixtures/transit --out "$work/transit"
tidegate compact --lake "$work/hydraulic/lake/hydraulic" --by day >/dev/null
agrees hydraulic 1 --fixture fixtures/hydraulic --lake="$work/hydraulic/lake/hydraulic"
merge_once "$work/transit/delta"
agrees transit 7 --fixture fixtures/transit --lake="$work/transit/delta"

say 'what somebody changes is named'
"$python" - "$work" <<'P'
import glob, json, sqlite3, sys
import pyarrow, pyarrow.parquet as pq

work = sys.argv[1]

def rewrite(pattern, change):
    """Drops the first row of a file, changes the second, and repeats the last."""
    for path in sorted(glob.glob(pattern, recursive=True)):
        table = pq.ParquetFile(path).read()
        if "_tidegate" in path or "_delta_log" in path or table.num_rows < 3:
            continue
        rows = table.to_pylist()
        change(rows[1])
        pq.write_table(pyarrow.Table.from_pylist(rows[1:] + rows[-1:], table.schema), path, compression="none")
        return
    sys.exit(f"no file of {pattern} has three rows")

rewrite(f"{work}/activity/lake/activity/**/*.parquet", lambda row: row.update(page_url="/altered"))
rewrite(f"{work}/transit/delta/trip_updates/**/*.parquet", lambda row: row.update(stop_id="altered"))

# Two neighbours of a partition change places: all but their offsets.
path = f"{work}/activity/topics/enriched_activity.jsonl"
lines = [json.loads(line) for line in open(path)]
first, second = next((a, b) for a, b in zip(lines, lines[1:]) if a["partition"] == b["partition"] and a["payload"] != b["payload"])
first["offset"], second["offset"] = second["offset"], first["offset"]
at = lines.index(first)
lines[at : at + 2] = [second, first]
with open(path, "w") as file:
    file.writelines(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
path = f"{work}/activity/topics/user_activity.late.jsonl"
lines = open(path).readlines()
open(path, "w").writelines(lines[:-1])

with sqlite3.connect(f"{work}/activity/tables.sqlite") as tables:
    key = "window_start, page_url"
    tables.execute(f"UPDATE page_view_counts SET view_count = view_count + 1 WHERE ({key}) IN (SELECT {key} FROM page_view_counts LIMIT 1)")
    tables.execute("DELETE FROM active_users WHERE window_start = (SELECT max(window_start) FROM active_users)")
P
fails 1 activity --fixture fixtures/activity --out "$work/activity"
says 'page_view_counts (tables.sqlite): DIFFERS' 'user_sessions (tables.sqlite): agrees' 'page_url=/altered' 'user_activity.dlq (topics): agrees'
below page_view_counts '1 altered'
below active_users '1 missing'
below lake/activity '1 missing' '1 repeated' '1 altered'
below enriched_activity '2 out of order'
below user_activity.late '1 missing'
fails 1 transit --fixture fixtures/transit --out "$work/transit"
says 'vehicle_positions (lake' 'stop_id=altered'
below trip_updates '1 missing' '1 repeated' '1 altered'
fails 1 activity --fixture fixtures/activity --out "$work/activity" --json
"$python" - "$work/said" <<'P'
import json, sys
audits = json.load(open(sys.argv[1]))
differing = {a["name"] for a in audits if any(a[kind]["count"] for kind in ("missing", "repeated", "altered", "unexpected", "misplaced"))}
assert differing == {"page_view_counts", "active_users", "lake/activity", "enriched_activity", "user_activity.late"}, differing
P

say 'a deployment that rests is as its checkpoint says'
"${bare[@]}" "$binary" run activity --fixture fixtures/activity --out "$work/live" --web off --epoch 200ms --speed 600x -w 2 >"$work/log" 2>&1 &
runner=$!
began=$SECONDS
until [ "$(find "$work/live.checkpoint" -name 'manifest-*.tg' 2>/dev/null | wc -l)" -ge 3 ]; do
    [ $((SECONDS - began)) -lt 60 ] || { cat "$work/log"; die 'no checkpoint'; }
    sleep 0.1
done
# While it runs, and once it has stopped.
fails 0 activity --deployment --deep --out "$work/live"
kill -TERM "$runner"
wait "$runner" || { cat "$work/log"; die "exit code $? after SIGTERM"; }
fails 0 activity --deployment --deep --out "$work/live"
if grep -v '^ok ' "$work/said"; then die 'not all is ok'; fi
says 'ok    freshness: epoch' 'ok    ledger: of' 'ok    sink tables: it stands at epoch' 'ok    sink lake: it stands at epoch' \
    'ok    table page_view_counts in tables: ' ' rows, as counted' 'ok    offsets in lake, user_activity-0: all' 'ok    input topics: not asked'
stopped=$SECONDS

say 'what is wrong with a deployment is said'
"$python" - "$work/live" <<'P'
import glob, os, sqlite3, sys
out = sys.argv[1]
with sqlite3.connect(f"{out}/tables.sqlite") as tables:
    tables.execute("DELETE FROM page_view_counts WHERE window_start = (SELECT min(window_start) FROM page_view_counts)")
os.remove(sorted(path for path in glob.glob(f"{out}/lake/activity/**/*.parquet", recursive=True) if "_tidegate" not in path)[0])
state = sorted(glob.glob(f"{out}.checkpoint/activity/state-*") + glob.glob(f"{out}.checkpoint/activity/delta-*"))[-1]
os.truncate(state, os.path.getsize(state) // 2)
P
# An epoch of the past grows old: that takes no waiting but for the second that it has to be old.
while [ $((SECONDS - stopped)) -lt 3 ]; do sleep 0.1; done
fails 1 activity --deployment --deep --out "$work/live" --fresh 1s
says 'WRONG checkpoints: 1 damaged files' 'WRONG freshness: epoch' 'WRONG table page_view_counts in tables: ' 'WRONG files of lake: 1 of' \
    'WRONG sink lake: ' 'ok    table active_users in tables: ' 'ok    settings of the checkpoint' 'mend: '
fails 1 activity --deployment --out "$work/nowhere" --json
"$python" -c 'import json, sys; assert any(not check["ok"] and "mend" in check for check in json.load(open(sys.argv[1]))["checks"])' "$work/said"

say 'wrong usage is told apart'
fails 2 activity --fixture fixtures/activity
fails 2 iot --fixture fixtures/iot --lake
fails 2 iot-validate --fixture fixtures/iot --out "$work/iot"
fails 2 activity --deployment --out "$work/live" --lake
fails 2 activity --deployment --postgres
fails 2 activity --deployment
say 'verify: all of it held'
