#!/usr/bin/env bash
# Takes the advisories about the crates of Cargo.lock out of a clone of RustSec's database.
# usage: tests/advisories/refresh.sh DATABASE
set -euo pipefail
database=$(cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")"
rm -rf crates && mkdir crates
sed -n 's/^name = "\(.*\)"$/\1/p' ../../Cargo.lock | sort -u | while read -r name; do
    [ ! -d "$database/crates/$name" ] || cp -r "$database/crates/$name" crates/
done
