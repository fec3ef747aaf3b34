import { type APIRequestContext, expect, request } from '@playwright/test';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

import { ended, forGalata, freePort, root, token } from './environment';

const bin = join(root, '.venv', 'bin');

/** A JupyterLab on a simulated fleet that several people use, with rules of its own; it can be started again with others. */
export class LabWithRules {
  readonly url: string;
  /** The cookie of the person in the browser, who is the server's owner. */
  readonly login: string;
  private readonly home = join(tmpdir(), `swangpu-rules-${randomUUID()}`);
  private readonly port = freePort();
  private process: ChildProcess | null = null;

  constructor(private readonly owner: string) {
    this.url = `http://127.0.0.1:${this.port}`;
    this.login = join(this.home, 'login.json');
  }

  /** Settings are traits of `SwanGpu`. */
  async start(settings: Record<string, string | number | object>): Promise<void> {
    const config = join(this.home, 'config');
    mkdirSync(config, { recursive: true, mode: 0o700 });
    writeFileSync(join(config, 'jupyter_server_config.json'), JSON.stringify({ SwanGpu: settings }));
    const options = ['lab', '--no-browser', '--allow-root', `--port=${this.port}`, '--ServerApp.port_retries=0',
      `--ServerApp.root_dir=${this.home}`,
      `--IdentityProvider.token=${token}`, '--ServerApp.jpserver_extensions={"swangpu.server": False, "people": True}',
      '--SwanGpu.simulated=True', ...forGalata];
    this.process = spawn(join(bin, 'jupyter'), options, {
      env: {
        ...process.env,
        HOME: this.home,
        JUPYTER_CONFIG_DIR: config,
        XDG_RUNTIME_DIR: this.home,
        LOGNAME: this.owner,
        PATH: [bin, process.env.PATH, '/usr/bin', '/bin'].join(delimiter),
        PYTHONPATH: [process.env.PYTHONPATH, __dirname].filter(Boolean).join(delimiter)
      },
      stdio: process.env.SWANGPU_UI_LOG ? 'inherit' : 'ignore'
    });
    await this.asking(async context => {
      await expect
        .poll(async () => (await context.get(`/lab?token=${token}`).catch(() => null))?.status(), { timeout: 120_000 })
        .toBe(200);
      await context.storageState({ path: this.login });
    });
  }

  /** A notebook's kernel, started where no browser is open. */
  async startKernel(path: string): Promise<void> {
    await this.asking(async context => {
      const data = { path, name: path, type: 'notebook', kernel: { name: 'python3' } };
      const answer = await context.post('/api/sessions', { data });
      expect(answer.ok(), await answer.text()).toBe(true);
    });
  }

  /** Ask this server without a browser. */
  async asking(work: (context: APIRequestContext) => Promise<void>): Promise<void> {
    const context = await request.newContext({
      baseURL: this.url,
      extraHTTPHeaders: { Authorization: `token ${token}` },
      storageState: { cookies: [], origins: [] }
    });
    try {
      await work(context);
    } finally {
      await context.dispose();
    }
  }

  /** As a site does it: kernels on GPUs stay. */
  async stop(): Promise<void> {
    if (this.process?.exitCode === null) {
      this.process.kill('SIGTERM');
      await ended(this.process);
    }
  }

  /** Stop it and whatever runs on it. */
  async remove(): Promise<void> {
    if (this.process?.exitCode === null) {
      await this.asking(async context => {
        const kernels = (await (await context.get('/api/kernels')).json()) as { id: string }[];
        await Promise.all(kernels.map(({ id }) => context.delete(`/api/kernels/${id}`)));
      });
    }
    await this.stop();
    rmSync(this.home, { recursive: true, force: true });
  }
}
