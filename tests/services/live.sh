# What the scripts have in common that run the program beside services of their own. Sourced in the root of the repository.
#   binary   the program: TIDEGATE_BINARY, or the release build
#   bare     a command's beginning that keeps our TIDEGATE_ variables from it: each is a setting to the program
. tests/services/lib.sh
binary=${TIDEGATE_BINARY:-${CARGO_TARGET_DIR:-target}/release/tidegate}
case $binary in /*) ;; *) binary=$PWD/$binary ;; esac
bare=(env -u TIDEGATE_BINARY -u TIDEGATE_SERVICES_DIR)
for name in $(compgen -e | grep '^TIDEGATE_'); do bare+=(-u "$name"); done
tidegate() { "${bare[@]}" "$binary" "$@"; }

# A directory for this script in `work`, its services' data in it.
own_place() { # NAME
    work=$(mktemp -d "${TMPDIR:-/tmp}/tidegate-$1.XXXXXX")
    # The account that runs PostgreSQL must be able to reach its folder.
    chmod 755 "$work"
    export TIDEGATE_SERVICES_DIR=$work/services
    mkdir -p "$TIDEGATE_SERVICES_DIR"
}

# A new directory in which the program alone replays the recorded fixtures.
beside_fixtures() { mkdir -p "$1" && ln -s "$PWD/fixtures" "$1/fixtures"; } # DIR

# Merges the small files of transit's large Delta tables, and finds that a second time there is nothing to do.
merge_once() { # DIR-OR-URL of the tables
    local table merged
    for table in vehicle_positions trip_updates; do
        merged=$(tidegate delta optimize "$1/$table")
        grep -qE '^version [0-9]+: [0-9]+ files became [12],' <<<"$merged" || die "$1/$table: $merged"
        [ "$(tidegate delta optimize "$1/$table")" = 'nothing to merge' ] || die "$1/$table is merged twice"
    done
}

# A broker and a PostgreSQL, and where they are in the environment of the program. On exit what still runs in the background is killed
# and all is removed. Also `servers`, flags; `psql`; `python`.
broker_and_postgres() { # NAME KAFKA_PORT KAFKA_CONTROLLER_PORT PG_PORT: the first free ones from there
    python=$(python_venv)
    own_place "$1"
    KAFKA_PORT=$(free_port "$2") && KAFKA_CONTROLLER_PORT=$(free_port "$3") && PG_PORT=$(free_port "$4")
    export KAFKA_PORT KAFKA_CONTROLLER_PORT PG_PORT
    trap end_broker_and_postgres EXIT
    tests/services/kafka.sh start
    tests/services/postgres.sh start
    eval "$(tests/services/postgres.sh env)"
    export DB_HOST=$PGHOST DB_PORT=$PGPORT DB_USER=$PGUSER DB_PASSWORD=$PGPASSWORD DB_NAME=$PGDATABASE
    export KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:$KAFKA_PORT
    servers=(--bootstrap-servers "$KAFKA_BOOTSTRAP_SERVERS")
    psql() { PSQLRC=/dev/null tests/services/postgres.sh psql -qAt "$@"; }
}
end_broker_and_postgres() {
    kill_jobs
    tests/services/kafka.sh wipe || :
    tests/services/postgres.sh wipe || :
    rm -rf "$work"
}
