#!/usr/bin/env bash
# A pipeline killed at random moments and started again with other workers and processes leaves what an undisturbed one leaves.
# usage: tests/killed.sh iot|hydraulic   with TIDEGATE_BINARY, the program, and a Python with pyarrow as PYTHON
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
pipeline=$1
binary=${TIDEGATE_BINARY:?the program to be tested}
python=${PYTHON:-python3}
unset TIDEGATE_BINARY TIDEGATE_SERVICES_DIR TIDEGATE_CACHE
work=$(mktemp -d "${TMPDIR:-/tmp}/tidegate-killed.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

case $pipeline in
iot) "$python" tests/oracle/random_fixture.py "$work/log" --pipeline iot --seed 5 --records "${RECORDS:-60000}" ;;
hydraulic) "$binary" generate hydraulic --fixture "$work/log" --cycles "${CYCLES:-6}" ;;
*) echo "no log is made for $pipeline" >&2 && exit 2 ;;
esac
"$binary" replay "$pipeline" --fixture "$work/log" --out "$work/expected" -w 2
for flags in '' --damage --processes; do
    echo "killed${flags:+, with $flags}"
    # shellcheck disable=SC2086
    "$python" tests/crash.py "$binary" "$work/out" 11 --kills "${KILLS:-7}" $flags -- \
        "$pipeline" --fixture "$work/log" --epoch 50ms
    "$python" tests/same_output.py "$work/expected" "$work/out" "$pipeline"
    "$binary" checkpoint verify --checkpoint "$work/out.checkpoint" --pipeline "$pipeline"
done
