// What the Monitor costs a browser: 64 devices, an hour at one reading a second, streaming and being moved.
//
//   make bench-monitor            ten minutes
//   DURATION_S=60 make bench-monitor     a short run, which is not recorded
//
// JupyterLab comes from `swangpu demo`; the devices, their history and their stream are synthetic and made in the page
// (fleet.js): the browser is measured, not the server. Prints a table and writes benchmarks/results/monitor.json.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { cpus, platform, release, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '..', '..');
const require = createRequire(join(root, 'labextension', 'package.json'));
const { chromium } = require('@playwright/test');

const DURATION_S = Number(process.env.DURATION_S ?? 600);
const VIEWPORT = { width: 1600, height: 1000 };
const OPENINGS = 5;
const TOKEN = 'bench';

function freePort() {
  return new Promise(done => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

async function until(check, what, timeoutMs = 60_000) {
  const end = Date.now() + timeoutMs;
  while (Date.now() < end) {
    if (await check().catch(() => false)) {
      return;
    }
    await new Promise(done => setTimeout(done, 200));
  }
  throw new Error(`${what} did not come within ${timeoutMs / 1000} s.`);
}

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
}

async function heapMb(session) {
  await session.send('HeapProfiler.collectGarbage');
  const { usedSize } = await session.send('Runtime.getHeapUsage');
  return usedSize / 1e6;
}

/** From the command to the first frame in which all strips in sight have their colours. */
function open(page) {
  return page.evaluate(
    () =>
      new Promise(done => {
        const started = performance.now();
        const look = () => {
          const strips = [...document.querySelectorAll('.jp-GpuMonitor-row canvas')];
          const painted = strips.filter(canvas => {
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, 1);
            return data.some((value, at) => at % 4 === 3 && value === 255);
          });
          if (strips.length > 10 && painted.length === strips.length) {
            requestAnimationFrame(() => done(performance.now() - started));
          } else {
            requestAnimationFrame(look);
          }
        };
        void window.jupyterapp.commands.execute('swangpu:monitor');
        requestAnimationFrame(look);
      })
  );
}

function close(page) {
  return page.evaluate(() => {
    const widget = [...window.jupyterapp.shell.widgets('main')].find(one => one.id === 'swangpu-monitor');
    widget?.close();
  });
}

/** Times between frames while something goes on. */
async function frames(page, work) {
  await page.evaluate(() => {
    window.__frames = [];
    window.__measuring = true;
    let last = performance.now();
    const step = now => {
      window.__frames.push(now - last);
      last = now;
      if (window.__measuring) {
        requestAnimationFrame(step);
      }
    };
    requestAnimationFrame(step);
  });
  await work();
  return page.evaluate(() => {
    window.__measuring = false;
    return window.__frames.slice(1);
  });
}

/** Moves the time back and forth by dragging, and scrolls and zooms now and then, with real input events. */
async function pan(page, seconds) {
  const box = await page.locator('.jp-GpuMonitor-axis').boundingBox();
  const end = Date.now() + 1000 * seconds;
  for (let turn = 0; Date.now() < end; turn++) {
    const [from, to] = turn % 2 ? [0.8, 0.2] : [0.2, 0.8];
    await page.mouse.move(box.x + from * box.width, box.y + 8);
    await page.mouse.down();
    await page.mouse.move(box.x + to * box.width, box.y + 8, { steps: 40 });
    await page.mouse.up();
    if (turn % 5 === 4) {
      await page.mouse.wheel(0, turn % 2 ? 240 : -240);
      await page.mouse.move(box.x + 0.5 * box.width, box.y + 300);
      await page.mouse.wheel(0, turn % 2 ? 400 : -400);
    }
  }
}

async function measure(page, session) {
  const openings = [];
  for (let turn = 0; turn < OPENINGS; turn++) {
    openings.push(await open(page));
    if (turn < OPENINGS - 1) {
      await close(page);
    }
  }
  const rows = await page.locator('.jp-GpuMonitor-row').count();
  await page.locator('.jp-GpuMonitor-open').nth(1).click();
  const quiet = Math.max(10, DURATION_S / 4);
  const heapAtStart = await heapMb(session);
  const streaming = await frames(page, () => page.waitForTimeout(1000 * quiet));
  const panning = await frames(page, () => pan(page, DURATION_S - quiet));
  await page.getByRole('button', { name: 'Live', exact: true }).click();
  await page.waitForTimeout(2000);
  const heapAtEnd = await heapMb(session);
  const asked = await page.evaluate(() => window.__swangpuAsked);
  return { openings, rows, streaming, panning, heapAtStart, heapAtEnd, asked };
}

function finish({ openings, rows, streaming, panning, heapAtStart, heapAtEnd, asked }, browserVersion) {
  const table = [
    { what: 'first paint, ms', median: quantile(openings, 0.5), p95: quantile(openings, 0.95), n: openings.length },
    { what: 'frame while streaming, ms', median: quantile(streaming, 0.5), p95: quantile(streaming, 0.95), n: streaming.length },
    { what: 'frame while streaming and panning, ms', median: quantile(panning, 0.5), p95: quantile(panning, 0.95), n: panning.length },
    { what: 'heap at start, MB', median: heapAtStart, p95: heapAtStart, n: 1 },
    { what: 'heap at end, MB', median: heapAtEnd, p95: heapAtEnd, n: 1 }
  ];
  const goals = [
    { name: 'first paint, slowest of the openings', value: Math.max(...openings), limit: 500, unit: 'ms' },
    { name: 'p95 frame while streaming and panning', value: quantile(panning, 0.95), limit: 33, unit: 'ms' },
    { name: 'heap, end over start', value: heapAtEnd / heapAtStart, limit: 1.1, unit: 'times' }
  ].map(goal => ({ ...goal, holds: goal.value <= goal.limit }));
  console.table(table.map(row => ({ ...row, median: +row.median.toFixed(1), p95: +row.p95.toFixed(1) })));
  goals.forEach(({ name, value, limit, unit, holds }) =>
    console.log(`${holds ? 'holds' : 'DOES NOT HOLD'}  ${name}: ${value.toFixed(2)} ${unit} (limit ${limit})`)
  );
  const conditions = {
    devices: 64,
    history: 'an hour at one reading a second, synthetic, made in the page',
    rows_in_the_page: rows,
    open_rows: 1,
    duration_s: DURATION_S,
    viewport: VIEWPORT,
    browser: `Chromium ${browserVersion}, headless, without a GPU`,
    history_calls: asked.history,
    history_megabytes: +(asked.bytes / 1e6).toFixed(1)
  };
  const machine = { node: process.version, system: `${platform()} ${release()}`, cpus: cpus().length };
  const short = DURATION_S !== 600;
  const folder = short ? mkdtempSync(join(tmpdir(), 'swangpu-bench-')) : join(root, 'benchmarks', 'results');
  const path = join(folder, 'monitor.json');
  writeFileSync(path, `${JSON.stringify({ benchmark: 'monitor', machine, conditions, rows: table, goals }, null, 1)}\n`);
  console.log(`${short ? 'no record, since DURATION_S is set; ' : ''}written to ${path}`);
}

const home = mkdtempSync(join(tmpdir(), 'swangpu-bench-'));
const port = await freePort();
const server = spawn(
  join(root, '.venv', 'bin', 'swangpu'),
  ['demo', '--no-browser', '--port', String(port), '--token', TOKEN, '--LabApp.expose_app_in_browser=True'],
  {
    cwd: home,
    stdio: 'ignore',
    env: { ...process.env, HOME: home, PATH: `${join(root, '.venv', 'bin')}:${process.env.PATH}` }
  }
);
let browser;
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    server.kill('SIGTERM');
    process.exit(1);
  });
}
try {
  const base = `http://127.0.0.1:${port}`;
  await until(async () => (await fetch(`${base}/api`)).ok, 'The server');
  browser = await chromium.launch({
    executablePath: process.env.SWANGPU_CHROMIUM || undefined,
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run']
  });
  const page = await browser.newPage({ viewport: VIEWPORT });
  await page.addInitScript({ path: join(here, 'fleet.js') });
  await page.goto(`${base}/lab/workspaces/bench?token=${TOKEN}&reset`);
  await until(() => page.evaluate(() => window.jupyterapp?.commands.hasCommand('swangpu:monitor')), 'JupyterLab');
  await page.evaluate(() => window.jupyterapp.restored);
  await page.waitForTimeout(3000);
  const session = await page.context().newCDPSession(page);
  finish(await measure(page, session), browser.version());
} finally {
  await browser?.close();
  server.kill('SIGTERM');
  await new Promise(done => (server.exitCode === null ? server.once('exit', done) : done()));
  rmSync(home, { recursive: true, force: true });
}
