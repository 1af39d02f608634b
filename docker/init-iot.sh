#!/bin/sh
# The database that iot's aggregates are synchronised into. Its tables are tidegate's to make. Runs once, in the
# PostgreSQL image, when the volume is new.
set -eu
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set database="$IOT_DATABASE" <<'SQL'
SELECT format('CREATE DATABASE %I', :'database')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
SQL
