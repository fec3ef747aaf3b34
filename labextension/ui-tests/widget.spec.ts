import { expect, type IJupyterLabPageFixture, test } from '@jupyterlab/galata';
import type { Locator } from '@playwright/test';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { results } from './environment';
import { newNotebook, PanelOnPage, Rest, SLICE_TITLE, tellPanel } from './panel';

const pictures = process.env.SWANGPU_SCREENSHOTS ?? join(results, 'screens');

async function shown(page: IJupyterLabPageFixture, code: string): Promise<Locator> {
  const last = (await page.notebook.getCellCount()) - 1;
  await page.notebook.setCell(last, 'code', code);
  await page.notebook.runCell(last);
  const view = page.locator('.jp-OutputArea-output .jp-GpuMonitor').last();
  await expect(view).toBeVisible({ timeout: 30_000 });
  return view;
}

test.afterEach(tellPanel);
test.afterEach(async ({ request }) => new Rest(request).releaseAll());

test('the Monitor in a notebook has the same charts, live', async ({ page, tmpPath }) => {
  await newNotebook(page, tmpPath, 'watch.ipynb');
  const view = await shown(page, 'import swangpu; swangpu.Monitor()');
  const rows = view.getByRole('list', { name: 'GPUs' }).getByRole('listitem');
  await expect(rows.first()).toContainText('GPU 0', { timeout: 20_000 });
  await expect(rows.first()).toContainText(/of\s40\sGB/, { timeout: 20_000 });
  await rows.first().getByRole('button').click();
  await expect(rows.first().getByRole('img', { name: /^Memory: .*GB/ })).toBeVisible({ timeout: 20_000 });
  await view.getByRole('button', { name: 'Zoom out' }).click();
  await expect(view.getByRole('slider')).toHaveAttribute('aria-valuetext', /^Live, the last 2.h/);
  mkdirSync(pictures, { recursive: true });
  await view.screenshot({ path: join(pictures, 'widget.png') });
});

test('%gpu watch shows the session of the notebook, also while a cell runs', async ({ page, tmpPath }) => {
  const panel = new PanelOnPage(page);
  await newNotebook(page, tmpPath, 'train.ipynb');
  await panel.open();
  await panel.get(SLICE_TITLE, 'train.ipynb');
  const view = await shown(page, '%gpu watch');
  const row = view.getByRole('list', { name: 'My sessions' }).getByRole('listitem');
  await expect(row).toContainText(SLICE_TITLE, { timeout: 20_000 });
  await expect(row.getByRole('figure')).toHaveCount(3);
  await expect(view.getByRole('list', { name: 'GPUs' })).toHaveCount(0);
  await page.notebook.addCell(
    'code',
    'import time\nend = time.monotonic() + 20\nwhile time.monotonic() < end:\n    sum(range(10_000))'
  );
  await page.notebook.selectCells((await page.notebook.getCellCount()) - 1);
  await page.keyboard.press('Control+Enter');
  await expect(row).toContainText(/([5-9]\d|100) % busy/, { timeout: 18_000 });
  await view.screenshot({ path: join(pictures, 'widget-watch.png') });
});
