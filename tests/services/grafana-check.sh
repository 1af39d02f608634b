#!/usr/bin/env bash
# Checks Grafana dashboard JSON without a Grafana (none can be had): types it against the npm package @grafana/schema with tsc,
# and every PromQL expression of its Prometheus targets with promtool, when promtool is there.
# usage: grafana-check.sh install|check DASHBOARD.json...
#   GRAFANA_SCHEMA_VERSION (13.2.3)  TYPESCRIPT_VERSION (5.9.3)
# Nothing stays running: there is no start and no stop.
. "$(dirname "$0")/lib.sh"
GRAFANA_SCHEMA_VERSION=${GRAFANA_SCHEMA_VERSION:-13.2.3} TYPESCRIPT_VERSION=${TYPESCRIPT_VERSION:-5.9.3}
N=$TIDEGATE_CACHE/grafana-schema-$GRAFANA_SCHEMA_VERSION
install() {
    [ -d "$N/node_modules/@grafana/schema" ] && [ -d "$N/node_modules/typescript" ] && return 0
    apt_for npm npm
    mkdir -p "$N"
    echo '{"private":true}' >"$N/package.json"
    (cd "$N" && npm install --no-audit --no-fund --ignore-scripts "@grafana/schema@$GRAFANA_SCHEMA_VERSION" "typescript@$TYPESCRIPT_VERSION") >"$N/npm.log" 2>&1 || { tail -n 20 "$N/npm.log" >&2; die "npm failed"; }
}
check() {
    install; apt_for node node
    rc=0
    for f in "$@"; do
        t=$(mktemp -d "$N/check.XXXXXX")
        { echo "import type { Dashboard } from '@grafana/schema';"
          # an enum of strings takes its literals; everything else stays as the schema has it
          # shellcheck disable=SC2016
          echo 'type J<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: J<T[K]> } : T;'
          printf 'export const dashboard: J<Dashboard> =\n'
          cat "$f"; } >"$t/dashboard.ts"
        if node -e 'JSON.parse(require("fs").readFileSync(process.argv[1],"utf8"))' "$f" \
            && "$N/node_modules/.bin/tsc" --noEmit --strict --skipLibCheck --module nodenext --moduleResolution nodenext "$t/dashboard.ts" >"$t/out" 2>&1; then
            echo "ok: $f"
        else
            echo "BAD: $f"; sed "s|^.*dashboard.ts(\([0-9]*\),|  (line \1 - 3,|" "$t/out" 2>/dev/null; rc=1
        fi
        if command -v promtool >/dev/null 2>&1; then
            # promtool parses rule files: each expression becomes a rule, Grafana's own variables a plain word or a range
            node -e '
const d = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8")), out = [];
const walk = o => { if (o && typeof o === "object") { if (typeof o.expr === "string") out.push(o.expr); Object.values(o).forEach(walk); } };
walk(d.panels || []);
const sub = e => e.replace(/\[\$\{?__\w+\}?\]/g, "[5m]").replace(/\$\{?__(interval|rate_interval|range)\}?/g, "5m").replace(/\$\{?(\w+)(:\w+)?\}?/g, "x");
console.log("groups:\n- name: dashboard\n  rules:" + (out.length ? "" : " []"));
out.forEach((e, i) => console.log("  - record: dashboard:expr_" + i + "\n    expr: " + JSON.stringify(sub(e))));
' "$f" >"$t/rules.yml" && promtool check rules "$t/rules.yml" >"$t/promtool" 2>&1 || { echo "BAD PromQL: $f"; cat "$t/promtool"; rc=1; }
        fi
        rm -rf "$t"
    done
    return $rc
}
case ${1:-} in
    install) install ;;
    check) shift; check "$@" ;;
    start|stop|status) : ;;
    *) die "see the top of $0" ;;
esac
