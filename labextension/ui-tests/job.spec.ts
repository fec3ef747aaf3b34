import { expect, type IJupyterLabPageFixture, test } from '@jupyterlab/galata';

import { compute, newNotebook, PanelOnPage, Rest, SLICE, SLICE_TITLE, start, tellPanel } from './panel';

const WHERE = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])";

/** What the last cell printed after it has run. */
async function printed(page: IJupyterLabPageFixture, code: string): Promise<string> {
  const index = (await page.notebook.getCellCount()) - 1;
  await page.notebook.setCell(index, 'code', code);
  await page.notebook.runCell(index);
  return (await page.notebook.getCellTextOutput(index))?.join('').trim() ?? '';
}

test.describe.configure({ mode: 'serial' });

test.afterEach(tellPanel);
test.afterEach(async ({ request }) => new Rest(request).releaseAll());

test('the whole job: see, get, compute, queue, start, give back', async ({ page, request, tmpPath }) => {
  test.setTimeout(240_000);
  const panel = new PanelOnPage(page);
  const rest = new Rest(request);
  await newNotebook(page, tmpPath, 'fit.ipynb');
  await page.notebook.save();
  const file = async (): Promise<unknown> => {
    const answer = await request.get(`/api/contents/${tmpPath}/fit.ipynb`);
    return ((await answer.json()) as { content: { metadata: { kernelspec: unknown } } }).content.metadata.kernelspec;
  };
  const kernelspec = await file();
  await panel.open();

  await test.step('the panel shows where a GPU can be had', async () => {
    const free = await rest.free(SLICE);
    expect(free).toBeGreaterThan(1);
    await expect(panel.root.locator('.jp-Gpu-offer').first()).toContainText(SLICE_TITLE);
    await expect(panel.root.locator('.jp-Gpu-offer').first()).toContainText('free now');
    await expect(panel.root).toContainText('simulated');
    await panel.expectAccessible();
    await panel.picture('panel-offers');
  });

  await test.step('Get says first what happens to the kernel', async () => {
    await printed(page, 'x = 1; gen = (i for i in range(3))');
    await panel.button(`Get ${SLICE_TITLE} from This machine`).click();
    const card = panel.root.getByRole('group', { name: `Get ${SLICE_TITLE}` });
    await expect(card).toContainText('The kernel restarts on the GPU.');
    await expect(card).toContainText('gen');
    await panel.expectAccessible();
    await panel.picture('panel-get');
    await card.getByRole('button', { name: 'Get, carry them' }).click();
  });

  const mine = panel.sessionOf('fit.ipynb');
  await test.step('the kernel runs on the share, with its variables', async () => {
    await expect(mine.getByRole('button', { name: `Release ${SLICE_TITLE}` })).toBeVisible({ timeout: 40_000 });
    await expect(mine).toContainText(/Ends (\w+ )?\d\d:\d\d: end of lease/, { timeout: 40_000 });
    const [session] = await rest.sessions();
    const [share] = session?.shares ?? [];
    expect(await printed(page, WHERE)).toBe(share?.mig_uuid ?? share?.device_uuid);
    expect(await printed(page, 'print(x)')).toBe('1');
  });

  await test.step('a computing cell is seen in the panel', async () => {
    // for longer than this test: an idle session gives way to who waits, as `sharing.spec.ts` shows
    await start(page, compute(200));
    await expect(mine).toContainText(/([2-9]\d|100) % busy/, { timeout: 20_000 });
    await expect(mine.getByRole('img')).toHaveAttribute('aria-label', /Busy over the last 5 minutes/);
    await panel.expectAccessible();
    await panel.picture('panel-session');
  });

  await test.step('more than there is: queued with a place, ready on release, started', async () => {
    // The simulated people leave at each quarter of an hour, and what they leave would serve who is to wait here.
    const left_s = 900 - ((Date.now() / 1000) % 900);
    if (left_s < 60) {
      await page.waitForTimeout(1000 * (left_s + 5));
    }
    const others = await rest.fill(SLICE);
    await newNotebook(page, tmpPath, 'gan.ipynb');
    const offer = panel.root.locator('.jp-Gpu-offer', { hasText: SLICE_TITLE });
    await expect(offer).not.toContainText('free now', { timeout: 20_000 });
    await offer.getByRole('button').click();
    const card = panel.root.getByRole('group', { name: `Get ${SLICE_TITLE}` });
    await expect(card).toContainText('You are told when your turn has come');
    await card.getByRole('button', { name: /^Get/ }).first().click();
    const second = panel.sessionOf('gan.ipynb');
    await expect(second).toContainText('Next in the queue');
    await second.getByRole('button', { name: /^Why/ }).click();
    await expect(second).toContainText('none free');
    await panel.expectAccessible();
    await panel.picture('panel-queued');

    await rest.release(others[0] ?? '');
    await expect(page.getByText(/is ready for you/).first()).toBeVisible({ timeout: 30_000 });
    await expect(second).toContainText('Ready for you');
    await panel.picture('ready', true);
    await second.getByRole('button', { name: /^Start/ }).click();
    await expect(second.getByRole('button', { name: /^Extend/ })).toBeVisible({ timeout: 40_000 });
    const held = (await rest.sessions()).find(s => s.path?.endsWith('gan.ipynb'))?.shares[0];
    expect(await printed(page, WHERE)).toBe(held?.mig_uuid ?? held?.device_uuid);
    for (const id of others.slice(1)) {
      await rest.release(id);
    }
  });

  await test.step('release can be undone, and brings the count back', async () => {
    const second = panel.sessionOf('gan.ipynb');
    await rest.interrupt('fit.ipynb');
    await second.getByRole('button', { name: /^Release/ }).click();
    await second.getByRole('button', { name: /^Undo/ }).click();
    await expect(second.getByRole('button', { name: /^Extend/ })).toBeVisible();
    await second.getByRole('button', { name: /^Release/ }).click();
    await mine.getByRole('button', { name: /^Release/ }).click();
    await expect(panel.root).toContainText('Nothing yet.', { timeout: 40_000 });
    const free = await rest.free(SLICE);
    expect(free).toBeGreaterThan(1);
    await expect(panel.root.locator('.jp-Gpu-offer').first()).toContainText('free now', { timeout: 20_000 });
    await expect(panel.root.locator('.jp-Gpu-offer').first()).toContainText(/\d of 3/);
  });

  await test.step('the saved notebook knows nothing of all this', async () => {
    await page.notebook.activate('fit.ipynb');
    await page.notebook.save();
    expect(await file()).toEqual(kernelspec);
  });
});
