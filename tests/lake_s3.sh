#!/usr/bin/env bash
# activity's lake and its checkpoints in S3, under a run that is killed at random moments and goes on with other workers: the
# lake that is read back, and all else that it leaves, is the undisturbed one. Called by tests/run.
# usage: tests/lake_s3.sh     TIDEGATE_BINARY   the program (default: the release build)
#   LAKE_S3_KILLS (3)  how often it is killed   S3_SERVER (seaweedfs)  whose S3: seaweedfs, minio
cd "$(dirname "$0")/.."
. tests/services/live.sh
python=$(python_venv)
own_s3 lake-s3 18240 19240 18260 18280

# Three days, so that the lake has several folders; members of one's own, which are columns of their own, from the second on.
fixture=$work/log
mkdir "$fixture"
for day in 1 2 3; do
    tidegate generate activity --fixture "$work/day" --records 20000 --partitions 3 --users 3000 --seed $day --span 2h --start "2026-01-0${day}T22:30:00Z" 2>/dev/null
    "$python" - "$work/day" "$fixture" $day <<'P'
import json, pathlib, sys
day, fixture, number = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
for path in day.glob("*.jsonl"):
    # A partition goes on where the day before has left it.
    target = fixture / path.name
    offset = sum(1 for _ in target.open()) if target.exists() else 0
    with target.open("a") as out:
        for line in path.open():
            record = json.loads(line)
            record["offset"] = offset
            if number > 1 and offset % 10 == 0:
                payload = json.loads(record["payload"])
                record["payload"] = json.dumps({**payload, f"campaign_{number}": offset})
            offset += 1
            out.write(json.dumps(record) + "\n")
P
    rm -rf "$work/day"
done
tidegate replay activity --fixture "$fixture" --out "$work/expected" -w 2 >/dev/null 2>&1

# A run that is done before it was killed often enough is begun anew: nothing of it may be in the bucket any more.
sinks=(TIDEGATE_ACTIVITY_SINKS_TABLES=sqlite TIDEGATE_ACTIVITY_SINKS_TOPICS=files TIDEGATE_ACTIVITY_SINKS_LAKE=s3://tidegate/clicks)
"${bare[@]}" "${sinks[@]}" "$python" tests/crash.py "$binary" "$work/data" 21 --kills "${LAKE_S3_KILLS:-3}" --patience 2 \
    --configured "'$python' tests/bucket.py empty" -- activity --fixture "$fixture" --epoch 100ms --web off --checkpoint s3://tidegate/checkpoint

# Read back: by its manifests and by its files.
"$python" tests/bucket.py copy clicks "$work/lake"
"$python" tests/lake_rows.py compare "$work/expected/lake/activity" "$work/lake" --list
"$python" tests/lake_rows.py compare "$work/expected/lake/activity" "$work/lake"
[ ! -e "$work/data/lake" ] || die 'there is a lake on this disk too'
mkdir -p "$work/data/lake" && cp -r "$work/lake" "$work/data/lake/activity"
"$python" tests/same_output.py "$work/expected" "$work/data"
[ "$(find "$work/lake" -maxdepth 1 -name 'event_date=*' | wc -l)" -ge 3 ] || die 'the lake has not a folder a day'
# As DuckDB reads it, files of different columns together.
"$python" - "$work/lake" "$work/data/summary.json" <<'P'
import json, sys
import duckdb
figures = json.load(open(sys.argv[2]))["pipelines"]["activity"]
columns = "count(*), count(DISTINCT event_date), count(x_campaign_2), count(x_campaign_3)"
found = duckdb.sql(f"SELECT {columns} FROM read_parquet('{sys.argv[1]}/event_date=*/*.parquet', hive_partitioning = true, union_by_name = true)").fetchall()[0]
print("DuckDB:", found)
assert found[0] == figures["accepted"] > 0 and found[1] >= 3 and found[2] and found[3], (found, figures["accepted"])
P
tidegate checkpoint show --checkpoint s3://tidegate/checkpoint --pipeline activity | grep -q '"finished": true' || die 'the checkpoint in S3 is not that of a finished run'
tidegate checkpoint verify --checkpoint s3://tidegate/checkpoint --pipeline activity
[ ! -e "$work/data/checkpoint" ] || [ -z "$(find "$work/data/checkpoint" -name 'manifest-*')" ] || die 'there are checkpoints on this disk too'
say "lake-s3: the lake of activity in ${S3_SERVER:-seaweedfs} is the undisturbed one"
