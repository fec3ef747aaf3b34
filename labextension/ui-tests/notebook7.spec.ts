import { expect, test } from '@playwright/test';

import { PanelOnPage, Rest, SLICE_TITLE, tellPanel } from './panel';

const notebook = {
  cells: [],
  metadata: { kernelspec: { display_name: 'Python 3 (ipykernel)', language: 'python', name: 'python3' } },
  nbformat: 4,
  nbformat_minor: 5
};

test.afterEach(tellPanel);

test('the same panel in Notebook 7', async ({ page, request }) => {
  const rest = new Rest(request);
  await request.put('/api/contents/seven.ipynb', { data: { type: 'notebook', content: notebook } });
  await page.goto('/notebooks/seven.ipynb');
  await expect(page.locator('.jp-Notebook')).toBeVisible({ timeout: 60_000 });
  await page.getByRole('menuitem', { name: 'View', exact: true }).click();
  await page.locator('.lm-Menu-item', { hasText: 'Left Sidebar' }).hover();
  await page.locator('.lm-Menu-item', { hasText: 'Show GPUs' }).click();
  const panel = new PanelOnPage(page);
  await expect(panel.root).toBeVisible();
  await expect(panel.root).toContainText('seven.ipynb');
  await panel.button(new RegExp(`^Get ${SLICE_TITLE}`)).click();
  await panel.root.getByRole('group', { name: `Get ${SLICE_TITLE}` }).getByRole('button', { name: /^Get/ }).first().click();
  await expect(panel.sessionOf('seven.ipynb')).toContainText('busy', { timeout: 30_000 });
  await panel.expectAccessible();
  await panel.picture('notebook-7', true);
  await panel.button('Open the GPU Monitor').click();
  const monitor = page.locator('.jp-GpuMonitor:visible');
  await expect(monitor.getByRole('list', { name: 'My sessions' })).toContainText('seven.ipynb', { timeout: 20_000 });
  await panel.picture('notebook-7-monitor', true);
  await rest.releaseAll();
});
