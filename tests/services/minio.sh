#!/usr/bin/env bash
# MinIO as an S3 server: built from the Go module, since none is to be had ready made; some 9 minutes of a processor, once.
# usage: minio.sh install|start|stop|kill|status|wipe|env
#   MINIO_VERSION (below; a commit, as Go names it)  S3_PORT (9000)  S3_USER/S3_PASSWORD (tidegate/tidegate-secret)  S3_BUCKETS ("tidegate")
#   S3_TLS=1  it speaks TLS alone, by a certificate of the test CA
. "$(dirname "$0")/lib.sh"
MINIO_VERSION=${MINIO_VERSION:-v0.0.0-20260212201848-7aac2a2c5b7c}
S3_PORT=${S3_PORT:-9000} S3_USER=${S3_USER:-tidegate} S3_PASSWORD=${S3_PASSWORD:-tidegate-secret} S3_BUCKETS=${S3_BUCKETS:-tidegate}
BIN=$TIDEGATE_CACHE/minio-$MINIO_VERSION
D=$TIDEGATE_SERVICES_DIR/minio PID=$D/pid LOG=$D/minio.log

install() {
    [ ! -x "$BIN/minio" ] || return 0
    # Go 1.24 or later; an older one says that it is.
    apt_for go golang-go
    mkdir -p "$BIN"
    say "building minio $MINIO_VERSION"
    GOBIN=$BIN CGO_ENABLED=0 go install -trimpath -ldflags '-s -w' "github.com/minio/minio@$MINIO_VERSION" >"$BIN/build.log" 2>&1 ||
        { tail -n 20 "$BIN/build.log" >&2; die "go could not build minio"; }
}
start() {
    if p=$(pid_of "$PID"); then say "minio already runs (pid $p)"; return 0; fi
    apt_for curl curl
    install
    port_free_or_die "$S3_PORT" S3_PORT
    mkdir -p "$D/data" "$D/certs"
    if [ -n "${S3_TLS:-}" ]; then
        ensure_tls
        cp "$TLS/server.crt" "$D/certs/public.crt" && cp "$TLS/server.key" "$D/certs/private.key"
    fi
    # Without its pages, which want another port, and without asking its makers for a newer one.
    spawn "$PID" "$LOG" env MINIO_ROOT_USER="$S3_USER" MINIO_ROOT_PASSWORD="$S3_PASSWORD" MINIO_BROWSER=off MINIO_UPDATE=off MINIO_CALLHOME_ENABLE=off \
        "$BIN/minio" server --certs-dir "$D/certs" --address "$HOST:$S3_PORT" "$D/data"
    wait_until 60 "$PID" "$LOG" s3_buckets
    say "minio $MINIO_VERSION: S3 at $(s3_url), buckets $S3_BUCKETS"
}
# By its own names too, which the program knows.
environment() {
    s3_environment
    echo "export MINIO_ENDPOINT=$(s3_url) MINIO_ROOT_USER=$S3_USER MINIO_ROOT_PASSWORD=$S3_PASSWORD"
}
verbs TERM 15 "$@"
