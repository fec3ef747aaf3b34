import { expect, type Page, test } from '@playwright/test';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { root, token } from './environment';
import { PanelOnPage } from './panel';

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

  start(library: boolean): void {
    const libraries = mkdtempSync(join(this.home, 'lib-'));
    if (library) {
      execFileSync(join(bin, 'python'), ['-c', build, join(root, 'tests'), libraries]);
    }
    const options = ['lab', '--no-browser', '--allow-root', `--port=${this.port}`, `--ServerApp.root_dir=${this.home}`,
      `--IdentityProvider.token=${token}`, '--ServerApp.jpserver_extensions=swangpu.server=True'];
    this.process = spawn(join(bin, 'jupyter'), options, {
      env: { ...process.env, HOME: this.home, XDG_RUNTIME_DIR: this.home, PATH: [bin, process.env.PATH].join(':'),
        SWANGPU_NVML_SIM: join(this.home, 'state'), LD_LIBRARY_PATH: libraries, DYLD_LIBRARY_PATH: libraries },
      stdio: 'ignore'
    });
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
      this.process.kill('SIGTERM');
      await once(this.process, 'exit');
    }
    rmSync(this.home, { recursive: true, force: true });
  }
}

let lab: LabOnDriver;

test.beforeEach(() => {
  lab = new LabOnDriver();
});

test.afterEach(async () => lab.stop());

test('without the driver\'s library the panel says so, and what helps', async ({ page }) => {
  lab.start(false);
  const panel = await lab.open(page);
  await expect(panel.root).toContainText('No NVIDIA driver here (libnvidia-ml not found).');
  await panel.root.getByRole('button', { name: 'What can I do about This machine?' }).click();
  await expect(panel.root).toContainText('install the driver');
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
});
