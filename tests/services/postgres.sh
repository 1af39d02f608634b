#!/usr/bin/env bash
# PostgreSQL 15 from Debian, as a server of its own (never as root), with TLS on.
# usage: postgres.sh install|start|stop|kill|status|wipe|env|psql ARGS...|bouncer-start|bouncer-stop
#   PG_PORT (5433)  PG_USER/PG_PASSWORD/PG_DATABASE (tidegate/tidegate-secret/tidegate)  PG_EXTRA (more postgresql.conf lines)
#   PG_BIN (the folder of initdb and postgres, looked for when unset)
# Over TCP: SCRAM-SHA-256, with or without TLS. kill: SIGKILL of the postmaster (the crash test); start recovers from the WAL.
. "$(dirname "$0")/lib.sh"
PG_PORT=${PG_PORT:-5433} PG_USER=${PG_USER:-tidegate} PG_PASSWORD=${PG_PASSWORD:-tidegate-secret} PG_DATABASE=${PG_DATABASE:-tidegate}
D=$TIDEGATE_SERVICES_DIR/postgres PID=$D/pid LOG=$D/log/postgres.log

# PgBouncer in transaction mode in front of it, without TLS, on BOUNCER_PORT.
BOUNCER_PORT=${BOUNCER_PORT:-6433} BPID=$D/bouncer.pid
bouncer_start() {
    PATH=$PATH:/usr/sbin
    apt_for pgbouncer pgbouncer
    if pid_of "$BPID" >/dev/null; then return 0; fi
    port_free_or_die "$BOUNCER_PORT" BOUNCER_PORT
    printf '"%s" "%s"\n' "$PG_USER" "$PG_PASSWORD" >"$D/users.txt"
    cat >"$D/bouncer.ini" <<X
[databases]
$PG_DATABASE = host=$HOST port=$PG_PORT dbname=$PG_DATABASE
[pgbouncer]
listen_addr = $HOST
listen_port = $BOUNCER_PORT
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $D/users.txt
pool_mode = transaction
default_pool_size = 2
X
    as_pg test -r "$D/users.txt" || die "$D cannot be read by the account that runs PgBouncer"
    if [ "$(id -u)" = 0 ]; then
        if id postgres >/dev/null 2>&1; then u=postgres; else u=nobody; fi
        spawn "$BPID" "$D/log/bouncer.log" setpriv --reuid="$u" --regid="$(id -g "$u")" --clear-groups -- pgbouncer "$D/bouncer.ini"
    else
        spawn "$BPID" "$D/log/bouncer.log" pgbouncer "$D/bouncer.ini"
    fi
    wait_until 20 "$BPID" "$D/log/bouncer.log" port_open "$BOUNCER_PORT"
}

find_bin() {
    [ -z "${PG_BIN:-}" ] || return 0
    for b in /usr/lib/postgresql/15/bin /usr/lib/postgresql/*/bin; do [ -x "$b/initdb" ] && [ -x "$b/postgres" ] && PG_BIN=$b && return 0; done
    return 1
}
install() {
    find_bin || { apt_for postgresql-is-missing postgresql; find_bin || die "no initdb found"; }
    apt_for psql postgresql-client openssl openssl pgrep procps
}
# A server refuses to run as root: then the account "postgres" (made by Debian's package), else nobody, runs it.
as_pg() {
    if [ "$(id -u)" = 0 ]; then
        if id postgres >/dev/null 2>&1; then _u=postgres; else _u=nobody; fi
        setpriv --reuid="$_u" --regid="$(id -g "$_u")" --clear-groups -- env HOME="$D" "$@"
    else
        "$@"
    fi
}
PSQL() { PGPASSWORD=$PG_PASSWORD PGSSLMODE=verify-full PGSSLROOTCERT=$TLS/ca.crt psql -X -v ON_ERROR_STOP=1 -h localhost -p "$PG_PORT" -U "$PG_USER" "$@"; }
ready() { "$PG_BIN/pg_isready" -q -h $HOST -p "$PG_PORT"; }
start() {
    install
    if p=$(pid_of "$PID"); then say "postgres already runs (pid $p)"; return 0; fi
    port_free_or_die "$PG_PORT" PG_PORT
    ensure_tls
    mkdir -p "$D/sock" "$D/log"
    cp "$TLS/server.crt" "$D/server.crt"; cp "$TLS/server.key" "$D/server.key"; chmod 600 "$D/server.key"
    if [ "$(id -u)" = 0 ]; then
        if id postgres >/dev/null 2>&1; then u=postgres; else u=nobody; fi
        mkdir -p "$D/data"; chown -R "$u" "$D"
        # every folder above must let that account through
        as_pg test -w "$D/data" || die "the account $u cannot reach $D: set TIDEGATE_SERVICES_DIR to a folder it can (under /tmp, say)"
    else
        mkdir -p "$D/data"
    fi
    chmod 700 "$D/data"
    if [ ! -f "$D/data/PG_VERSION" ]; then
        printf '%s' "$PG_PASSWORD" >"$D/pw"; chmod 644 "$D/pw"
        (cd "$D" && as_pg "$PG_BIN/initdb" -D "$D/data" -U "$PG_USER" --pwfile="$D/pw" --auth-local=trust --auth-host=scram-sha-256 -E UTF8 --locale=C.UTF-8) \
            >"$LOG.initdb" 2>&1 || { cat "$LOG.initdb" >&2; die "initdb failed"; }
        rm -f "$D/pw"
    fi
    # After a SIGKILL of the postmaster its children end by themselves; lock files that name a dead (or unreaped) postmaster are stale.
    if [ -f "$D/data/postmaster.pid" ]; then
        old=$(head -n 1 "$D/data/postmaster.pid") i=100
        while pgrep -s "$old" >/dev/null 2>&1 && [ "$i" -gt 0 ]; do sleep 0.1; i=$((i - 1)); done
        case $(sed 's/^.*) //' "/proc/$old/stat" 2>/dev/null | cut -d' ' -f1) in Z|'') rm -f "$D/data/postmaster.pid" "$D/sock"/.s.PGSQL.* ;; esac
    fi
    cat >"$D/data/tidegate.conf" <<X
listen_addresses = '$HOST'
port = $PG_PORT
unix_socket_directories = '$D/sock'
ssl = on
ssl_cert_file = '$D/server.crt'
ssl_key_file = '$D/server.key'
ssl_ca_file = '$D/ca.crt'
max_connections = 100
shared_buffers = 128MB
max_prepared_transactions = 20
wal_level = logical
${PG_EXTRA:-}
X
    cp "$TLS/ca.crt" "$D/ca.crt"
    grep -q "^include 'tidegate.conf'" "$D/data/postgresql.conf" || echo "include 'tidegate.conf'" >>"$D/data/postgresql.conf"
    [ "$(id -u)" != 0 ] || chown -R "$u" "$D/data" "$D/ca.crt"
    if [ "$(id -u)" = 0 ]; then
        spawn "$PID" "$LOG" setpriv --reuid="$u" --regid="$(id -g "$u")" --clear-groups -- "$PG_BIN/postgres" -D "$D/data"
    else
        spawn "$PID" "$LOG" "$PG_BIN/postgres" -D "$D/data"
    fi
    wait_until 60 "$PID" "$LOG" ready
    PSQL -qAt -d postgres -c "select 1 from pg_database where datname = '$PG_DATABASE'" | grep -q 1 || PSQL -q -d postgres -c "create database \"$PG_DATABASE\""
    say "postgres: $HOST:$PG_PORT database $PG_DATABASE user $PG_USER (CA: $TLS/ca.crt)"
}
environment() {
    ensure_tls
    echo "export PGHOST=localhost PGPORT=$PG_PORT PGUSER=$PG_USER PGPASSWORD=$PG_PASSWORD PGDATABASE=$PG_DATABASE PGSSLROOTCERT=$TLS/ca.crt"
}
case ${1:-} in
    psql) shift; ensure_tls; PSQL -d "$PG_DATABASE" "$@" ;;
    bouncer-start) bouncer_start ;;
    bouncer-stop) stop_pid "$BPID" INT 10 ;;
    *) verbs INT 30 "$@" ;;
esac
