#!/usr/bin/env bash
# A pipeline into embedded sinks, killed at random moments and started again with other workers and processes, leaves what an undisturbed one
# leaves.
# usage: tests/killed.sh PIPELINE [--matrix | FLAGS...]     PIPELINE   activity, iot, hydraulic, transit
#        tests/killed.sh --cells                            prints the cells of the matrix
#   without flags     as it comes, with damaged checkpoints, and with several processes
#   --matrix          with each number of workers and with changing ones, each in one process and in two
#   FLAGS             one cell of that: those of tests/crash.py, as --workers 8 --cluster
#   TIDEGATE_BINARY   the program   PYTHON   a Python with pyarrow and deltalake   KILLS (7)   SEED (11)
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cells() {
    local workers
    for workers in 1 2 3 8 1,2,3,8; do printf -- '--workers %s\n--workers %s --cluster\n' $workers $workers; done
}
pipeline=${1:?usage: tests/killed.sh PIPELINE [--matrix | FLAGS...]}
shift
[ "$pipeline" != --cells ] || { cells; exit; }
case ${1:-} in
'') cells=('' --damage --processes) ;;
--matrix) mapfile -t cells < <(cells) ;;
*) cells=("$*") ;;
esac
binary=${TIDEGATE_BINARY:?the program to be tested}
python=${PYTHON:-python3}
unset TIDEGATE_BINARY TIDEGATE_SERVICES_DIR TIDEGATE_CACHE
work=$(mktemp -d "${TMPDIR:-/tmp}/tidegate-killed.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

case $pipeline in
activity) "$binary" generate activity --fixture "$work/log" --records "${RECORDS:-300000}" --form kcat-zst ;;
iot) "$python" tests/oracle/random_fixture.py "$work/log" --pipeline iot --seed 5 --records "${RECORDS:-60000}" ;;
hydraulic) "$binary" generate hydraulic --fixture "$work/log" --cycles "${CYCLES:-6}" ;;
transit) "$binary" generate transit --fixture "$work/log" --polls "${POLLS:-900}" --vehicles 60 ;;
*) echo "no log is made for $pipeline" >&2 && exit 2 ;;
esac
"$binary" replay "$pipeline" --fixture "$work/log" --out "$work/expected" -w 2
for flags in "${cells[@]}"; do
    echo "killed${flags:+, with $flags}"
    # A supervisor that is killed leaves what it had in the directory of temporary files.
    # shellcheck disable=SC2086
    TMPDIR=$work "$python" tests/crash.py "$binary" "$work/out" "${SEED:-11}" --kills "${KILLS:-7}" $flags -- \
        "$pipeline" --fixture "$work/log" --epoch 50ms --web off
    "$python" tests/same_output.py "$work/expected" "$work/out" "$pipeline"
    [ "$pipeline" != transit ] || "$python" tests/transit_delta.py "$work/expected" "$work/out"
    "$binary" checkpoint verify --checkpoint "$work/out.checkpoint" --pipeline "$pipeline"
done
