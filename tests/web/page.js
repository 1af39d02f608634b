// What a person sees in a browser, compared with the metrics of the same run.
// usage: node page.js moving|still URL [SCREENSHOT]
//   moving: while records are read, at desktop width: pause, going on, and a lost connection
//   still:  when nothing is read, at phone and desktop widths, light and dark: every number
'use strict';
const net = require('node:net');
const { chromium } = require('playwright-core');
const assert = require('node:assert/strict');

const [what, url, screenshot] = process.argv.slice(2);
const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];

async function metrics() {
  const text = await (await fetch(`${url}metrics`)).text();
  const found = new Map();
  for (const line of text.split('\n')) {
    const match = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!match || line.startsWith('#')) continue;
    const labels = {};
    for (const [, name, value] of (match[2] || '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[name] = value;
    if (!found.has(match[1])) found.set(match[1], []);
    found.get(match[1]).push({ labels, value: Number(match[3]) });
  }
  const value = (name, wanted) => (found.get(name) || [])
    .filter(({ labels }) => Object.entries(wanted).every(([key, value]) => labels[key] === value))
    .reduce((sum, { value }) => sum + value, 0);
  return { found, value };
}

const tile = async (page, key) => Number(await page.locator(`#tiles [data-key="${key}"] dd`).getAttribute('data-value'));
const cells = (page, table) => page.locator(`#${table} tbody tr`).evaluateAll(rows => rows.map(row => ({
  key: row.dataset.key, holder: row.classList.contains('holder'),
  values: [...row.children].map(cell => cell.dataset.value === undefined ? null : Number(cell.dataset.value)),
})));
const until = async (what, holds) => {
  const last = Date.now() + 20000;
  while (!await holds()) {
    if (Date.now() > last) throw new Error(`not so within 20 s: ${what}`);
    await new Promise(done => setTimeout(done, 100));
  }
};

// A wire to the run that can be cut and mended.
async function wire() {
  const ends = new Set();
  const to = Number(new URL(url).port);
  const server = net.createServer(near => {
    const far = net.connect(to, '127.0.0.1');
    for (const [one, other] of [[near, far], [far, near]]) {
      ends.add(one);
      one.on('error', () => other.destroy()).on('close', () => { ends.delete(one); other.destroy(); });
      one.pipe(other);
    }
  });
  const listen = port => new Promise(done => server.listen(port, '127.0.0.1', done));
  await listen(0);
  const { port } = server.address();
  const cut = () => new Promise(done => { server.close(done); ends.forEach(end => end.destroy()); });
  return { url: `http://127.0.0.1:${port}/`, cut, mend: () => listen(port) };
}

async function moving(browser) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const line = await wire();
  const page = await opened(context, line.url);
  const read = async () => (await metrics()).value('tidegate_source_records_read_total', {});
  // Between two readings of the metrics, the first of them old enough to be on the page.
  const between = async () => {
    const before = await read();
    const asOf = await page.evaluate(() => Number(document.documentElement.dataset.takenUs));
    await until('a newer state is shown', () => page.evaluate(
      asOf => Number(document.documentElement.dataset.takenUs) > asOf + 1.1e6, asOf));
    const shown = await tile(page, 'records');
    assert.ok(before <= shown && shown <= await read(), `${before} ≤ ${shown}`);
    return shown;
  };
  const first = await between();
  assert.ok(first > 0);

  // By the keyboard alone: the first stop skips to the figures, the button stops them.
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
  await page.locator('#pause').focus();
  await page.keyboard.press('Enter');
  assert.equal(await page.locator('#pause').getAttribute('aria-pressed'), 'true');
  const frozen = await tile(page, 'records');
  await until('records are read meanwhile', async () => await read() > frozen + 5);
  assert.equal(await tile(page, 'records'), frozen, 'a paused page stands');
  await page.keyboard.press('Enter');
  await until('the page goes on', async () => await tile(page, 'records') > frozen);
  await between();

  await line.cut();
  await until('the loss is told', async () => /lost/.test(await page.locator('#connection').innerText()));
  const lost = await tile(page, 'records');
  await until('records are read meanwhile', async () => await read() > lost + 5);
  await line.mend();
  await until('the page is live again', async () => await page.locator('#connection').innerText() === 'live');
  assert.ok(await between() > lost);
  await context.close();
  await line.cut();
}

async function still(browser) {
  for (const [width, height, colorScheme] of [[390, 844, 'dark'], [1280, 900, 'light']]) {
    const context = await browser.newContext({ viewport: { width, height }, colorScheme });
    const page = await opened(context);
    await until('two states have come', async () => (await page.locator('#partitions tbody tr').count()) === 2);
    const asOf = await page.evaluate(() => Number(document.documentElement.dataset.takenUs));
    await until('a newer state is shown', () => page.evaluate(
      asOf => Number(document.documentElement.dataset.takenUs) > asOf, asOf));
    let compared = 0;
    const same = (shown, wanted, what) => { assert.equal(shown, wanted, `${what} at ${width} px`); compared += 1; };
    const { value } = await metrics();
    const [read, lag, late] = ['read_total', 'lag', 'late_total'];
    same(await tile(page, 'records'), value(`tidegate_source_records_${read}`, {}), 'records');
    same(await tile(page, lag), value('tidegate_source_lag_records', {}), lag);
    same(await tile(page, 'late'), value(`tidegate_source_records_${late}`, {}), 'late');
    same(await tile(page, 'rejected'), value('tidegate_source_records_rejected_total', {}), 'rejected');
    let holders = 0;
    for (const { key, holder, values } of await cells(page, 'partitions')) {
      const [topic, partition] = key.split('/');
      const of = { topic, partition };
      const names = ['records_read_total', 'records_accepted_total', 'records_late_total', 'records_idle_total',
        'records_rejected_total', 'records_duplicate_total', 'position_offset', 'lag_records'];
      names.forEach((name, at) => same(values[at + 1], value(`tidegate_source_${name}`, of), `${name} of ${key}`));
      same(Number(holder), value('tidegate_watermark_holds_frontier', of), `holder ${key}`);
      holders += Number(holder);
    }
    same(holders, 1, 'one partition holds the frontier');
    for (const { key, values } of await cells(page, 'ledger')) {
      ['counted', 'filtered', 'late', 'idle', 'in_state'].forEach((fate, at) =>
        same(values[at + 1], value('tidegate_ledger_output_records', { output: key, fate }), `${fate} of ${key}`));
      same(values[6], 0, `unaccounted of ${key}`);
    }
    assert.match(await page.locator('#balance').innerText(), /Every record is accounted for/);
    for (const { key, values } of await cells(page, 'outputs')) {
      same(values[1], value('tidegate_output_rows', { output: key }), `rows of ${key}`);
    }
    for (const { key, values } of await cells(page, 'sinks')) {
      same(values[1], value('tidegate_sink_rows_total', { sink: key }), `rows of sink ${key}`);
      same(values[5], value('tidegate_sink_retries_total', { sink: key }), `retries of sink ${key}`);
    }
    for (const { key, values } of await cells(page, 'state')) {
      same(values[1], value('tidegate_state_keys', { operator: key }), `entries of ${key}`);
      same(values[2], value('tidegate_state_bytes', { operator: key }), `size of ${key}`);
    }
    assert.ok(compared > 50, `${compared} numbers compared`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `the page is ${wide} px wider than ${width} px`);
    assert.ok(await page.locator('#graph svg g.node').count() > 3);
    assert.equal(await page.locator('#charts canvas').count(), 5);
    assert.match(await page.locator('#samples').innerText(), /<script>alert/);
    const unnamed = await page.evaluate(() => [...document.querySelectorAll('button, a, [role=group], [role=img]')]
      .filter(element => !(element.textContent.trim() || element.getAttribute('aria-label'))).length);
    assert.equal(unnamed, 0, 'everything that can be reached has a name');
    console.log(`${compared} numbers on the page equal the metrics at ${width} px, ${colorScheme}`);
    if (screenshot && width > 1000) await page.screenshot({ path: screenshot });
    await context.close();
  }
}

async function opened(context, at = url) {
  const page = await context.newPage();
  page.on('pageerror', error => { throw error; });
  page.on('dialog', () => { throw new Error('a payload was run'); });
  page.on('console', message => {
    const text = message.text();
    if (message.type() === 'error' && !/ERR_|Failed to load/.test(text)) throw new Error(text);
  });
  await page.goto(at, { waitUntil: 'load' });
  await until('figures are shown', () => page.locator('#pipeline').isVisible());
  return page;
}

(async () => {
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ARGS });
  await (what === 'moving' ? moving : still)(browser);
  await browser.close();
})().catch(error => { console.error(error); process.exit(1); });
