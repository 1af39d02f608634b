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

# The topics that hydraulic reads.
rig_topics=(hydraulic-PS{1..6} hydraulic-EPS1 hydraulic-FS{1,2} hydraulic-TS{1..4} hydraulic-VS1 hydraulic-CE hydraulic-CP hydraulic-SE)

# Merges the small files of transit's large Delta tables, and finds that a second time there is nothing to do.
merge_once() { # DIR-OR-URL of the tables
    local table merged
    for table in vehicle_positions trip_updates; do
        merged=$(tidegate delta optimize "$1/$table")
        grep -qE '^version [0-9]+: [0-9]+ files became [12],' <<<"$merged" || die "$1/$table: $merged"
        [ "$(tidegate delta optimize "$1/$table")" = 'nothing to merge' ] || die "$1/$table is merged twice"
    done
}

# By the program's own comparison of what transit has made of the log $work/long.
audited() { # COUNT ARGUMENTS...: so many tables and topics agree
    tidegate verify transit --fixture "$work/long" "${@:2}" >"$work/audited" || { cat "$work/audited"; die "verify ${*:2}"; }
    [ "$(grep -c ': agrees, ' "$work/audited")" = "$1" ] || { cat "$work/audited"; die "verify ${*:2}: not $1 audits"; }
}
audited_with_tables() { # OUT [--lake=URL]: tables and topics too; and as a deployment
    audited 12 --out "$@"
    tidegate verify transit --deployment --out "$@" >"$work/audited" || { cat "$work/audited"; die "verify --deployment $*"; }
    grep -q '^ok    rows of vehicle_positions in lake.*, as counted$' "$work/audited" || { cat "$work/audited"; die "rows of $* are not counted"; }
}

# A broker and a PostgreSQL, and where they are in the environment of the program. On exit what still runs in the background is killed
# and all is removed. Also `servers`, flags; `psql`; `python`.
broker_and_postgres() { # NAME KAFKA_PORT KAFKA_CONTROLLER_PORT PG_PORT [END]: the first free ones from there; END ends them
    python=$(python_venv)
    own_place "$1"
    KAFKA_PORT=$(free_port "$2") && KAFKA_CONTROLLER_PORT=$(free_port "$3") && PG_PORT=$(free_port "$4")
    export KAFKA_PORT KAFKA_CONTROLLER_PORT PG_PORT
    # shellcheck disable=SC2064
    trap "${5:-end_broker_and_postgres}" EXIT
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

# An S3 server of this script's own, and where it is in the environment of the program. On exit what still runs in the background is
# killed and all is removed.
own_s3() { # NAME S3_PORT MASTER_PORT VOLUME_PORT FILER_PORT: the first free ones from there
    own_place "$1"
    trap end_own_s3 EXIT
    s3_server "${@:2}"
}
end_own_s3() {
    kill_jobs
    tests/services/s3.sh wipe || :
    rm -rf "$work"
}

# Servers beside those that a script has already, which ends them, and where they are in the environment of the program.
s3_server() { # S3_PORT MASTER_PORT VOLUME_PORT FILER_PORT
    S3_PORT=$(free_port "$1") && SEAWEEDFS_MASTER_PORT=$(free_port "$2") && SEAWEEDFS_VOLUME_PORT=$(free_port "$3") && SEAWEEDFS_FILER_PORT=$(free_port "$4")
    export S3_PORT SEAWEEDFS_MASTER_PORT SEAWEEDFS_VOLUME_PORT SEAWEEDFS_FILER_PORT
    tests/services/s3.sh start
    eval "$(tests/services/s3.sh env)"
}
mongo_server() { # MONGO_PORT
    MONGO_PORT=$(free_port "$1") && export MONGO_PORT
    tests/services/mongo.sh start
    eval "$(tests/services/mongo.sh env)"
    export MONGO_URI=$MONGO_TEST_URI
}
# Of those that broker_and_postgres has started: the names by which each pipeline finds its database.
postgres_of_all() {
    local pipeline
    for pipeline in HYDRAULIC TRANSIT; do
        bare+=("TIDEGATE_${pipeline}_SINKS_POSTGRES_HOST=$PGHOST" "TIDEGATE_${pipeline}_SINKS_POSTGRES_PORT=$PGPORT"
            "TIDEGATE_${pipeline}_SINKS_POSTGRES_USER=$PGUSER" "TIDEGATE_${pipeline}_SINKS_POSTGRES_DATABASE=$PGDATABASE")
    done
    export POSTGRES_HOST=$PGHOST POSTGRES_PORT=$PGPORT POSTGRES_USER=$PGUSER POSTGRES_PASSWORD=$PGPASSWORD POSTGRES_DB=$PGDATABASE
}

# After broker_and_postgres: activity live in the background, disturbed while it goes on, and at last compared with the replay of its log.
# `live`, its flags; `with`, settings of the run alone; `log`, what it says; `tells`, files that say more; `runner`, its pid. Clicks go on until there is the file
# $work/enough.
live_activity() { # FLAGS... of every run
    live=("$@") with=() log=$work/run.log tells=()
    bare+=(TIDEGATE_DATA="$work/data" TIDEGATE_CHECKPOINT="$work/data/checkpoint")
}
run() { # FLAGS...
    "${bare[@]}" "${with[@]}" "$binary" run activity "${live[@]}" "$@" >>"$log" 2>&1 &
    runner=$!
}
fail() {
    local file
    for file in "$log" "$work/generate.log" "${tells[@]}"; do [ ! -e "$file" ] || tail -n 40 "$file" >&2; done
    die "$*"
}
until_true() { # SECONDS WHAT COMMAND...
    local left=$(($1 * 5)) what=$2
    shift 2
    until "$@"; do
        [ $((left -= 1)) -gt 0 ] || fail "it never came: $what"
        kill -0 "$runner" 2>/dev/null || fail "the run has ended before: $what"
        sleep 0.2
    done
}
# A figure of the run that is under way, whose page is on the port `page`, summed over partitions and sinks; nothing as long as there is none.
figure() { # METRIC PIPELINE
    curl -sS "http://127.0.0.1:$page/metrics" 2>/dev/null |
        awk -v name="tidegate_$1" -v label="pipeline=\"$2\"" '{ of = $1; sub(/\{.*/, "", of) } of == name && index($0, label) { sum += $NF; found = 1 } END { if (found) print sum }'
}
is() { [ "$(figure "$1" "$2")" = "$3" ]; } # METRIC PIPELINE VALUE
epoch() { local of; of=$(figure epoch_decided_number "$1") && printf '%s' "${of:-0}"; } # PIPELINE
has_decided() { [ "$(epoch "$1")" -ge "$2" ]; }
# What is read is decided, and so visible, two epochs later.
all_of_it() { # PIPELINE
    until_true 60 "the end of the input of $1" at_the_end "$1"
    until_true 60 "two epochs more of $1" has_decided "$1" $(($(epoch "$1") + 2))
}
at_the_end() { is source_lag_records "$1" 0; }
rows() { psql -c 'SELECT count(*) FROM page_view_counts' 2>/dev/null || echo 0; }
more_rows() { [ "$(rows)" -gt "$1" ]; }
told() { grep -q "$1" "$log"; }
# Two minutes of clicks, again and again, so that windows close all the time; of so many users as the file $work/users says: a user's
# clicks all lie in one partition.
users() { printf '%s\n' "$1" >"$work/users.new" && mv "$work/users.new" "$work/users"; } # N
keep_writing() {
    local minute=60 failed=0
    while [ ! -e "$work/enough" ]; do
        # The broker may be killed meanwhile. What it has got of them comes once more: they are clicks like others.
        until tidegate generate activity "${servers[@]}" --topic user_activity --users "$(cat "$work/users")" --seed $minute --records 2000 --span 2m \
            --start "$(date -u -d "2026-01-01 $minute minutes" +%Y-%m-%dT%H:%M:%SZ)"; do
            [ $((failed += 1)) -lt 20 ] || return 1
            sleep 1
        done
        minute=$((minute + 2))
        sleep 0.3
    done
}
clicks() { # the first ones, and then more and more in the background
    tidegate generate activity "${servers[@]}" --topic user_activity --users 3000 --partitions 3 --records 100000 --start 2026-01-01T00:00:00Z
    users 3000
    keep_writing >"$work/generate.log" 2>&1 &
    writer=$!
}
# No more clicks, the run stopped by SIGTERM, and one more that reads the rest.
to_the_end() {
    touch "$work/enough"
    wait "$writer" || fail "the generator: exit code $?: $(cat "$work/generate.log")"
    kill -TERM "$runner"
    wait "$runner" || fail "exit code $? after SIGTERM"
    run --until-end
    wait "$runner" || fail "exit code $?"
}
recorded() { # NAME TOPIC...: what is in the topics, in $work/NAME
    local name=$1 topics=() topic
    shift
    for topic in "$@"; do topics+=(--topic "$topic"); done
    rm -rf "${work:?}/$name"
    tidegate record "${servers[@]}" "${topics[@]}" --out "$work/$name"
}
decisions() { # about idle partitions, in the file `decided`
    recorded decided user_activity.idle
    decided=$work/decisions.jsonl
    cat "$work"/decided/*.jsonl >"$decided"
}
# Tables, topics and the lake are what the replay of the log gives, with the decisions about idle partitions where there are such.
same_as_replay() { # [FILE]
    local idle=() topics=(enriched_activity user_activity.late user_activity.dlq)
    [ $# = 0 ] || { idle=(--idle "$1") && topics+=(user_activity.idle); }
    recorded recorded user_activity
    tidegate replay activity --fixture "$work/recorded" --out "$work/expected" -w 2 "${idle[@]}" >/dev/null
    tidegate verify activity --fixture "$work/recorded" --postgres "${idle[@]}"
    recorded written "${topics[@]}"
    "$python" tests/same_live.py "$work/expected" "$work/data" "$work/written"
}
