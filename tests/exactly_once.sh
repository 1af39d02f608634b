#!/usr/bin/env bash
# Real Kafka into real PostgreSQL, Kafka and a Parquet lake, killed at least 30 times: what is left is what an undisturbed run leaves.
# Called by tests/run.
# usage: tests/exactly_once.sh
#   TIDEGATE_BINARY   the program (target/release/tidegate)
#   EXACTLY_ONCE_RECORDS (300000), EXACTLY_ONCE_KILLS (30)
cd "$(dirname "$0")/.."
binary=${TIDEGATE_BINARY:-$PWD/target/release/tidegate}
. tests/services/lib.sh
python=$(python_venv)
work=$(mktemp -d "${TMPDIR:-/tmp}/tidegate-exactly-once.XXXXXX")
# The account that runs PostgreSQL must be able to reach its folder.
chmod 755 "$work"
export TIDEGATE_SERVICES_DIR=$work/services
mkdir -p "$TIDEGATE_SERVICES_DIR"
KAFKA_PORT=$(free_port 19592) && KAFKA_CONTROLLER_PORT=$(free_port 19693) && PG_PORT=$(free_port 15433)
export KAFKA_PORT KAFKA_CONTROLLER_PORT PG_PORT
finish() {
    tests/services/kafka.sh wipe || :
    tests/services/postgres.sh wipe || :
    rm -rf "$work"
}
trap finish EXIT
tests/services/kafka.sh start
tests/services/postgres.sh start

# Whatever TIDEGATE_ variables are for us are no settings of the program's.
bare=(env)
for name in $(compgen -e | grep '^TIDEGATE_'); do bare+=(-u "$name"); done
eval "$(tests/services/postgres.sh env)"
export DB_HOST=$PGHOST DB_PORT=$PGPORT DB_USER=$PGUSER DB_PASSWORD=$PGPASSWORD DB_NAME=$PGDATABASE
export KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:$KAFKA_PORT
tidegate() { "${bare[@]}" "$binary" "$@"; }
servers=(--bootstrap-servers "$KAFKA_BOOTSTRAP_SERVERS")
psql() { PSQLRC=/dev/null tests/services/postgres.sh psql -qAt "$@"; }

tidegate generate activity "${servers[@]}" --topic user_activity --records "${EXACTLY_ONCE_RECORDS:-300000}" --partitions 5
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
"${bare[@]}" "$python" tests/crash.py "$binary" "$work/data" 11 --kills "${EXACTLY_ONCE_KILLS:-30}" --patience 1.5 \
    --configured "bash '$work/reset'" -- activity --until-end --epoch 100ms
tidegate verify activity --fixture "$work/recorded" --postgres
tidegate record "${servers[@]}" --topic enriched_activity --topic user_activity.late --topic user_activity.dlq --out "$work/written"
"$python" tests/same_live.py "$work/expected" "$work/data" "$work/written"
