import { expect, type Locator, type Page, test } from '@playwright/test';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { ended, root, token } from './environment';
import { PanelOnPage, pictures, tellPanel } from './panel';

const bin = join(root, '.venv', 'bin');
const build = `import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path; from nvml.sim import build; build(Path(sys.argv[2]))`;
const freePort = 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])';

/** A JupyterLab whose NVIDIA driver is the C library of the Python tests; its state is a file. */
class LabOnDriver {
  private readonly home = mkdtempSync(join(tmpdir(), 'swangpu-driver-'));
  private readonly port = execFileSync(join(bin, 'python'), ['-c', freePort]).toString().trim();
  private process: ChildProcess | null = null;

  state(text: string): void {
    writeFileSync(join(this.home, 'new'), `${text}\n`);
    renameSync(join(this.home, 'new'), join(this.home, 'state'));
  }

  /** Start it; `foreign` in a PID namespace of its own, as a container does. */
  start(library: boolean, foreign = false, ...more: string[]): void {
    const libraries = mkdtempSync(join(this.home, 'lib-'));
    if (library) {
      execFileSync(join(bin, 'python'), ['-c', build, join(root, 'tests'), libraries]);
    }
    const options = ['lab', '--no-browser', '--allow-root', `--port=${this.port}`, `--ServerApp.root_dir=${this.home}`,
      `--IdentityProvider.token=${token}`, '--ServerApp.jpserver_extensions=swangpu.server=True', ...more];
    const [program, ...args] = [...(foreign ? otherNamespace() : []), join(bin, 'jupyter'), ...options] as [string, ...string[]];
    this.process = spawn(program, args, {
      env: { ...process.env, HOME: this.home, XDG_RUNTIME_DIR: this.home, PATH: [bin, process.env.PATH].join(':'),
        SWANGPU_NVML_SIM: join(this.home, 'state'), LD_LIBRARY_PATH: libraries, DYLD_LIBRARY_PATH: libraries },
      stdio: 'ignore'
    });
  }

  /** A session on a flavor, held by a command with these processes. */
  async hold(page: Page, flavor: string, pid?: number): Promise<void> {
    const call = async (path: string, data: object): Promise<{ id: string }> => {
      const headers = { Authorization: `token ${token}` };
      const answer = await page.request.post(`http://127.0.0.1:${this.port}/swangpu/api/v1/${path}`, { data, headers });
      expect(answer.ok(), await answer.text()).toBe(true);
      return (await answer.json()) as { id: string };
    };
    const options = pid === undefined ? {} : { pid: String(pid) };
    const { id } = await call('sessions', { kind: 'job', flavor, purpose: flavor, options });
    await call(`sessions/${id}/claim`, {});
  }

  async open(page: Page): Promise<PanelOnPage> {
    const url = `http://127.0.0.1:${this.port}`;
    await expect
      .poll(async () => (await page.request.get(`${url}/api/status`).catch(() => null))?.status(), { timeout: 60_000 })
      .toBe(200);
    await page.goto(`${url}/lab?token=${token}`);
    const panel = new PanelOnPage(page);
    await page.locator('.lm-TabBar-tab[data-id="swangpu-panel"]').waitFor({ timeout: 40_000 });
    await panel.open();
    return panel;
  }

  async stop(): Promise<void> {
    if (this.process?.exitCode === null) {
      // By a call: unshare does not pass signals on.
      const url = `http://127.0.0.1:${this.port}/api/shutdown`;
      void fetch(url, { method: 'POST', headers: { Authorization: `token ${token}` } }).catch(() => undefined);
      await ended(this.process);
    }
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** What starts a program in a PID namespace of its own; nothing where we are in one already. */
function otherNamespace(): string[] {
  const asked = 'from swangpu.telemetry.pids import in_host_pid_namespace as f; print(f())';
  const program = ['/usr/bin/unshare', '/bin/unshare'].find(existsSync);
  test.skip(program === undefined && !process.env.CI, 'nothing here makes a PID namespace');
  const unshare = [program ?? 'unshare', '--user', '--map-root-user', '--pid', '--fork', '--kill-child'];
  return execFileSync(join(bin, 'python'), ['-c', asked]).toString().trim() === 'True' ? unshare : [];
}

const EIGHT = ['gpus 8', ...Array.from({ length: 8 }, (_, n) => `gpu.${n}.name NVIDIA A100-SXM4-40GB\ngpu.${n}.memory_mib 40960`)];
const TWO_CUT = [...EIGHT, 'gpu.2.mig 7 1g.5gb 4864', 'gpu.5.mig 7 1g.5gb 4864'];

let lab: LabOnDriver;

test.beforeEach(() => {
  lab = new LabOnDriver();
});

test.afterEach(tellPanel);
test.afterEach(async () => lab.stop());

test('without the driver\'s library the panel says so, and what helps', async ({ page }) => {
  lab.start(false);
  const panel = await lab.open(page);
  await expect(panel.root).toContainText('No NVIDIA driver here (libnvidia-ml not found).');
  await panel.root.getByRole('button', { name: 'What can I do about This machine?' }).click();
  await expect(panel.root).toContainText('install the driver');
  await expect(panel.root).toContainText('No GPU can be had from here now.');
  await expect(panel.root).not.toContainText('Other pools work');
  await panel.expectAccessible();
  await panel.picture('library-missing');
});

test('a driver that is not loaded is said; once it is loaded, the GPUs are there', async ({ page }) => {
  lab.state('gpus 2\nfail nvmlInitWithFlags 9');
  lab.start(true);
  const panel = await lab.open(page);
  await expect(panel.root).toContainText('The NVIDIA driver is not loaded.');
  await panel.root.getByRole('button', { name: 'What can I do about This machine?' }).click();
  await expect(panel.root).toContainText('modprobe nvidia');
  await panel.expectAccessible();
  await panel.picture('driver-not-loaded');
  lab.state('gpus 2');
  await expect(panel.root).toContainText('2 free', { timeout: 40_000 });
  lab.state('gpus 2\ngpu.1.lost 1');
  await expect(panel.root).toContainText('GPU 1 does not answer now.', { timeout: 40_000 });
  await panel.expectAccessible();
  await panel.picture('device-lost');
  lab.state('gpus 2');
  await expect(panel.root).not.toContainText('does not answer now', { timeout: 40_000 });
  await expect(panel.root).toContainText('2 free');
  await panel.picture('device-back');
});

test('eight GPUs of which two are cut in seven; a hanging call and a missing permission are said, each of its GPU', async ({ page }) => {
  const seen = { timeout: 40_000 };
  lab.state(TWO_CUT.join('\n'));
  lab.start(true);
  const panel = await lab.open(page);
  const counts = panel.root.getByRole('list', { name: 'GPUs of This machine' }).getByRole('listitem');
  await expect(counts.filter({ hasText: 'A100 slice, 5 GB' })).toContainText('14 free');
  await expect(counts.filter({ hasText: 'A100 whole' })).toContainText('6 free');
  await panel.expectAccessible();
  await panel.picture('mig');

  lab.state([...TWO_CUT, 'gpu.3.hang nvmlDeviceGetMemoryInfo_v2 10'].join('\n'));
  await expect(panel.root).toContainText('GPU 3 does not answer now.', seen);
  await expect(counts.filter({ hasText: 'A100 whole' })).toContainText('5 free');
  await panel.picture('call-hangs');
  await panel.button('Open the GPU Monitor').click();
  const monitor = page.locator('.jp-GpuMonitor:visible');
  const silent = monitor.getByRole('listitem').filter({ hasText: 'GPU 3 ·' });
  await expect(silent).toContainText(/has not answered since \d/, seen);
  // also once what was read of it before is shown
  await expect(silent.getByRole('img')).toHaveAccessibleName(/percent, .* on average.*has not answered since \d/, seen);
  await expect(silent).toContainText(/has not answered since \d/);
  await monitor.screenshot({ path: join(pictures, 'monitor-silent.png') });
  lab.state(TWO_CUT.join('\n'));
  await expect(panel.root).not.toContainText('does not answer now', seen);
  await expect(counts.filter({ hasText: 'A100 whole' })).toContainText('6 free');

  lab.state([...TWO_CUT, 'gpu.1.fail * 4'].join('\n'));
  await expect(panel.root).toContainText('GPU 1 may not be used by this account.', seen);
  await expect(panel.root.getByText('Ask for access to /dev/nvidia*.')).toHaveText(
    'GPU 1 may not be used by this account. Ask for access to /dev/nvidia*.'
  );
  await panel.expectAccessible();
  await panel.picture('no-permission');
});

test('an account that may not use the driver at all is told so', async ({ page }) => {
  lab.state('gpus 2\nfail nvmlInitWithFlags 4');
  lab.start(true);
  const panel = await lab.open(page);
  await expect(panel.root).toContainText('This account may not use the NVIDIA driver.');
  await panel.root.getByRole('button', { name: 'What can I do about This machine?' }).click();
  await expect(panel.root).toContainText('Ask for access to /dev/nvidia*.');
});

test('in a container, what others compute is not visible and counts as taken', async ({ page }) => {
  lab.state([...TWO_CUT, 'gpu.0.proc 3999999 100', 'gpu.2.proc 3999999 100 3'].join('\n'));
  lab.start(true, true);
  const panel = await lab.open(page);
  await expect(panel.root).toContainText('Processes on GPU 0, GPU 2 are not visible from here');
  const counts = panel.root.getByRole('list', { name: 'GPUs of This machine' }).getByRole('listitem');
  await expect(counts.filter({ hasText: 'A100 whole' })).toContainText('1 used outside');
  await panel.expectAccessible();
  await panel.picture('processes-not-visible');
});

test('how busy a slice is: known with GPM, said to be unknown without, and on a time-slice that of one\'s own processes', async ({ page }) => {
  const worker = spawn('sleep', ['300'], { env: { PATH: '/usr/bin:/bin' } });
  const stranger = spawn('sleep', ['300'], { env: { PATH: '/usr/bin:/bin' } });
  try {
    const devices = [
      'gpus 3',
      'gpu.0.name NVIDIA H100\ngpu.0.memory_mib 81920\ngpu.0.mig 7 1g.10gb 9984\ngpu.0.sm 33',
      'gpu.1.name NVIDIA A100-SXM4-40GB\ngpu.1.memory_mib 40960\ngpu.1.mig 7 1g.5gb 4864',
      'gpu.2.util 60'
    ];
    lab.state(devices.join('\n'));
    lab.start(true, false, '--SwanGpu.slices_per_model={"T4": 4}');
    const panel = await lab.open(page);
    await lab.hold(page, 'h100-80gb/1g.10gb');
    await lab.hold(page, 'a100-40gb/1g.5gb');
    await lab.hold(page, 't4/time-4', worker.pid);
    lab.state([...devices, `gpu.2.proc ${worker.pid} 2000`, `gpu.2.proc ${stranger.pid} 3000`].join('\n'));
    const card = (flavor: string): Locator => panel.sessionOf(flavor);
    await expect(card('h100-80gb/1g.10gb')).toContainText('SM activity 33 %', { timeout: 30_000 });
    await expect(card('h100-80gb/1g.10gb')).toContainText('100 % busy');
    await expect(card('a100-40gb/1g.5gb')).toContainText('busy: not available on this slice');
    await expect(card('t4/time-4')).toContainText('30 % busy');
    await expect(card('t4/time-4')).toContainText(/2\.1\sof\s4\sGB/);
    await panel.expectAccessible();
    await panel.picture('slices');
  } finally {
    worker.kill();
    stranger.kill();
  }
});
