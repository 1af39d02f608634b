#!/usr/bin/env bash
# A run from Kafka into PostgreSQL, Kafka and a lake that stands still in the middle of an epoch and wakes up when another one has taken over:
# marks in the tables and the id of its transactions keep it out. Called by tests/run.
# usage: tests/zombie.sh     TIDEGATE_BINARY   the program (default: the release build)     ZOMBIE_RECORDS (400000)
cd "$(dirname "$0")/.."
. tests/services/live.sh
broker_and_postgres zombie 21292 21393 16033

tidegate generate activity "${servers[@]}" --topic user_activity --records "${ZOMBIE_RECORDS:-400000}" --partitions 3
tidegate record "${servers[@]}" --topic user_activity --out "$work/recorded"
tidegate replay activity --fixture "$work/recorded" --out "$work/expected" -w 2 >/dev/null 2>&1
broker=$(tests/services/kafka.sh status)
for where in decided sending; do
    say "it stands still: $where"
    psql -c 'SET client_min_messages = warning' -c 'DROP SCHEMA public CASCADE' -c 'CREATE SCHEMA public'
    "$python" tests/drop_topics.py "$KAFKA_BOOTSTRAP_SERVERS" user_activity
    rm -rf "$work/place" "$work/written"
    "${bare[@]}" "$python" tests/zombie.py --configured --broker "${broker#running }" "$where" "$binary" - - "$work/place" -- activity --until-end
    tidegate verify activity --fixture "$work/recorded" --postgres
    tidegate record "${servers[@]}" --topic enriched_activity --topic user_activity.late --topic user_activity.dlq --out "$work/written"
    "$python" tests/same_live.py "$work/expected" "$work/place/out" "$work/written"
done
