// The page of a run: one document a second by server-sent events, written into tables and charts.
// What is shown is the API's document and nothing else; docs/api.md says what is in it.
'use strict';

const byId = id => document.getElementById(id);
const number = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const rate = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const KEPT = 600;

let chosen = new URLSearchParams(location.search).get('pipeline');
let paused = false;
let newest = null;
let points = {};
const charts = new Map();

// ── Words ──
const count = n => n === null || n === undefined ? '–' : number.format(n);
const perSecond = n => n === null || n === undefined ? '–' : `${rate.format(n)}/s`;
const bytes = n => {
  if (!n) return n === 0 ? '0 B' : '–';
  const step = Math.min(4, Math.floor(Math.log2(n) / 10));
  return `${rate.format(n / 1024 ** step)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][step]}`;
};
const span = seconds => {
  if (seconds === null || seconds === undefined) return '–';
  if (Math.abs(seconds) < 1) return `${number.format(seconds * 1000)} ms`;
  if (Math.abs(seconds) < 120) return `${rate.format(seconds)} s`;
  if (Math.abs(seconds) < 7200) return `${rate.format(seconds / 60)} min`;
  if (Math.abs(seconds) < 172800) return `${rate.format(seconds / 3600)} h`;
  return `${number.format(seconds / 86400)} days`;
};
const instant = us => us === null || us === undefined ? '–' : new Date(us / 1000).toISOString().replace('T', ' ').slice(0, 23);

// ── Elements ──
// What others wrote (topics, payloads) is set as text, never as markup.
const make = (name, text, attributes = {}) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) if (value) element.setAttribute(key, value);
  return element;
};
const svg = (name, attributes, text) => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
};
// A cell is a text, or {text, value, class}; `value` is the bare number, for whoever reads the page by a program.
const table = (id, heads, rows, empty) => {
  const target = byId(id);
  const focus = target.closest('section');
  focus.hidden = rows.length === 0 && empty === undefined;
  const head = make('thead');
  const line = head.appendChild(make('tr'));
  heads.forEach(([text, kind]) => line.append(make('th', text, { scope: 'col', class: kind })));
  const body = make('tbody');
  for (const row of rows) {
    const line = body.appendChild(make('tr', undefined, { class: row.class, 'data-key': row.key }));
    row.cells.forEach((cell, at) => {
      const { text, value, kind } = typeof cell === 'object' ? cell : { text: cell };
      const name = at === 0 ? 'th' : 'td';
      const made = make(name, text, { scope: at === 0 ? 'row' : '', class: kind || heads[at][1] });
      if (value !== undefined && value !== null) made.dataset.value = value;
      line.append(made);
    });
  }
  if (rows.length === 0 && empty !== undefined) {
    body.appendChild(make('tr')).append(make('td', empty, { colspan: String(heads.length), class: 'text' }));
  }
  target.replaceChildren(head, body);
};
const counted = n => ({ text: count(n), value: n });
const tile = (id, label, text, value, kind) => {
  const box = make('div', undefined, { 'data-key': id });
  box.append(make('dt', label));
  const figure = box.appendChild(make('dd', text, { class: kind }));
  if (value !== undefined && value !== null) figure.dataset.value = value;
  return box;
};

// ── Parts of the page ──
function tiles(state, all) {
  const sum = field => all.partitions.reduce((sum, partition) => sum + (partition[field] || 0), 0);
  const rejected = all.partitions.reduce(
    (sum, partition) => sum + Object.values(partition.rejected).reduce((a, b) => a + b, 0), 0);
  const known = all.partitions.some(partition => partition.lag !== null);
  const lag = known ? sum('lag') : null;
  const event = all.frontier_us === null ? null : (all.taken_us - all.frontier_us) / 1e6;
  const latency = all.epochs.latency_seconds;
  byId('tiles').replaceChildren(
    tile('phase', 'Pipeline', all.phase, undefined, all.phase === 'failed' ? 'bad' : ''),
    tile('records', 'Records read', count(all.records), all.records),
    tile('input', 'Input rate', perSecond(all.rates.input)),
    tile('processed', 'Processing rate', perSecond(all.rates.processed)),
    tile('lag', 'Lag, offsets', count(lag), lag),
    tile('late', 'Late', count(sum('late')), sum('late')),
    tile('rejected', 'Refused', count(rejected), rejected),
    tile('event-time', 'Event time behind clock', span(event)),
    tile('epoch', 'Epoch decided', count(all.epochs.decided), all.epochs.decided),
    tile('epoch-seconds', 'Epoch duration', span(all.epochs.seconds.last)),
    tile('checkpoint-seconds', 'Checkpoint duration', span(all.epochs.checkpoint_seconds.last)),
    tile('latency', 'Event to result, newest', span(latency.last)),
    tile('waited', 'Held back by sinks', span(all.epochs.waited_seconds)),
    tile('memory', 'Memory', bytes(state.process.resident_bytes)),
  );
}

function partitions(all) {
  const rows = all.partitions.map(partition => ({
    key: `${partition.topic}/${partition.partition}`,
    class: partition.holds_frontier ? 'holder' : '',
    cells: [
      `${partition.topic} ${partition.partition}`,
      counted(partition.read), counted(partition.accepted), counted(partition.late), counted(partition.idle),
      counted(Object.values(partition.rejected).reduce((a, b) => a + b, 0)),
      counted(partition.duplicate_offsets), counted(partition.position), counted(partition.lag),
      instant(partition.watermark_us),
      partition.watermark_us === null ? '–' : span((all.taken_us - partition.watermark_us) / 1e6),
      partition.standing,
    ],
  }));
  table('partitions', [['Partition'], ['Read'], ['Accepted'], ['Late'], ['Idle'], ['Refused'], ['Repeated'],
    ['Position'], ['Lag'], ['Watermark (UTC)'], ['Behind clock'], ['Standing', 'text']], rows, 'none yet');
  const holder = all.partitions.find(partition => partition.holds_frontier);
  byId('holder').textContent = holder
    ? `Event time stands at ${instant(all.frontier_us)} UTC; it waits for ${holder.topic} ${holder.partition}.`
    : 'No partition holds event time back.';
}

function ledger(all) {
  const book = all.ledger;
  const rows = book ? book.outputs.map(output => ({
    key: output.output,
    cells: [output.output, counted(output.counted), counted(output.filtered), counted(output.late),
      counted(output.idle), counted(output.in_state),
      { text: count(output.unaccounted), value: output.unaccounted, kind: output.unaccounted ? 'bad' : '' }],
  })) : [];
  table('ledger', [['Output'], ['Counted'], ['Other kind'], ['Late'], ['Idle'], ['Waiting'], ['Unaccounted']],
    rows, 'no epoch is decided yet');
  const balance = byId('balance');
  balance.className = all.balanced === false ? 'note bad' : 'note';
  if (!book) {
    balance.textContent = 'The ledger is that of the newest decided epoch.';
    return;
  }
  const refused = Object.values(book.rejected).reduce((a, b) => a + b, 0);
  const reasons = Object.entries(book.rejected).map(([reason, n]) => `${reason} ${count(n)}`).join(', ');
  balance.textContent = `Epoch ${book.epoch}: ${count(book.read)} read = ${count(book.duplicate_offsets)} repeated + ` +
    `${count(refused)} refused${reasons && ` (${reasons})`} + ${count(book.accepted)} accepted. ` +
    (all.balanced ? 'Every record is accounted for.' : 'RECORDS ARE NOT ACCOUNTED FOR.');
}

function others(all) {
  table('sinks', [['Sink'], ['Rows'], ['Epoch'], ['Commit, last'], ['Prepare, last'], ['Retries'], ['State', 'text']],
    all.sinks.map(sink => ({
      key: sink.name,
      cells: [sink.name, counted(sink.rows), counted(sink.epoch), span(sink.commit_seconds.last),
        span(sink.prepare_seconds.last), counted(sink.retries),
        { text: sink.trouble || 'well', kind: sink.trouble ? 'text bad' : 'text good' }],
    })), 'none in this process');
  table('outputs', [['Output'], ['Rows'], ['Rate']], all.outputs.map(output => ({
    key: output.output,
    cells: [output.output, counted(output.rows), perSecond(all.rates.outputs[output.output])],
  })));
  table('state', [['Operator'], ['Entries'], ['Size'], ['Open windows']], all.operators.map(operator => ({
    key: operator.operator,
    cells: [operator.operator, counted(operator.keys), { text: bytes(operator.bytes), value: operator.bytes },
      counted(operator.open_windows)],
  })), 'nothing is saved');
  const epochs = all.epochs;
  byId('checkpoint').textContent = epochs.decided === null ? 'No checkpoint yet.'
    : `Checkpoint of epoch ${epochs.decided}, ${instant(epochs.decided_us)} UTC, ${bytes(epochs.checkpoint_bytes)}; ` +
      `${count(epochs.failures)} failed tries.`;
  table('values', [['Figure'], ['', 'text'], ['Value']], all.values.map(value => ({
    key: value.name,
    cells: [value.name.replace(/^tidegate_/, ''), Object.values(value.labels).join(', '),
      { text: rate.format(value.value), value: value.value }],
  })));
  const samples = [...all.rejected_samples, ...all.late_samples].slice(0, 40);
  table('samples', [['Reason'], ['Detail', 'text'], ['Topic', 'text'], ['Partition'], ['Offset'], ['Payload', 'text']],
    samples.map(sample => ({
      cells: [sample.reason, { text: sample.detail, kind: 'text' }, sample.topic, count(sample.partition),
        count(sample.offset), { text: sample.payload, kind: 'payload text' }],
    })), 'none so far');
  table('processes', [['Process'], ['Workers'], ['Partitions'], ['Records read'], ['Seen'], ['State', 'text']],
    all.processes.map(process => ({
      key: process.process,
      cells: [String(process.process), count(process.workers), count(process.partitions), counted(process.records),
        `${span((all.taken_us - process.taken_us) / 1e6)} ago`, process.phase],
    })));
}

// Nodes in columns by their distance from the input, rates on the edges.
function graph(all) {
  const target = byId('graph');
  target.closest('section').hidden = !all.graph;
  if (!all.graph) return;
  const { nodes, edges } = all.graph;
  const depth = nodes.map(() => 0);
  edges.forEach(({ from, to }) => { depth[to] = Math.max(depth[to], depth[from] + 1); });
  const [wide, high, gapX, gapY] = [200, 42, 90, 14];
  const rows = [];
  const place = nodes.map((_, at) => {
    const row = rows[depth[at]] = (rows[depth[at]] ?? -1) + 1;
    return { x: 4 + depth[at] * (wide + gapX), y: 4 + row * (high + gapY) };
  });
  const width = 8 + (Math.max(...depth) + 1) * (wide + gapX) - gapX;
  const height = 8 + (Math.max(...rows) + 1) * (high + gapY) - gapY;
  const drawing = svg('svg', { width, height, role: 'img', 'aria-labelledby': 'graph-title' });
  const told = edges.map(edge => `${nodes[edge.from].name} to ${nodes[edge.to].name}` +
    (edge.rate === null ? '' : ` ${rate.format(edge.rate)} ${edge.unit}`));
  drawing.append(svg('title', { id: 'graph-title' }, told.join('; ')));
  for (const edge of edges) {
    const [a, b] = [place[edge.from], place[edge.to]];
    const [x1, y1, x2, y2] = [a.x + wide, a.y + high / 2, b.x, b.y + high / 2];
    drawing.append(svg('path', { d: `M${x1} ${y1}C${x1 + gapX / 2} ${y1} ${x2 - gapX / 2} ${y2} ${x2} ${y2}` }));
    if (edge.rate !== null) {
      drawing.append(svg('text', { x: x2 - 6, y: y2 - 4, 'text-anchor': 'end', class: 'faint' }, perSecond(edge.rate)));
    }
  }
  const cut = (text, most) => text.length > most ? `${text.slice(0, most - 1)}…` : text;
  nodes.forEach((node, at) => {
    const { x, y } = place[at];
    const group = svg('g', { class: `node ${node.kind}` });
    group.append(svg('title', {}, [node.name, node.detail, node.place, node.guarantee].filter(Boolean).join(' · ')));
    group.append(svg('rect', { x, y, width: wide, height: high, rx: 6 }));
    group.append(svg('text', { x: x + 8, y: y + 17 }, cut(node.name, 28)));
    group.append(svg('text', { x: x + 8, y: y + 33, class: 'faint' }, cut(node.place || node.detail, 34)));
    drawing.append(group);
  });
  target.replaceChildren(drawing);
}

// ── Charts ──
const CHARTS = [
  ['Records a second', [['input', 'input', '--blue'], ['processed', 'processed', '--green']]],
  ['Lag in offsets', [['lag', 'lag', '--orange']]],
  ['Event time behind the clock, seconds', [['event time', 'event_time_lag', '--orange']]],
  ['Seconds an epoch', [['open', 'epoch_seconds', '--blue'], ['checkpoint', 'checkpoint_seconds', '--green']]],
  ['Late and refused a second', [['late', 'late', '--orange'], ['refused', 'rejected', '--red']]],
];
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function drawCharts(name) {
  const line = points[name] || [];
  const times = line.map(point => point.at);
  for (const [title, series] of CHARTS) {
    let chart = charts.get(title);
    if (!chart) {
      const figure = byId('charts').appendChild(make('figure'));
      figure.append(make('figcaption', title));
      const axis = { stroke: colour('--faint'), grid: { stroke: colour('--line') } };
      const room = Math.max(200, figure.clientWidth - 18);
      chart = new uPlot({
        width: room, height: 170, cursor: { drag: { x: false, y: false } },
        axes: [axis, { ...axis, size: 62, values: (_, ticks) => ticks.map(tick => rate.format(tick)) }],
        series: [{}, ...series.map(([label, , stroke]) => ({ label, stroke: colour(stroke), width: 2,
          value: (_, value) => value === null ? '–' : rate.format(value) }))],
      }, [[], ...series.map(() => [])], figure);
      chart.figure = figure;
      charts.set(title, chart);
    }
    chart.setData([times, ...series.map(([, field]) => line.map(point => point[field]))]);
    const last = line.length ? line[line.length - 1] : null;
    const words = series.map(([label, field]) => `${label} ${last && last[field] !== null ? rate.format(last[field]) : 'unknown'}`);
    chart.figure.setAttribute('aria-label', `${title}: ${words.join(', ')}`);
    chart.figure.setAttribute('role', 'img');
  }
}
function forgetCharts() {
  charts.forEach(chart => { chart.destroy(); chart.figure.remove(); });
  charts.clear();
}

// ── Running ──
function render() {
  const state = newest;
  if (!state || !state.pipelines) return;
  byId('version').textContent = state.process.version;
  byId('about').textContent = `up ${span(state.process.uptime_seconds)}, as of ${instant(state.taken_us)} UTC`;
  document.documentElement.dataset.takenUs = state.taken_us;
  const names = state.pipelines.map(pipeline => pipeline.pipeline);
  byId('nothing').hidden = names.length > 0;
  byId('pipeline').hidden = names.length === 0;
  if (names.length === 0) return;
  if (!names.includes(chosen)) chosen = names[0];
  const tabs = byId('pipelines');
  if ([...tabs.children].map(tab => tab.textContent).join() !== names.join()) {
    tabs.replaceChildren(...names.map(name => {
      const tab = make('button', name, { type: 'button' });
      tab.addEventListener('click', () => { chosen = name; render(); });
      return tab;
    }));
  }
  for (const tab of tabs.children) tab.setAttribute('aria-current', tab.textContent === chosen);
  const all = state.pipelines.find(pipeline => pipeline.pipeline === chosen);
  document.title = `${chosen} · tidegate`;
  tiles(state, all);
  drawCharts(chosen);
  graph(all);
  partitions(all);
  ledger(all);
  others(all);
}

function remember(state) {
  for (const all of state.pipelines || []) {
    const line = points[all.pipeline] ||= [];
    const at = all.taken_us / 1e6;
    if (line.length && line[line.length - 1].at >= at - 0.2) continue;
    const known = all.partitions.filter(partition => partition.lag !== null);
    line.push({
      at, input: all.rates.input, processed: all.rates.processed,
      lag: known.reduce((sum, partition) => sum + partition.lag, 0),
      event_time_lag: all.frontier_us === null ? null : (all.taken_us - all.frontier_us) / 1e6,
      epoch_seconds: all.epochs.seconds.last, checkpoint_seconds: all.epochs.checkpoint_seconds.last,
      late: all.rates.late, rejected: all.rates.rejected,
    });
    if (line.length > KEPT) line.shift();
  }
}

async function history() {
  try {
    const answer = await fetch('/api/v1/history');
    if (answer.ok) points = await answer.json();
  } catch { /* The charts begin empty. */ }
}

// A screen reader says what changes there: only changes are written.
const told = text => { if (byId('connection').textContent !== text) byId('connection').textContent = text; };

function listen() {
  const events = new EventSource('/api/v1/events');
  events.addEventListener('open', () => { told(paused ? 'paused' : 'live'); history(); });
  events.addEventListener('error', () => told('the connection is lost; trying again'));
  events.addEventListener('state', event => {
    const state = JSON.parse(event.data);
    remember(state);
    if (paused) return;
    newest = state;
    told('live');
    render();
  });
}

byId('pause').addEventListener('click', () => {
  paused = !paused;
  byId('pause').setAttribute('aria-pressed', paused);
  byId('pause').textContent = paused ? 'Go on' : 'Pause';
  told(paused ? 'paused' : 'live');
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { forgetCharts(); render(); });
let width = innerWidth;
addEventListener('resize', () => {
  if (innerWidth === width) return;
  width = innerWidth;
  charts.forEach(chart => chart.setSize({ width: Math.max(200, chart.figure.clientWidth - 18), height: 170 }));
});
listen();
