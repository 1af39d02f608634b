#!/usr/bin/env bash
# A server that speaks MongoDB's wire protocol and keeps its data: SecantusDB from PyPI, on WiredTiger, as a replica set of one.
# usage: mongo.sh install|start|stop|kill|status|wipe|env
#   MONGO_PORT (27017)   SECANTUS_VERSION (0.7.0b3)
# `env` prints MONGO_TEST_PYTHON, a Python with pymongo, and MONGO_TEST_URI for eval.
# kill: SIGKILL, for crash tests; start afterwards finds the same data. wipe: stop and remove the data.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
MONGO_PORT=${MONGO_PORT:-27017} SECANTUS_VERSION=${SECANTUS_VERSION:-0.7.0b3}
V=$TIDEGATE_CACHE/venv-secantus
D=$TIDEGATE_SERVICES_DIR/mongo PID=$D/pid LOG=$D/mongo.log

install() { V=$(venv secantus "secantusdb==$SECANTUS_VERSION" 'pymongo>=4.9'); }
start() {
    local pid
    if pid=$(pid_of "$PID"); then
        say "mongo already runs (pid $pid)"
        return 0
    fi
    install
    port_free_or_die "$MONGO_PORT" MONGO_PORT
    mkdir -p "$D/data"
    spawn "$PID" "$LOG" "$V/bin/secantusd-py" --host "$HOST" --port "$MONGO_PORT" --storage-path "$D/data" ${MONGO_EXTRA:-}
    wait_until 60 "$PID" "$LOG" port_open "$MONGO_PORT"
    say "mongo answers on $HOST:$MONGO_PORT"
}
environment() { echo "export MONGO_TEST_PYTHON=$V/bin/python MONGO_TEST_URI=mongodb://$HOST:$MONGO_PORT/"; }
verbs TERM 20 "$@"
