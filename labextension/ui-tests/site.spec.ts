import AxeBuilder from '@axe-core/playwright';
import { expect, test } from '@playwright/test';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { ended, results, root, token } from './environment';
import { PanelOnPage, tellPanel } from './panel';

const bin = join(root, '.venv', 'bin');
const pictures = process.env.SWANGPU_SCREENSHOTS ?? join(results, 'screens');
const freePort = 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])';

const A100 = { UUID: 'GPU-a', gpu: '0', Hostname: 'node-1', modelName: 'NVIDIA A100-PCIE-40GB', namespace: 'swan', pod: 'alice' };
const SLICE = { UUID: 'GPU-m', gpu: '1', Hostname: 'node-1', modelName: 'NVIDIA A100-PCIE-40GB', GPU_I_ID: '1', GPU_I_PROFILE: '1g.5gb' };
const VALUES: [Record<string, string>, string, string][] = [
  [A100, 'DCGM_FI_DEV_GPU_UTIL', '73'],
  [A100, 'DCGM_FI_DEV_FB_USED', '30000'],
  [A100, 'DCGM_FI_DEV_FB_FREE', '10000'],
  [SLICE, 'DCGM_FI_PROF_GR_ENGINE_ACTIVE', '0.25']
];

/** Answers as the site's Prometheus does; every value was scraped 12 s ago. */
function prometheus(): Server {
  return createServer((request, response) => {
    let asked = '';
    request.on('data', (part: Buffer) => (asked += part.toString()));
    request.on('end', () => {
      const now = Date.now() / 1000;
      const isAge = asked.startsWith('query=timestamp');
      const result = VALUES.map(([labels, name, value]) => ({
        metric: isAge ? labels : { ...labels, __name__: name },
        value: [now, isAge ? String(now - 12) : value]
      }));
      const data = request.method === 'POST' ? { resultType: 'vector', result } : [];
      response.end(JSON.stringify({ status: 'success', data }));
    });
  });
}

let home: string;
let lab: ChildProcess;
let url: string;
let site: Server;

test.beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'swangpu-site-'));
  site = prometheus().listen(0, '127.0.0.1');
  await once(site, 'listening');
  const port = execFileSync(join(bin, 'python'), ['-c', freePort]).toString().trim();
  url = `http://127.0.0.1:${port}`;
  const options = ['lab', '--no-browser', '--allow-root', `--port=${port}`, `--ServerApp.root_dir=${home}`,
    `--IdentityProvider.token=${token}`, '--ServerApp.jpserver_extensions=swangpu.server=True', '--SwanGpu.simulated=True',
    `--SwanGpu.prometheus_url=http://127.0.0.1:${(site.address() as AddressInfo).port}`];
  lab = spawn(join(bin, 'jupyter'), options, {
    env: { ...process.env, HOME: home, XDG_RUNTIME_DIR: home, PATH: [bin, process.env.PATH].join(':') },
    stdio: 'ignore'
  });
});

test.afterEach(tellPanel);
test.afterEach(async () => {
  site.closeAllConnections();
  site.close();
  lab.kill('SIGTERM');
  await ended(lab);
  rmSync(home, { recursive: true, force: true });
});

test('the GPUs of other machines are in the Monitor, with host, age and pods, until Prometheus is away', async ({ page }) => {
  test.setTimeout(180_000);
  await expect
    .poll(async () => (await page.request.get(`${url}/api/status`).catch(() => null))?.status(), { timeout: 60_000 })
    .toBe(200);
  await page.goto(`${url}/lab?token=${token}`);
  const panel = new PanelOnPage(page);
  await page.locator('.lm-TabBar-tab[data-id="swangpu-panel"]').waitFor({ timeout: 40_000 });
  await panel.open();
  await panel.button('Open the GPU Monitor').click();
  const monitor = page.locator('.jp-GpuMonitor:visible');
  const rows = monitor.getByRole('list', { name: 'GPUs' }).getByRole('listitem');
  await monitor.locator('.jp-GpuMonitor-rows').evaluate(node => node.scrollTo(0, node.scrollHeight));
  const whole = rows.filter({ hasText: 'node-1' }).filter({ hasText: 'held by 1 pod' });
  await expect(whole).toContainText('73 % busy', { timeout: 30_000 });
  await expect(whole).toContainText(/data \d+\ss old/);
  await expect(rows.filter({ hasText: '1g.5gb' }).filter({ hasText: 'no pod holds it' })).toContainText('25 % busy');
  await expect(whole).not.toContainText('alice');

  await whole.getByRole('button').click();
  await expect(whole).toContainText('power: not in the metrics of its exporter');
  const { violations } = await new AxeBuilder({ page }).include('.jp-GpuMonitor').analyze();
  expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join('; ')}`)).toEqual([]);
  mkdirSync(pictures, { recursive: true });
  await monitor.screenshot({ path: join(pictures, 'site.png') });

  site.closeAllConnections();
  site.close();
  await expect(monitor).toContainText("The site's other GPUs can't be seen: its Prometheus does not answer.", {
    timeout: 90_000
  });
  await expect(rows.first()).toContainText(/\d W/); // this machine's own go on
  await monitor.screenshot({ path: join(pictures, 'site-away.png') });
});
