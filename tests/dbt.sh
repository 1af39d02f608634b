#!/usr/bin/env bash
# dbt's models and tests over what tidegate has just written. Called by tests/run.
# usage: tests/dbt.sh     TIDEGATE_BINARY   the program (default: the release build)
cd "$(dirname "$0")/.."
. tests/services/live.sh
root=$PWD
own_place dbt
PG_PORT=$(free_port 25533) && export PG_PORT PG_DATABASE=stream_data
pg() { bash tests/services/postgres.sh "$@"; }
finish() { pg wipe >/dev/null 2>&1 || :; rm -rf "$work"; }
trap finish EXIT

# dbt in an environment of its own. dbt-core from 1.11 on downloads a program; DuckDB's extensions are on PyPI for 1.5.5.
venv=$(venv dbt 'dbt-core<1.11' dbt-postgres==1.11.0 dbt-duckdb==1.11.1 duckdb==1.5.5 duckdb-extensions duckdb-extension-delta==1.5.5 \
    duckdb-extension-parquet==1.5.5)
export DBT_SEND_ANONYMOUS_USAGE_STATS=false
dbt() { # TARGET: builds all models of a target, and runs their tests
    local log=$work/dbt-$1.log
    "$venv/bin/dbt" build --project-dir dbt --profiles-dir dbt --target "$1" --target-path "$work/target" --log-path "$work" \
        >"$log" 2>&1 || { cat "$log"; die "dbt build --target $1 failed"; }
    grep -E 'Done\. PASS=[0-9]+ WARN=0 ERROR=0' "$log" || { cat "$log"; die "dbt has warned or built nothing"; }
    ! grep -q 'PASS=0' "$log" || die "dbt has built nothing"
}

# PostgreSQL, written by a configured run.
pg start
export DB_HOST=localhost DB_PORT=$PG_PORT DB_USER=tidegate DB_PASSWORD=tidegate-secret DB_NAME=stream_data
printf 'activity: {sinks: {topics: files}}\n' >"$work/run.yaml"
(cd "$work" && tidegate run activity \
    --config "$work/run.yaml" --fixture "$root/fixtures/activity") || die "tidegate run failed"
export DB_SSLMODE=verify-full DB_SSLROOTCERT=$TIDEGATE_SERVICES_DIR/tls/ca.crt
dbt postgres

# A view answers what the table holds.
same=$(pg psql -qAt -c 'select (select sum(view_count) from public_analytics.page_views_hourly) = (select sum(view_count) from page_view_counts)' 2>/dev/null) ||
    same=$(pg psql -qAt -c 'select (select sum(view_count) from analytics.page_views_hourly) = (select sum(view_count) from page_view_counts)')
[ "$same" = t ] || die "the view page_views_hourly does not add up"

# The Delta tables, read by DuckDB through their logs.
tidegate replay transit --fixture fixtures/transit --out "$work/transit" -w 2 >/dev/null 2>&1 || die "tidegate replay failed"
# DuckDB would download its extension; it comes from PyPI here.
"$venv/bin/python" -c 'import duckdb_extensions; duckdb_extensions.import_extension("delta")'
export DELTA_LAKE_PATH=$work/transit/delta DBT_DUCKDB_PATH=$work/transit.duckdb
dbt delta
"$venv/bin/python" - "$DBT_DUCKDB_PATH" "$work/transit/tables.sqlite" <<'X' || die "the model vehicles_hourly does not add up"
import duckdb, sqlite3, sys
rows = duckdb.connect(sys.argv[1]).execute("SELECT sum(observations) FROM vehicles_hourly").fetchone()[0]
wanted = sqlite3.connect(sys.argv[2]).execute("SELECT sum(observations) FROM route_totals").fetchone()[0]
assert rows == wanted > 0, (rows, wanted)
X
