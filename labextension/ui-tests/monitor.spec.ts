import AxeBuilder from '@axe-core/playwright';
import { expect, type IJupyterLabPageFixture, test } from '@jupyterlab/galata';
import type { Locator } from '@playwright/test';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { results } from './environment';
import { COMPUTE, newNotebook, PanelOnPage, Rest, SLICE_TITLE, start, tellPanel } from './panel';

const pictures = process.env.SWANGPU_SCREENSHOTS ?? join(results, 'screens');

/** The Monitor as a person sees it. */
class MonitorOnPage {
  readonly root: Locator;
  readonly time: Locator;

  constructor(readonly page: IJupyterLabPageFixture) {
    this.root = page.locator('.jp-GpuMonitor:visible');
    this.time = this.root.getByRole('slider', { name: 'Time shown' });
  }

  async open(): Promise<void> {
    const panel = new PanelOnPage(this.page);
    await panel.open();
    await panel.button('Open the GPU Monitor').click();
    await expect(this.root).toBeVisible();
  }

  list(name: string): Locator {
    return this.root.getByRole('list', { name });
  }

  row(name: RegExp): Locator {
    return this.root.getByRole('listitem').filter({ has: this.page.getByRole('button', { name }) });
  }

  button(name: string): Locator {
    return this.root.getByRole('button', { name, exact: true });
  }

  async shown(): Promise<string> {
    return (await this.time.getAttribute('aria-valuetext')) ?? '';
  }

  async picture(name: string): Promise<void> {
    mkdirSync(pictures, { recursive: true });
    await this.root.screenshot({ path: join(pictures, `${name}.png`) });
  }

  async expectAccessible(): Promise<void> {
    const { violations } = await new AxeBuilder({ page: this.page }).include('.jp-GpuMonitor').analyze();
    const found = violations.map(v => `${v.id}: ${v.nodes.map(n => `${n.html} ${n.failureSummary ?? ''}`).join('; ')}`);
    expect(found).toEqual([]);
  }

  /** How many colours a strip has where something is known, and whether anything is. */
  async painted(row: Locator): Promise<{ known: number; unknown: number }> {
    return row.locator('canvas').first().evaluate(node => {
      const canvas = node as HTMLCanvasElement;
      const data = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, 1).data ?? [];
      let known = 0;
      for (let at = 3; at < data.length; at += 4) {
        known += data[at] === 255 ? 1 : 0;
      }
      return { known, unknown: canvas.width - known };
    });
  }
}

test.describe.configure({ mode: 'serial' });

test.afterEach(tellPanel);
test.afterEach(async ({ request }) => new Rest(request).releaseAll());

test('devices and my session over time', async ({ page, request, tmpPath }) => {
  test.setTimeout(240_000);
  const panel = new PanelOnPage(page);
  const monitor = new MonitorOnPage(page);
  await newNotebook(page, tmpPath, 'train.ipynb');
  await panel.open();
  await panel.get(SLICE_TITLE, 'train.ipynb');
  await start(page, COMPUTE);
  await monitor.open();

  await test.step('every device and slice has a row, and so has my session', async () => {
    const devices = (await new Rest(request).devices()).items;
    const count = devices.length + devices.flatMap(device => device.mig_devices).length;
    const first = monitor.list('GPUs').getByRole('listitem').first();
    await expect(first).toHaveAttribute('aria-setsize', String(count));
    await expect(first).toContainText('GPU 0');
    await expect(monitor.root).toContainText('simulated');
    const mine = monitor.list('My sessions').getByRole('listitem');
    await expect(mine).toHaveCount(1);
    await expect(mine).toContainText('train.ipynb');
    await expect(mine).toContainText(/([5-9]\d|100) % busy/, { timeout: 30_000 });
    await expect.poll(async () => (await monitor.painted(mine)).known).toBeGreaterThan(0);
  });

  await test.step('the table of processes names my notebook', async () => {
    const table = monitor.root.getByRole('table', { name: 'Processes' });
    await expect(table.getByRole('row').filter({ hasText: 'train.ipynb' }).first()).toContainText('GB', { timeout: 20_000 });
  });

  await test.step('what is not known is hatched, with its reason, and not drawn as 0', async () => {
    const device = monitor.list('GPUs').getByRole('listitem').first();
    await expect(device.getByRole('img').first()).toHaveAttribute('aria-label', /Not known for|not known\./);
    expect((await monitor.painted(device)).unknown).toBeGreaterThan(0);
    await expect(monitor.root).toContainText('not known');
  });

  await test.step('an open row has charts with the same in words', async () => {
    const mine = monitor.list('My sessions').getByRole('listitem');
    await mine.getByRole('button').click();
    await expect(mine.getByRole('button')).toHaveAttribute('aria-expanded', 'true');
    await expect(mine.getByRole('figure')).toHaveCount(3);
    await expect(mine.getByRole('img', { name: /^Busy: between/ })).toBeVisible();
    await expect(mine.getByRole('img', { name: /^Memory: .*GB/ })).toBeVisible();
    await monitor.root.getByLabel('How much time is shown').selectOption({ label: '5\u00a0min' });
    await expect(monitor.time).toHaveAttribute('aria-valuetext', /^Live, the last 5/);
    await monitor.expectAccessible();
  });

  await test.step('pictures in light and dark', async () => {
    for (const theme of ['Light', 'Dark']) {
      await page.theme.setTheme(`JupyterLab ${theme}`);
      await expect(monitor.root).toHaveClass(theme === 'Dark' ? /jp-mod-dark/ : /^((?!jp-mod-dark).)*$/);
      await monitor.expectAccessible();
      await monitor.picture(`monitor-${theme.toLowerCase()}`);
    }
    await page.theme.setLightTheme();
  });

  await test.step('and at 280 px', async () => {
    await page.addStyleTag({ content: '.jp-GpuMonitor { max-width: 280px; }' });
    await expect(monitor.root).toHaveClass(/jp-mod-narrow/);
    await monitor.expectAccessible();
    await monitor.picture('monitor-narrow');
    const wider = await monitor.root.evaluate(node => node.scrollWidth > node.clientWidth);
    expect(wider).toBe(false);
  });
});

test('time is moved, zoomed, held and saved', async ({ page, request, tmpPath }) => {
  test.setTimeout(180_000);
  const panel = new PanelOnPage(page);
  const monitor = new MonitorOnPage(page);
  await newNotebook(page, tmpPath, 'held.ipynb');
  await panel.open();
  await panel.get(SLICE_TITLE, 'held.ipynb');
  await start(page, COMPUTE);
  await monitor.open();
  await expect(monitor.list('GPUs').getByRole('listitem').first()).toContainText('busy', { timeout: 30_000 });
  const live = monitor.button('Live');
  await expect(live).toHaveAttribute('aria-pressed', 'true');

  await test.step('the keyboard alone zooms and moves', async () => {
    await monitor.time.focus();
    await page.keyboard.press('+');
    await expect(monitor.time).toHaveAttribute('aria-valuetext', /^Live, the last 30/);
    await page.keyboard.press('ArrowLeft');
    await expect(live).toHaveAttribute('aria-pressed', 'false');
    const there = await monitor.shown();
    await page.keyboard.press('ArrowLeft');
    await expect.poll(() => monitor.shown()).not.toBe(there);
    await page.keyboard.press('End');
    await expect(live).toHaveAttribute('aria-pressed', 'true');
    // Each list is one stop.
    await page.keyboard.press('Tab');
    await expect(monitor.list('My sessions').getByRole('button').first()).toBeFocused();
    await page.keyboard.press('Tab');
    await expect(monitor.list('GPUs').getByRole('button').first()).toBeFocused();
    await page.keyboard.press('ArrowDown');
    await expect(monitor.list('GPUs').getByRole('button').nth(1)).toBeFocused();
    await page.keyboard.press('Enter');
    await expect(monitor.list('GPUs').getByRole('button').nth(1)).toHaveAttribute('aria-expanded', 'true');
  });

  await test.step('so do the wheel and the pointer', async () => {
    const { x = 0, y = 0, width = 0 } = (await monitor.time.boundingBox()) ?? {};
    await page.mouse.move(x + width / 2, y + 8);
    await page.mouse.wheel(0, 400);
    await expect(monitor.time).not.toHaveAttribute('aria-valuetext', /^Live, the last 30/);
    await expect(live).toHaveAttribute('aria-pressed', 'true');
    await page.mouse.down();
    await page.mouse.move(x + width * 0.8, y + 8, { steps: 5 });
    await page.mouse.up();
    await expect(live).toHaveAttribute('aria-pressed', 'false');
  });

  await test.step('held, it stays where it is', async () => {
    await live.click();
    await expect(live).toHaveAttribute('aria-pressed', 'true');
    await live.click();
    await expect(live).toHaveAttribute('aria-pressed', 'false');
    // The numbers go on meanwhile: what computed stops, and is seen to.
    const heard = await monitor.list('GPUs').textContent();
    const held = await monitor.time.getAttribute('aria-valuenow');
    const marks = await monitor.time.innerText();
    await new Rest(request).releaseAll();
    await expect.poll(() => monitor.list('GPUs').textContent(), { timeout: 30_000 }).not.toBe(heard);
    expect(await monitor.time.innerText()).toBe(marks);
    expect(Math.abs(Number(await monitor.time.getAttribute('aria-valuenow')) - Number(held))).toBeLessThanOrEqual(60);
  });

  await test.step('what is shown can be saved', async () => {
    const download = page.waitForEvent('download');
    await monitor.button('Save what is shown as CSV').click();
    const file = await download;
    expect(file.suggestedFilename()).toMatch(/^gpu-monitor-\d{8}T\d{4}-\d{8}T\d{4}\.csv$/);
    const lines = readFileSync(await file.path(), 'utf-8').trimEnd().split('\r\n');
    expect(lines[0]).toContain('unix_s,interval_s,kind,id,title,utilization_percent');
    expect(lines.slice(1).some(line => line.includes(',device,'))).toBe(true);
  });
});

test('it opens from the launcher and comes back when the page is loaded again', async ({ page }) => {
  const monitor = new MonitorOnPage(page);
  const saved = page.waitForRequest(
    asked => asked.url().includes('/api/workspaces') && (asked.postData() ?? '').includes('swangpu-monitor')
  );
  await page.locator('.jp-LauncherCard:visible', { hasText: 'GPU Monitor' }).click();
  await expect(monitor.list('GPUs').getByRole('listitem').first()).toContainText('GPU 0');
  await saved;
  await page.evaluate(() => window.location.reload());
  await expect(monitor.list('GPUs').getByRole('listitem').first()).toContainText('GPU 0', { timeout: 60_000 });
});
