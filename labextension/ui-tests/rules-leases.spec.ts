import { expect, test } from '@jupyterlab/galata';
import type { Locator } from '@playwright/test';

import { LabWithRules } from './lab';
import { buttonsOf, newNotebook, output, PanelOnPage, Rest, start, tellPanel, toasts } from './panel';

const SMALL = 'a100-40gb/1g.5gb';
const T4 = 'T4 whole, 16 GB';
const WHOLE = 'A100 whole, 40 GB';
const BASH = { display_name: 'Bash', language: 'bash', name: 'bash' };

const lab = new LabWithRules('ann');

test.use({ baseURL: lab.url, storageState: lab.login });

/** As an operator sets them, but for how short the times are. */
test.beforeAll(async () => {
  test.setTimeout(180_000);
  await lab.start({
    slices_per_model: { T4: 1 },
    warn_s: [38],
    claim_window_s: 35,
    reclaim: 'enforce',
    idle_pause_s: 3, // who has just got a GPU keeps it for as long
    idle_release_s: 4,
    idle_grace_s: 12
  });
});

test.afterAll(async () => lab.remove());

/** The shortest lease is a minute: what else there is to see is seen while two of them run. */
test.afterEach(tellPanel);

test('leases are warned about, extended and end; what is not started, or idle, goes to others', async ({
  page,
  request,
  tmpPath
}) => {
  test.setTimeout(240_000);
  const panel = new PanelOnPage(page);
  const ann = new Rest(request, lab.url);
  const cem = new Rest(request, lab.url, 'cem');
  const late = panel.sessionOf('late.ipynb');
  const fit = panel.sessionOf('fit.ipynb');
  const gan = panel.sessionOf('gan.ipynb');
  const shell = panel.sessionOf('shell.ipynb');
  const next = panel.sessionOf('train.py');
  const aMinute = async (notebook: string): Promise<void> => {
    const attach = { path: `${tmpPath}/${notebook}`, carry: 'all' as const };
    await ann.ask({ flavor: SMALL, duration_s: 60, attach });
  };
  await panel.open();

  await test.step('two leases of a minute begin', async () => {
    await newNotebook(page, tmpPath, 'late.ipynb');
    await start(page, 'x = 41');
    await aMinute('late.ipynb');
    await newNotebook(page, tmpPath, 'fit.ipynb');
    await aMinute('fit.ipynb');
    for (const card of [late, fit]) {
      await expect(card.getByRole('button', { name: /^Extend/ })).toBeVisible({ timeout: 40_000 });
      await expect(card).toContainText(/Ends in \d+\ss: end of lease/);
    }
  });

  await test.step('whose turn has come is told so, and how long it is held', async () => {
    const [first] = await cem.fill('t4');
    await newNotebook(page, tmpPath, 'gan.ipynb');
    await panel.button(`Get ${T4} from This machine`).click();
    await panel.root.getByRole('group').getByRole('button', { name: /^Get/ }).first().click();
    await expect(gan).toContainText('Next in the queue');
    await ann.ask({ kind: 'job', flavor: 't4', purpose: 'train.py' });
    await expect(next).toContainText('2nd of 2 in the queue');
    await cem.release(first ?? '');
    await expect(gan).toContainText(/Ready for you, held for \d+\ss/);
    await expect(gan.locator('.jp-Gpu-actions').getByRole('button')).toHaveText(['Start', 'Release']);
    await expect(panel.status).toContainText(/T4 whole, 16.GB: Ready for you, held for \d+\ss/);
    await expect(buttonsOf(toasts(page, `${T4} (gan.ipynb) is ready for you.`))).toHaveText(['Start', 'Release']);
    await panel.see(gan, 'rules-ready');
  });

  await test.step('the end of a lease is warned about, and Extend puts it off', async () => {
    const warned = (notebook: string): Locator =>
      toasts(page, new RegExp(`A100 slice, 5.GB \\(${notebook}\\) goes back at .*\\d\\d:\\d\\d: its lease ends\\.`));
    for (const notebook of ['late.ipynb', 'fit.ipynb']) {
      await expect(buttonsOf(warned(notebook))).toHaveText(['Extend', 'Release'], { timeout: 60_000 });
    }
    await panel.see(late, 'rules-warned');
    await fit.getByRole('button', { name: /^Extend/ }).click();
    await expect(fit).toContainText(/Ends .*\d\d:\d\d: end of lease/);
    await expect(warned('fit.ipynb')).toHaveCount(0);
    await expect(warned('late.ipynb')).toBeVisible();
    await expect(late).toContainText(/Ends in \d+\ss: end of lease/);
    await panel.see(fit, 'rules-extended');
  });

  await test.step('the next cell says so too', async () => {
    await page.notebook.activate('late.ipynb');
    await start(page, 'x + 0');
    await expect.poll(async () => output(page)).toMatch(/goes back at .*: its lease ends\. `%gpu extend 1h`[^]*41/);
    await panel.see(late, 'rules-next-cell');
  });

  await test.step('what was not started in time can not be started any more, and is the next one\'s', async () => {
    await expect(gan).toContainText('Ended: it was not started in time', { timeout: 45_000 });
    await expect(gan.getByRole('button', { name: /^Start/ })).toHaveCount(0);
    await expect(next).toContainText(/Ready for you, held for \d+\ss/);
    await expect(toasts(page, '(gan.ipynb) is ready for you')).toHaveCount(0);
    await expect(toasts(page, '(train.py) is ready for you')).toBeVisible();
    await panel.see(gan, 'rules-unclaimed');
  });

  await test.step('who is idle and can not be paused is warned, may stay, and else makes room', async () => {
    await newNotebook(page, tmpPath, 'shell.ipynb', BASH);
    await panel.get(WHOLE, 'shell.ipynb');
    await new Rest(request, lab.url, 'dora').ask({ kind: 'job', flavor: 'a100-40gb', purpose: 'waits' });
    const said = /has been idle for \d+ min, and somebody waits for it\. It goes back at \d\d:\d\d\./;
    const warned = toasts(page, /A100 whole, 40.GB \(shell\.ipynb\) has been idle/);
    await expect(shell).toContainText(said, { timeout: 30_000 });
    await expect(shell).toContainText(/Ends in \d+\ss: idle, and somebody waits/);
    await expect(buttonsOf(warned)).toHaveText(['Extend', 'Release']);
    await buttonsOf(warned).filter({ hasText: 'Extend' }).click();
    await expect(warned).toHaveCount(0);
    await expect(shell).not.toContainText('somebody waits');
    await expect(shell).toContainText(said, { timeout: 30_000 });
    await expect(warned).toBeVisible();
    await panel.see(shell, 'rules-idle');
    await expect(shell).toContainText('Ended: nobody computed on it and others waited', { timeout: 30_000 });
    await expect(warned).toHaveCount(0);
    await expect(panel.status).toContainText('No GPU');
    await panel.see(shell, 'rules-reclaimed');
  });

  await test.step('a lease that was not extended has ended; its notebook goes on without a GPU', async () => {
    await expect(late).toContainText('Ended: the lease was over', { timeout: 60_000 });
    await expect(toasts(page, /\(late\.ipynb\) goes back at/)).toHaveCount(0);
    await expect(fit.getByRole('button', { name: /^Extend/ })).toBeVisible();
    await page.notebook.activate('late.ipynb');
    await expect(panel.status).toContainText('No GPU');
    await start(page, 'x + 1');
    await expect.poll(async () => output(page), { timeout: 30_000 }).toContain('42');
    await panel.see(late, 'rules-expired');
  });
});
