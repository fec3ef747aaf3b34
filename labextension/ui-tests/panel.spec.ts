import { expect, test } from '@jupyterlab/galata';

test('the panel opens from its icon', async ({ page }) => {
  await page.sidebar.openTab('swangpu-panel');
  await expect(page.locator('#swangpu-panel')).toBeVisible();
  await page.screenshot({ path: 'ui-tests/test-results/smoke.png' });
});
