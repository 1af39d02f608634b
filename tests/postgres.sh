#!/usr/bin/env bash
# The PostgreSQL sink against a server and a PgBouncer of this checkout's own. Called by tests/run.
# usage: tests/postgres.sh
#   PG_PORT, BOUNCER_PORT   ports on loopback   TIDEGATE_SERVICES_DIR   a folder that the account postgres can reach
cd "$(dirname "$0")/.."
. tests/services/lib.sh
TIDEGATE_SERVICES_DIR=$(mktemp -d) && chmod 755 "$TIDEGATE_SERVICES_DIR" && export TIDEGATE_SERVICES_DIR
PG_PORT=$(free_port "${PG_PORT:-5433}") && BOUNCER_PORT=$(free_port "${BOUNCER_PORT:-6433}") && export PG_PORT BOUNCER_PORT
pg() { bash tests/services/postgres.sh "$@"; }
finish() { pg bouncer-stop || :; pg stop || :; rm -rf "$TIDEGATE_SERVICES_DIR"; }
trap finish EXIT
pg start
pg bouncer-start
eval "$(pg env)"
export TIDEGATE_TEST_POSTGRES=localhost:$PG_PORT TIDEGATE_TEST_PGBOUNCER=$BOUNCER_PORT
# docker/init-db.sql can be run twice, and the sink accepts what it makes.
pg psql -q -f docker/init-db.sql
pg psql -q -f docker/init-db.sql
cargo test --release --workspace --test postgres -- --nocapture
