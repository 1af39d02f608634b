#!/usr/bin/env bash
# Headless Chromium from Debian, driven by playwright-core from npm: a picture of a page, for a person to look at.
# usage: chromium.sh install|modules|status|shot URL OUT.png [WIDTHxHEIGHT] | text URL
#   PLAYWRIGHT_VERSION (1.64.1)
# Nothing stays running: there is no start and no stop.
. "$(dirname "$0")/lib.sh"
PLAYWRIGHT_VERSION=${PLAYWRIGHT_VERSION:-1.64.1}
N=$TIDEGATE_CACHE/playwright-$PLAYWRIGHT_VERSION
install() {
    apt_for chromium chromium fc-match fonts-dejavu-core
    [ -d "$N/node_modules/playwright-core" ] && return 0
    apt_for npm npm
    mkdir -p "$N"
    (cd "$N" && [ -f package.json ] || echo '{"private":true}' >"$N/package.json"; cd "$N" && npm install --no-audit --no-fund --ignore-scripts "playwright-core@$PLAYWRIGHT_VERSION") >"$N/npm.log" 2>&1 \
        || { tail -n 20 "$N/npm.log" >&2; die "npm failed"; }
}
drive() {
    install
    NODE_PATH="$N/node_modules" node - "$@" <<'X'
const { chromium } = require('playwright-core');
(async () => {
  const [what, url, out, size] = process.argv.slice(2);
  const [width, height] = (size || '1280x800').split('x').map(Number);
  const b = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'] });
  const p = await b.newPage({ viewport: { width, height } });
  p.on('console', m => console.error('[console]', m.type(), m.text()));
  p.on('pageerror', e => { console.error('[pageerror]', e.message); process.exitCode = 1; });
  const r = await p.goto(url, { waitUntil: 'load', timeout: 60000 });
  console.error('status', r && r.status());
  if (what === 'shot') await p.screenshot({ path: out, fullPage: true }); else console.log(await p.innerText('body'));
  await b.close();
})().catch(e => { console.error(e); process.exit(1); });
X
}
case ${1:-} in
    install) install ;;
    status) if command -v chromium >/dev/null && [ -d "$N/node_modules/playwright-core" ]; then echo installed; else echo absent; exit 3; fi ;;
    start|stop) : ;;
    modules) install; printf '%s\n' "$N/node_modules" ;;
    shot) [ $# -ge 3 ] || die "see the top of $0"; drive shot "$2" "$3" "${4:-}" ;;
    text) [ $# -ge 2 ] || die "see the top of $0"; drive text "$2" ;;
    *) die "see the top of $0" ;;
esac
