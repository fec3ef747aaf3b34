import { expect, test } from '@jupyterlab/galata';

import { COMPUTE, newNotebook, output, PanelOnPage, Rest, SLICE_TITLE, start, tellPanel } from './panel';

test.afterEach(tellPanel);

test('without a notebook the panel says what to do next', async ({ page }) => {
  const panel = new PanelOnPage(page);
  await panel.open();
  await expect(panel.root).toContainText('No notebook is in front.');
  await expect(panel.root).toContainText('Nothing yet.');
  await expect(panel.root.getByRole('heading', { level: 2 })).toHaveText(['This notebook', 'My sessions', 'Site']);
  await panel.expectAccessible();
});

test('it can be read in the dark and at 280 px', async ({ page, request, tmpPath }) => {
  const panel = new PanelOnPage(page);
  await panel.open();
  await page.sidebar.setWidth(281, 'left');
  await newNotebook(page, tmpPath, 'train.ipynb');
  await panel.get(SLICE_TITLE, 'train.ipynb');
  await start(page, COMPUTE);
  await expect(panel.sessions.first()).toContainText(/([5-9]\d|100) % busy/, { timeout: 20_000 });
  await newNotebook(page, tmpPath, 'fit.ipynb');
  await expect(panel.root.locator('.jp-Gpu-offer').first()).toBeVisible();
  for (const theme of ['Light', 'Dark']) {
    await page.theme.setTheme(`JupyterLab ${theme}`);
    await panel.expectAccessible();
    await panel.picture(`panel-${theme.toLowerCase()}`);
    await panel.picture(`lab-${theme.toLowerCase()}`, true);
    const wider = await panel.root.evaluate(node => node.scrollWidth > node.clientWidth);
    expect(wider).toBe(false);
  }
  await page.theme.setLightTheme();
  await new Rest(request).releaseAll();
});

test('it can be used with the keyboard alone', async ({ page, request, tmpPath }) => {
  const panel = new PanelOnPage(page);
  await newNotebook(page, tmpPath, 'keys.ipynb');
  await page.keyboard.press('ControlOrMeta+Shift+c');
  await page.keyboard.type('get a gpu for this');
  await expect(page.locator('#modal-command-palette').getByText('Get a GPU for This Notebook')).toBeVisible();
  await page.keyboard.press('Enter');
  await expect(panel.root.getByLabel('GPU memory needed at least')).toBeFocused();
  await expect(panel.button(/^Get A100 slice, 10 GB/)).toBeVisible();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  await expect(panel.button(/^Get A100 slice, 10 GB/)).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(panel.root.getByRole('group', { name: 'Get A100 slice, 10 GB' })).toBeFocused();
  await page.keyboard.press('Escape');
  await expect(panel.button(/^Get A100 slice, 10 GB/)).toBeFocused();
  expect(await new Rest(request).sessions()).toEqual([]);

  // What has the focus goes away with each of these steps; the keyboard stays where the next one is.
  await page.keyboard.press('Enter');
  await expect(panel.root.getByRole('group', { name: 'Get A100 slice, 10 GB' })).toBeFocused();
  await page.keyboard.press('Tab');
  const get = panel.root.getByRole('button', { name: 'Get', exact: true });
  await expect(get).toBeFocused();
  await expect(get).toHaveAttribute('aria-disabled', 'false');
  await page.keyboard.press('Enter');
  const release = panel.root.getByRole('button', { name: /^Release/ });
  await expect(release).toBeVisible({ timeout: 30_000 });
  await expect(panel.root.locator(':focus')).toHaveCount(1);
  await release.focus();
  await page.keyboard.press('Enter');
  await expect(panel.root.getByRole('button', { name: /^Undo/ })).toBeFocused();
  await new Rest(request).releaseAll();
});

test('the command palette brings the keyboard to the panel, whatever the notebook does', async ({ page, tmpPath }) => {
  const panel = new PanelOnPage(page);
  await newNotebook(page, tmpPath, 'alive.ipynb');
  // Its output grows and shrinks all the time, and the notebook wants the keyboard for its cell.
  await start(
    page,
    'import time\nfrom IPython.display import clear_output\nfor n in range(3000):\n    clear_output(wait=True)\n' +
      '    print("\\n" * (20 * (n % 5)), n)\n    time.sleep(0.02)'
  );
  await expect.poll(() => output(page)).toMatch(/\d/);
  const first = panel.root.locator('.jp-Gpu-action, select, button').first();
  const showPanel = async (): Promise<void> => {
    await page.keyboard.press('ControlOrMeta+Shift+c');
    await page.keyboard.type('show gpu panel');
    await expect(page.locator('#modal-command-palette').getByText('Show GPU Panel')).toBeVisible();
    await page.keyboard.press('Enter');
    await expect(first).toBeFocused();
    await page.keyboard.press('Tab');
    await expect(panel.root.locator(':focus')).toHaveCount(1);
    await expect(first).not.toBeFocused();
  };
  await page.notebook.selectCells(0);
  await showPanel();

  await test.step('also when it is in sight already, and a cell is being edited', async () => {
    await page.notebook.enterCellEditingMode(0);
    await showPanel();
  });
});

test('seven tabs share one stream', async ({ page, context }) => {
  const panel = new PanelOnPage(page);
  await panel.open();
  const opened: string[] = [];
  context.on('request', asked => {
    if (asked.url().includes('/stream')) {
      opened.push(asked.url());
    }
  });
  for (let n = 0; n < 6; n++) {
    const tab = await context.newPage();
    await tab.goto(`/lab/workspaces/tab-${n}`);
    await expect(tab.locator('.lm-TabBar-tab[data-id="swangpu-panel"]')).toBeVisible({ timeout: 40_000 });
  }
  const last = new PanelOnPage(context.pages().at(-1) ?? page);
  await last.open();
  await expect(last.root).toContainText('data 0 s old', { timeout: 20_000 });
  expect(opened.length).toBeLessThan(4);
});
