import AxeBuilder from '@axe-core/playwright';
import type { IJupyterLabPageFixture } from '@jupyterlab/galata';
import { type APIRequestContext, expect, type Locator, type Page, type TestInfo } from '@playwright/test';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import type { Devices, Offers, Pools, SessionRequest, Sessions, SessionView } from '../src/_wire';
import { baseURL, results, token } from './environment';

/** Where the pictures go: the README's come from here. */
export const pictures = process.env.SWANGPU_SCREENSHOTS ?? join(results, 'screens');

export const SLICE = 'a100-40gb/2g.10gb';
export const SLICE_TITLE = 'A100 slice, 10 GB';

const notebook = {
  cells: [{ cell_type: 'code', id: 'first', source: '', metadata: {}, outputs: [], execution_count: null }],
  metadata: { kernelspec: { display_name: 'Python 3 (ipykernel)', language: 'python', name: 'python3' } },
  nbformat: 4,
  nbformat_minor: 5
};

/** A notebook, in Python by default, with one empty cell, open and with its kernel ready. */
export async function newNotebook(
  page: IJupyterLabPageFixture,
  folder: string,
  name: string,
  kernelspec: object = notebook.metadata.kernelspec
): Promise<void> {
  const content = { ...notebook, metadata: { kernelspec } };
  await page.contents.uploadContent(JSON.stringify(content), 'text', `${folder}/${name}`);
  await page.evaluate(
    async path => {
      await window.jupyterapp.commands.execute('docmanager:open', { path });
    },
    `${folder}/${name}`
  );
  await expect(page.locator('.jp-NotebookPanel:visible')).toHaveCount(1);
  expect(await page.notebook.activate(name)).toBe(true);
  const indicator = page.locator('.jp-NotebookPanel:visible .jp-Notebook-ExecutionIndicator');
  await expect(indicator).toHaveAttribute('data-status', 'idle', { timeout: 30_000 });
}

/** Keeps the simulated GPU of a kernel busy for a while. */
export const compute = (seconds: number): string =>
  `import time\nend = time.monotonic() + ${seconds}\nwhile time.monotonic() < end:\n    sum(range(10_000))`;
export const COMPUTE = compute(25);

/** Start a cell and do not wait for it. */
export async function start(page: IJupyterLabPageFixture, code: string): Promise<void> {
  const last = (await page.notebook.getCellCount()) - 1;
  await page.notebook.setCell(last, 'code', code);
  await page.notebook.selectCells(last);
  await page.keyboard.press('Control+Enter');
}

/** What a notebook's last cell has shown by now. */
export async function output(page: IJupyterLabPageFixture): Promise<string> {
  const index = (await page.notebook.getCellCount()) - 1;
  return (await page.notebook.getCellTextOutput(index))?.join('') ?? '';
}

/** After each test, before what it has made is taken away: keep what the panel shows if it has failed. */
export async function tellPanel({ page }: { page: Page }, info: TestInfo): Promise<void> {
  if (info.status !== info.expectedStatus) {
    const shown = await page
      .locator('#swangpu-panel')
      .innerText({ timeout: 1000 })
      .catch(() => 'it is not there');
    await info.attach('panel', { body: shown.replace(/\s*\n\s*/g, ' | ') });
  }
}

/** Notifications that say this. */
export const toasts = (page: Page, said: RegExp | string): Locator =>
  page.locator('.Toastify__toast', { hasText: said });

/** What there is to do in a notification; that it can be closed goes without saying. */
export const buttonsOf = (toast: Locator): Locator => toast.locator('.jp-toast-button');

/** The panel as a person sees it. */
export class PanelOnPage {
  readonly root: Locator;
  readonly sessions: Locator;

  constructor(readonly page: Page) {
    this.root = page.locator('#swangpu-panel');
    this.sessions = this.root.locator('.jp-Gpu-session');
  }

  async open(): Promise<void> {
    if (!(await this.root.isVisible())) {
      await this.page.locator('.lm-TabBar-tab[data-id="swangpu-panel"]').click();
    }
    await expect(this.root).toBeVisible();
  }

  button(name: string | RegExp): Locator {
    return this.root.getByRole('button', { name });
  }

  /** Get a share for the notebook in front, and wait until its kernel is on it. */
  async get(title: string, notebook: string): Promise<void> {
    await this.button(`Get ${title} from This machine`).click();
    await this.root.getByRole('group').getByRole('button', { name: /^Get/ }).first().click();
    await expect(this.sessionOf(notebook).getByRole('button', { name: /^Extend/ })).toBeVisible({ timeout: 40_000 });
  }

  /** The status bar's word on the notebook in front. */
  get status(): Locator {
    return this.page.locator('.jp-Gpu-status');
  }

  /** The card of the session of a notebook. */
  sessionOf(notebook: string): Locator {
    return this.sessions.filter({ hasText: notebook });
  }

  async picture(name: string, whole = false): Promise<void> {
    mkdirSync(pictures, { recursive: true });
    const path = join(pictures, `${name}.png`);
    await (whole ? this.page.screenshot({ path }) : this.root.screenshot({ path }));
  }

  /** What axe-core finds nothing in, with a picture of the panel and one of the whole page. */
  async see(card: Locator, name: string): Promise<void> {
    await card.scrollIntoViewIfNeeded();
    await this.expectAccessible();
    await this.picture(name);
    await this.picture(`${name}-page`, true);
  }

  /** axe-core finds nothing in the panel. */
  async expectAccessible(): Promise<void> {
    const { violations } = await new AxeBuilder({ page: this.page }).include('#swangpu-panel').analyze();
    const found = violations.map(v => `${v.id}: ${v.nodes.map(n => `${n.html} ${n.failureSummary ?? ''}`).join('; ')}`);
    expect(found).toEqual([]);
  }
}

/** The same server without the panel: what other people and programs do. */
export class Rest {
  constructor(
    private readonly request: APIRequestContext,
    private readonly url = baseURL,
    /** Who asks, where the server tells people apart. */
    private readonly person: string | null = null
  ) {}

  async sessions(): Promise<SessionView[]> {
    return ((await this.call('GET', 'sessions')) as Sessions).items.filter(s => s.state !== 'ended');
  }

  async free(flavor: string): Promise<number> {
    const pools = (await this.call('GET', 'pools')) as Pools;
    return pools.items.flatMap(p => p.flavors).find(f => f.name === flavor)?.free ?? -1;
  }

  async devices(): Promise<Devices> {
    return (await this.call('GET', 'devices')) as Devices;
  }

  async offers(memoryBytes: number): Promise<Offers> {
    return (await this.call('GET', `offers?memory_bytes=${memoryBytes}`)) as Offers;
  }

  /** Hold everything of a flavor; the ids of what holds it. */
  async fill(flavor: string): Promise<string[]> {
    const ids: string[] = [];
    for (;;) {
      const body = { kind: 'job', flavor, duration_s: 3600, purpose: 'somebody else' };
      const { id, state } = (await this.call('POST', 'sessions', body)) as SessionView;
      if (state === 'queued') {
        await this.release(id);
        return ids;
      }
      await this.claim(id);
      ids.push(id);
    }
  }

  /** Ask for a session; its id. */
  async ask(body: SessionRequest): Promise<string> {
    return ((await this.call('POST', 'sessions', body)) as SessionView).id;
  }

  /** Start what is ready. */
  async claim(id: string): Promise<void> {
    await this.call('POST', `sessions/${id}/claim`, {});
  }

  async release(id: string): Promise<void> {
    await this.call('DELETE', `sessions/${id}`);
  }

  /** Stop the running cell of a notebook, as the button in its toolbar does. */
  async interrupt(name: string): Promise<void> {
    const [kernel] = (await this.sessions()).find(s => s.path?.endsWith(name))?.kernel_ids ?? [];
    const answer = await this.request.post(`${this.url}/api/kernels/${kernel}/interrupt`, {
      headers: { Authorization: `token ${token}` }
    });
    expect(answer.ok(), await answer.text()).toBe(true);
  }

  async releaseAll(): Promise<void> {
    for (const session of await this.sessions()) {
      if (session.actions.includes('release')) {
        await this.release(session.id);
      }
    }
    await expect.poll(async () => (await this.sessions()).length, { timeout: 40_000 }).toBe(0);
  }

  private async call(method: string, path: string, data?: object): Promise<unknown> {
    const response = await this.request.fetch(`${this.url}/swangpu/api/v1/${path}`, {
      method,
      headers: { Authorization: `token ${token}`, ...(this.person === null ? {} : { 'X-Person': this.person }) },
      ...(data ? { data } : {})
    });
    expect(response.ok(), `${method} ${path}: ${await response.text()}`).toBe(true);
    return response.json();
  }
}
