import { expect, test } from '@jupyterlab/galata';

import { compute, newNotebook, output, PanelOnPage, Rest, start, tellPanel } from './panel';

/** The demo has one of these. */
const WHOLE = 'A100 whole, 40 GB';

test.describe.configure({ mode: 'serial' });

test.afterEach(tellPanel);
test.afterEach(async ({ request }) => new Rest(request).releaseAll());

test('two notebooks take turns on one GPU, and nothing is lost', async ({ page, request, tmpPath }) => {
  test.setTimeout(300_000);
  const panel = new PanelOnPage(page);
  const rest = new Rest(request);
  await newNotebook(page, tmpPath, 'fit.ipynb');
  await panel.open();
  await panel.get(WHOLE, 'fit.ipynb');
  await start(page, 'numbers = [1, 2, 3]; alias = numbers; numbers');
  await expect.poll(async () => output(page)).toContain('[1, 2, 3]');
  const fit = panel.sessionOf('fit.ipynb');
  const gan = panel.sessionOf('gan.ipynb');

  await test.step('the second asks, and the idle first gives way with its variables kept', async () => {
    await newNotebook(page, tmpPath, 'gan.ipynb');
    const offer = panel.root.locator('.jp-Gpu-offer', { hasText: WHOLE });
    await expect(offer).not.toContainText('free now', { timeout: 20_000 });
    await offer.getByRole('button').click();
    await panel.root.getByRole('group').getByRole('button', { name: /^Get/ }).first().click();
    await expect(gan).toContainText('Next in the queue');
    await expect(fit).toContainText('Paused, variables kept', { timeout: 60_000 });
    await expect(gan).toContainText('Ready for you', { timeout: 30_000 });
    await gan.getByRole('button', { name: /^Start/ }).click();
    await expect(gan.getByRole('button', { name: /^Extend/ })).toBeVisible({ timeout: 40_000 });
    await panel.expectAccessible();
    await panel.picture('panel-paused');
  });

  await test.step('the first\'s next cell waits, is in the queue, and can be stopped', async () => {
    await start(page, compute(40));
    await page.notebook.activate('fit.ipynb');
    await start(page, 'alias.append(4); sum(numbers)');
    // the first words make place for the queue's as soon as those are known
    await expect.poll(async () => output(page)).toMatch(/Getting your GPU back|Waiting for a GPU/);
    await expect(fit).toContainText('A cell waits: Next in the queue', { timeout: 20_000 });
    await expect(fit.getByRole('button', { name: /^Resume/ })).toHaveCount(0);
    await panel.expectAccessible();
    await panel.picture('panel-waits');
    await rest.interrupt('fit.ipynb');
    await expect.poll(async () => output(page)).toContain('KeyboardInterrupt');
    await expect(fit).not.toContainText('A cell waits', { timeout: 20_000 });
  });

  await test.step('it gets the GPU back when the second is idle, and everything is there', async () => {
    await start(page, 'alias.append(5); sum(numbers)');
    await expect(fit).toContainText('A cell waits', { timeout: 20_000 });
    await expect.poll(async () => output(page), { timeout: 120_000 }).toMatch(/^\s*11\s*$/);
    await expect(gan).toContainText('Paused, variables kept');
    await expect(fit.getByRole('button', { name: /^Extend/ })).toBeVisible();
    await panel.picture('turns', true);
  });
});
