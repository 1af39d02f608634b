#!/usr/bin/env bash
# Real Kafka into real PostgreSQL, Kafka and a Parquet lake, killed at least 30 times: what is left is what an undisturbed run leaves.
# Called by tests/run.
# usage: tests/exactly_once.sh [--cluster]
#   --cluster         two processes, killed one at a time, and their supervisor
#   TIDEGATE_BINARY   the program (default: the release build)
#   EXACTLY_ONCE_RECORDS (300000, or 150000), EXACTLY_ONCE_KILLS (30, or 8)
cd "$(dirname "$0")/.."
. tests/services/live.sh
how=("$@") kills=30 records=300000
# Each of these takes longer.
[ $# = 0 ] || kills=8 records=150000
broker_and_postgres exactly-once 19592 19693 15433

tidegate generate activity "${servers[@]}" --topic user_activity --records "${EXACTLY_ONCE_RECORDS:-$records}" --partitions 5
tidegate record "${servers[@]}" --topic user_activity --out "$work/recorded"
tidegate replay activity --fixture "$work/recorded" --out "$work/expected" -w 2

# A run that is done before it was killed often enough is begun anew: its tables, its marks and its topics must not be there any more.
cat >"$work/reset" <<R
set -e
cd '$PWD'
export TIDEGATE_SERVICES_DIR='$TIDEGATE_SERVICES_DIR'
tests/services/postgres.sh psql -q -c 'DROP SCHEMA public CASCADE' -c 'CREATE SCHEMA public'
'$python' tests/drop_topics.py '$KAFKA_BOOTSTRAP_SERVERS' user_activity
R
# In update mode, with rows of open windows within epochs: what a killed run has shown must not stay.
updating=(TIDEGATE_ACTIVITY_UPDATE_EVERY=20ms TIDEGATE_ACTIVITY_UPDATE_SESSIONS=true)
# A supervisor that is killed leaves what it had in the directory of temporary files.
"${bare[@]}" "${updating[@]}" TMPDIR="$work" "$python" tests/crash.py "$binary" "$work/data" 11 --kills "${EXACTLY_ONCE_KILLS:-$kills}" --patience 1.5 "${how[@]}" \
    --configured "bash '$work/reset'" -- activity --until-end --epoch 100ms
# With the settings of the run: its lake and its checkpoint are where they say.
verify() { "${bare[@]}" TIDEGATE_DATA="$work/data" TIDEGATE_CHECKPOINT="$work/data/checkpoint" "$binary" verify activity "$@"; }
verify --fixture "$work/recorded" --postgres --lake --topics >"$work/agrees" || { cat "$work/agrees"; die "verify: exit code $?"; }
cat "$work/agrees"
[ "$(grep -c ': agrees, ' "$work/agrees")" = 8 ] || die 'not all of four tables, a lake and three topics were compared'
verify --deployment --deep --max-lag 0 >"$work/stands" || { cat "$work/stands"; die "verify --deployment: exit code $?"; }
cat "$work/stands"
for what in 'ok    input user_activity: 5 partitions, 0 offsets behind' 'ok    sink postgres: ' 'ok    sink lake: ' 'ok    sink kafka: ' \
    'ok    table page_view_counts in postgres: ' 'ok    offsets in lake, user_activity-4: all' 'ok    output topics: '; do
    grep -qF -- "$what" "$work/stands" || die "a whole deployment: it does not say: $what"
done
tidegate record "${servers[@]}" --topic enriched_activity --topic user_activity.late --topic user_activity.dlq --out "$work/written"
"$python" tests/same_live.py "$work/expected" "$work/data" "$work/written"
# The rest is about tables alone, whoever wrote them.
[ $# = 0 ] || exit 0

say 'what somebody alters, removes and adds is named'
psql -c "UPDATE page_view_counts SET view_count = view_count + 1 WHERE (window_start, page_url) IN (SELECT window_start, page_url FROM page_view_counts ORDER BY 1, 2 LIMIT 1)" \
    -c "DELETE FROM active_users WHERE window_start = (SELECT max(window_start) FROM active_users)" \
    -c "INSERT INTO page_view_counts SELECT window_start, window_end, '/nowhere', 7 FROM page_view_counts LIMIT 1"
status=0 && tidegate verify activity --fixture "$work/recorded" --postgres >"$work/differs" 2>&1 || status=$?
cat "$work/differs"
[ "$status" = 1 ] || die "tables that differ: exit code $status"
for what in '1 altered' '1 missing' '1 unexpected' 'page_url=/nowhere view_count=7'; do
    grep -q -- "$what" "$work/differs" || die "it does not say: $what"
done

say 'so is what is wrong with topics, and with a deployment'
"$python" - "$KAFKA_BOOTSTRAP_SERVERS" <<'P'
import sys
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": sys.argv[1]})
producer.produce("enriched_activity", value=b'{"from":"somebody"}', key=b"somebody", partition=3)
assert producer.flush(60) == 0
P
status=0 && verify --fixture "$work/recorded" --topics >"$work/differs" 2>&1 || status=$?
cat "$work/differs"
[ "$status" = 1 ] || die "topics that differ: exit code $status"
for what in 'enriched_activity (kafka): DIFFERS' '1 unexpected' 'partition=3' 'user_activity.late (kafka): agrees' 'user_activity.dlq (kafka): agrees'; do
    grep -qF -- "$what" "$work/differs" || die "it does not say: $what"
done
# A topic goes, and somebody commits to the sink's own group what is no mark of it.
"$python" - "$KAFKA_BOOTSTRAP_SERVERS" <<'P'
import sys
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
# It has a name since answers come as long as it is there.
admin = AdminClient({"bootstrap.servers": sys.argv[1]})
for done in admin.delete_topics(["user_activity.late"], operation_timeout=60).values():
    done.result()
consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": "tidegate-activity-topics", "enable.auto.commit": False})
mark = TopicPartition("enriched_activity", 0, 1_000_000, '{"epoch":1000000,"generation":1000}')
consumer.commit(offsets=[mark], asynchronous=False)
consumer.close()
P
status=0 && verify --deployment >"$work/differs" 2>&1 || status=$?
cat "$work/differs"
[ "$status" = 1 ] || die "a deployment that is wrong: exit code $status"
for what in 'WRONG table active_users in postgres: ' 'WRONG sink kafka: ' 'WRONG output topics: not there: user_activity.late' \
    'ok    sink postgres: ' 'ok    table user_sessions in postgres: '; do
    grep -qF -- "$what" "$work/differs" || die "it does not say: $what"
done
