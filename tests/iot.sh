#!/usr/bin/env bash
# iot live, with a broker, MongoDB, PostgreSQL and PgBouncer of this checkout's own: killed at random moments and with its
# sink stopped meanwhile, it leaves what a replay of the same log leaves; sync brings PostgreSQL up to MongoDB, also again and again and
# killed in the middle, and changes nothing the second time.
# usage: tests/iot.sh
#   TIDEGATE_BINARY   the binary (default target/release/tidegate)   IOT_RECORDS (30000)   ports: as in tests/services/
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
records=${IOT_RECORDS:-30000}
. tests/services/live.sh
own_place iot
KAFKA_PORT=$(free_port "${KAFKA_PORT:-29392}") KAFKA_CONTROLLER_PORT=$(free_port "${KAFKA_CONTROLLER_PORT:-29493}")
MONGO_PORT=$(free_port "${MONGO_PORT:-27217}") PG_PORT=$(free_port "${PG_PORT:-5533}") BOUNCER_PORT=$(free_port "${BOUNCER_PORT:-6533}")
export KAFKA_PORT KAFKA_CONTROLLER_PORT MONGO_PORT PG_PORT BOUNCER_PORT
finish() {
    kill_jobs
    cd "$root"
    tests/services/postgres.sh bouncer-stop || :
    for service in kafka mongo postgres; do tests/services/$service.sh wipe >/dev/null 2>&1 || :; done
    rm -rf "$work"
}
trap finish EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
tests/services/kafka.sh start
tests/services/mongo.sh start
tests/services/postgres.sh start
tests/services/postgres.sh bouncer-start
eval "$(tests/services/mongo.sh env)"
eval "$(tests/services/postgres.sh env)"
export PGSSLMODE=prefer
# What the documents name, and nothing else says where things are.
export KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:$KAFKA_PORT MONGO_URI=$MONGO_TEST_URI MONGO_DATABASE=iot_data
export POSTGRES_HOST=127.0.0.1 POSTGRES_DB=$PGDATABASE POSTGRES_USER=$PGUSER POSTGRES_PASSWORD=$PGPASSWORD
cd "$work"
live() { MONGO_DATABASE=$MONGO_DATABASE "${bare[@]}" "$MONGO_TEST_PYTHON" "$root/tests/iot_live.py" "$@"; }

made=(generate iot --records "$records" --seed 7 --partitions 3 --start 2026-01-01T00:00:00Z --span 40m --late-every 40 --fault-every 40)
tidegate "${made[@]}" --fixture "$work/fixture"
tidegate "${made[@]}" --bootstrap-servers "$KAFKA_BOOTSTRAP_SERVERS"
tidegate replay iot --fixture "$work/fixture" --out "$work/expected" -w 2 >/dev/null

# Both stages, each killed; MongoDB is away for a while in the first start of the second.
live crash "$binary" 1 4 -- iot-validate --until-end --epoch 100ms
away="sleep 1; cd '$root' && TIDEGATE_SERVICES_DIR='$TIDEGATE_SERVICES_DIR' bash -c 'tests/services/mongo.sh kill; sleep 2; tests/services/mongo.sh start'"
live crash "$binary" 2 4 --hook "$away" -- iot --until-end --epoch 100ms
live compare "$work/expected" mongo
# The same by the program itself, with the topic between the stages and the dead letters; and that topic by itself, for what the second stage writes.
tidegate record --bootstrap-servers "$KAFKA_BOOTSTRAP_SERVERS" --topic iot_data --out recorded 2>/dev/null
tidegate record --bootstrap-servers "$KAFKA_BOOTSTRAP_SERVERS" --topic validated_iot_data --out validated 2>/dev/null
tidegate verify iot --fixture recorded --mongo --topics | tee verify.log
[ "$(grep -c ': agrees, ' verify.log)" = 4 ] || fail 'not all of two collections and two topics were compared'
tidegate verify iot --fixture validated --topics | tee verify.log
[ "$(grep -c ': agrees, ' verify.log)" = 2 ] || fail 'not the late records and dead letters of the second stage were compared'
for stage in iot-validate iot; do
    tidegate verify $stage --deployment | tee verify.log
    for what in 'ok    sink mongo: ' 'ok    sink kafka: ' 'ok    ledger: '; do grep -qF -- "$what" verify.log || fail "$stage as a deployment: $what"; done
done
# Through the driver of its documentation: one document altered, one gone.
live_python() { "$MONGO_TEST_PYTHON" -c "import os, pymongo; c = pymongo.MongoClient(os.environ['MONGO_URI'])[os.environ['MONGO_DATABASE']]['real_time_aggregates']; $1"; }
live_python 'one = c.find_one(); one["count"] += 1; c.insert_one({**one, "_id": "kept", "sensor_id": "nobody"}); c.update_one({"_id": one["_id"]}, {"$inc": {"count": 1}})'
status=0 && tidegate verify iot --fixture recorded --mongo >verify.log 2>&1 || status=$?
[ "$status" = 1 ] && grep -q '1 altered' verify.log && grep -q '1 unexpected' verify.log && grep -q 'sensor_id=nobody' verify.log || { cat verify.log; fail "documents that differ: $status"; }
live_python 'c.delete_one({"_id": "kept"}); one = c.find_one(); c.update_one({"_id": one["_id"]}, {"$inc": {"count": -1}})'
tidegate verify iot --fixture recorded --mongo

# Topics whose partitions differ are refused before anything is read.
tidegate generate iot --records 10 --partitions 2 --topic few --bootstrap-servers "$KAFKA_BOOTSTRAP_SERVERS"
printf 'iot:\n  topic: few\n' >few.yaml
status=0 && tidegate run iot-validate --config few.yaml >few.log 2>&1 || status=$?
[ "$status" = 2 ] && grep -q 'has 2 partitions and topic "validated_iot_data" has 3' few.log || { cat few.log; fail "few partitions: $status"; }

# Sync, through PgBouncer: the rows, the indexes, and nothing the second time.
POSTGRES_PORT=$BOUNCER_PORT tidegate sync 2>&1 | tee sync.log
grep -qE 'changed [1-9]' sync.log || fail "the first sync changed nothing"
live compare "$work/expected" bouncer
POSTGRES_PORT=$BOUNCER_PORT tidegate sync 2>&1 | tee sync.log
grep -q 'changed 0 rows' sync.log || fail "the second sync changed rows"
indexes=$(psql -X -qAt -c "SELECT string_agg(indexname, ' ' ORDER BY indexname) FROM pg_indexes WHERE tablename = 'real_time_aggregates'")
for column in window_start sensor_id location; do grep -q "real_time_aggregates_${column}_idx" <<<"$indexes" || fail "no index on $column: $indexes"; done

# What PostgreSQL refuses, by a constraint that somebody has put on the table, does not hold up the others. It is kept once.
sql() { psql -X -qAt -c "$1"; }
all=$(sql 'SELECT count(*) FROM real_time_aggregates') one=$(sql 'SELECT min(sensor_id) FROM real_time_aggregates')
its=$(sql "SELECT count(*) FROM real_time_aggregates WHERE sensor_id = '$one'")
sql "TRUNCATE real_time_aggregates; DELETE FROM tidegate_sync; ALTER TABLE real_time_aggregates ADD CONSTRAINT others CHECK (sensor_id <> '$one')"
for _ in 1 2; do POSTGRES_PORT=$BOUNCER_PORT tidegate sync 2>&1 | tee sync.log; done
POSTGRES_PORT=$BOUNCER_PORT tidegate sync 2>&1 | grep -q 'changed 0 rows' || fail 'what is refused changes rows'
[ "$(sql 'SELECT count(*) FROM real_time_aggregates')" = $((all - its)) ] || fail 'rows of other sensors were held up'
[ "$(sql "SELECT count(*), count(DISTINCT row) FROM tidegate_refused WHERE sqlstate = '23514' AND row->>'sensor_id' = '$one' AND epoch >= 0")" = "$its|$its" ] ||
    fail "$its rows were to be refused: $(sql 'SELECT * FROM tidegate_refused LIMIT 3')"
sql 'ALTER TABLE real_time_aggregates DROP CONSTRAINT others; DELETE FROM tidegate_sync'
POSTGRES_PORT=$BOUNCER_PORT tidegate sync
live compare "$work/expected" bouncer

# In update mode, from the same log at its pace, with PostgreSQL as a second sink in the same epoch, in a schema of its own. Another schema
# follows meanwhile by sync, again and again.
for schema in direct followed; do sql "CREATE SCHEMA $schema"; done
export MONGO_DATABASE=iot_direct POSTGRES_PORT=$PG_PORT
printf 'data: direct\niot:\n  update_every: 200ms\n  sinks:\n    tables: mongo, postgres\n    topics: files\n    postgres:\n      schema: direct\n' >direct.yaml
printf 'iot:\n  sinks:\n    postgres:\n      schema: followed\n' >followed.yaml
"${bare[@]}" "$binary" sync --config followed.yaml --every 200ms >follows.log 2>&1 &
follower=$!
tidegate run iot --config direct.yaml --fixture "$work/fixture" --speed 400x --epoch 200ms --web off >direct.log 2>&1 || { cat direct.log; fail "in update mode: $?"; }
PGOPTIONS='-c search_path=direct' live compare "$work/expected" postgres
# A line a batch, counted from 0. Rows of open windows are in it, which an epoch's own line does not count.
"$MONGO_TEST_PYTHON" - direct.log "$(live_python 'print(c.count_documents({}))')" <<'P' || { cat direct.log; fail 'the lines of the batches'; }
import re, sys
log = open(sys.argv[1]).read()
batches = re.findall(r" Batch (\d+): wrote (\d+) rows to MongoDB", log)
final = {table: sum(map(int, re.findall(rf'[" ]{table} (\d+)', log))) for table in ("real_time_aggregates", "data_quality")}
written, documents = sum(int(rows) for _, rows in batches), int(sys.argv[2])
print(f"{len(batches)} batches, {written} rows, of which final {final}, {documents} documents")
assert batches and [int(number) for number, _ in batches] == list(range(len(batches))), batches
assert final["real_time_aggregates"] == documents and written > sum(final.values()), "no row of an open window was written"
P
newest=$(live_python 'print(c.find_one(sort=[("epoch", -1)])["epoch"])')
brought() { [ "$(sql "SELECT position FROM followed.tidegate_sync WHERE name = 'iot_direct.real_time_aggregates'")" = "$newest" ]; }
runner=$follower until_true 60 'sync at the newest epoch' brought
kill -TERM "$follower"
status=0 && wait "$follower" || status=$?
[ "$status" = 0 ] && [ "$(grep -c 'changed [1-9]' follows.log)" -ge 2 ] || { cat follows.log; fail "sync --every: exit code $status after SIGTERM"; }
PGOPTIONS='-c search_path=followed' live compare "$work/expected" postgres
followed() { tidegate sync --config followed.yaml 2>&1 | tee sync.log; }
followed
grep -q 'changed 0 rows' sync.log || fail 'what was followed changes rows once more'

# Which of two is newer, epoch and revision say: a document of before, written by hand, changes nothing, a later one does.
by_hand() { # EPOCH REVISION COUNT ROWS-THAT-CHANGE
    live_python "one = c.find_one({'epoch': {'\$gte': $newest}}, sort=[('sensor_id', 1)]) if $1 == $newest and $2 == 1 else c.find_one({'by_hand': 1}); c.update_one({'_id': one['_id']}, {'\$set': {'by_hand': 1, 'epoch': $1, 'revision': $2, 'count': $3}})"
    followed
    grep -q "changed $4 rows" sync.log || fail "a document of epoch $1, revision $2"
    [ "$(sql "SELECT count(*) FROM followed.real_time_aggregates WHERE count = $3")" = "$4" ] || fail "the row of epoch $1, revision $2"
}
by_hand "$newest" 1 1000001 1
by_hand "$newest" 0 1000002 0
by_hand $((newest - 1)) 9 1000003 0
by_hand "$newest" 2 1000004 1

# Killed in the middle of a sync of several transactions, at a row that somebody holds: what was merged before is there, and no more.
live_python 'import itertools; found = list(c.find({}, {"_id": 0, "by_hand": 0})); copies = 6000 // len(found) + 1; c.insert_many([{**d, "sensor_id": "%s_%d" % (d["sensor_id"], n), "epoch": d["epoch"] - 1} for n in range(copies) for d in found])'
documents=$(live_python 'print(c.count_documents({}))')
[ "$documents" -gt 5000 ] || fail "$documents documents"
again() { sql "TRUNCATE followed.real_time_aggregates; DELETE FROM followed.tidegate_sync"; }
again && followed
sql 'CREATE TABLE kept AS TABLE followed.real_time_aggregates' && again
psql -X -q -c 'BEGIN' -c "INSERT INTO followed.real_time_aggregates SELECT * FROM kept WHERE epoch = (SELECT max(epoch) FROM kept) LIMIT 1" -c 'SELECT pg_sleep(600)' >/dev/null 2>&1 &
"${bare[@]}" "$binary" sync --config followed.yaml >killed.log 2>&1 &
killed=$!
merged() { [ "$(sql 'SELECT count(*) FROM followed.real_time_aggregates')" = "$1" ]; }
waits() { [ "$(sql "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")" = 1 ]; }
runner=$killed until_true 60 'whole transactions of a sync' merged $((documents / 5000 * 5000))
runner=$killed until_true 60 'sync at the row that is held' waits
kill -9 "$killed" && wait "$killed" 2>/dev/null || :
sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()" >/dev/null
merged $((documents / 5000 * 5000)) || fail 'a sync that was killed has left part of a transaction'
followed
differ() { sql "SELECT count(*) FROM (TABLE $1 EXCEPT TABLE $2) AS more"; }
[ "$(differ kept followed.real_time_aggregates)$(differ followed.real_time_aggregates kept)" = 00 ] || fail 'a sync that was killed and run again leaves other rows'
followed
grep -q 'changed 0 rows' sync.log || fail 'after a sync that was killed: the second one changes rows'
echo 'iot: all of it held'
