#!/usr/bin/env bash
# The MongoDB sink against a server of this checkout's own. Called by tests/run.
# usage: tests/mongo.sh
#   MONGO_PORT   a port on loopback
cd "$(dirname "$0")/.."
. tests/services/lib.sh
TIDEGATE_SERVICES_DIR=$(mktemp -d) && export TIDEGATE_SERVICES_DIR
MONGO_PORT=$(free_port "${MONGO_PORT:-27117}") && export MONGO_PORT
finish() { tests/services/mongo.sh wipe || :; rm -rf "$TIDEGATE_SERVICES_DIR"; }
trap finish EXIT
tests/services/mongo.sh start
eval "$(tests/services/mongo.sh env)"
export TIDEGATE_TEST_MONGO=$MONGO_TEST_URI MONGO_TEST_PYTHON
# shellcheck disable=SC2086
cargo test ${TIDEGATE_TEST_PROFILE---release} --workspace --test mongo -- --nocapture
