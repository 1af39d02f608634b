#!/usr/bin/env bash
# What goes wrong around a live run while it goes on: the broker and PostgreSQL are restarted, the program is stopped for a while,
# a second one is started by mistake, the topic gets more partitions, and is at last another one of the same name. What is left is
# what a replay of the log gives. Called by tests/run.
# usage: tests/faults.sh     TIDEGATE_BINARY   the program (default: the release build)
#   FAULTS_STOPPED (60)   for how many seconds the program is stopped: longer than sessions with the broker and PostgreSQL's own patience
cd "$(dirname "$0")/.."
. tests/services/live.sh
broker_and_postgres faults 19792 19893 15633
# Partitions are not released by the clock, so the log alone says what the answer is, but for the partitions that are added: they are
# found some seconds after their first records, which event time may have passed by then, and what was decided is repeated from the run's topic.
bare+=(TIDEGATE_KAFKA_REFRESH=3s TIDEGATE_IDLE_TIMEOUT=none)
live_activity --epoch 100ms -w 2
clicks
run
until_true 60 'rows in PostgreSQL' more_rows 0

say 'a second one by mistake'
status=0 && tidegate run activity >"$work/second.log" 2>&1 || status=$?
[ "$status" = 2 ] && grep -qi 'another' "$work/second.log" || { cat "$work/second.log"; fail "the second one: exit code $status"; }

say 'the broker is killed and comes back'
before=$(rows)
tests/services/kafka.sh kill
sleep 1
tests/services/kafka.sh start
until_true 60 'rows after the broker was away' more_rows "$before"

say 'PostgreSQL is killed and comes back'
before=$(rows)
tests/services/postgres.sh kill
until_true 60 'a word about PostgreSQL' told 'trying again\|waiting for it'
tests/services/postgres.sh start
until_true 60 'rows after PostgreSQL was away' more_rows "$before"

say 'the program is stopped for a while'
before=$(rows)
kill -STOP "$runner" && sleep "${FAULTS_STOPPED:-60}" && kill -CONT "$runner"
until_true 60 'rows after it was stopped' more_rows "$before"

say 'the topic gets two partitions'
"$python" - "$KAFKA_BOOTSTRAP_SERVERS" <<'P'
import sys
from confluent_kafka.admin import AdminClient, NewPartitions
admin = AdminClient({"bootstrap.servers": sys.argv[1]})
for done in admin.create_partitions([NewPartitions("user_activity", 5)]).values():
    done.result()
P
until_true 60 'the new partitions' told 'new partitions'
before=$(rows)
until_true 60 'rows with the new partitions' more_rows "$before"

say 'the rest, and all of it compared with the replay'
to_the_end
decisions
# Whoever was added was found late, and a partition that had nothing when the run stopped may have been let go once more.
for added in 3 4; do grep -q "\"partition\":$added," "$decided" || fail "no decision about partition $added"; done
if grep -v '"partition":[34],' "$decided"; then fail 'decisions about other partitions than the two that were added'; fi
same_as_replay "$decided"

say 'another topic of the same name is refused'
"$python" tests/drop_topics.py "$KAFKA_BOOTSTRAP_SERVERS" enriched_activity
tidegate generate activity "${servers[@]}" --topic user_activity --partitions 5 --records 1000
status=0 && tidegate run activity --until-end >"$work/replaced.log" 2>&1 || status=$?
[ "$status" != 0 ] && grep -q 'user_activity' "$work/replaced.log" && grep -qi 'checkpoint of the former log' "$work/replaced.log" || { cat "$work/replaced.log"; fail "another topic: exit code $status"; }
say 'faults: what is left is what the log gives'
