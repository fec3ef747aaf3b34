import { expect, test } from '@jupyterlab/galata';

import { LabWithRules } from './lab';
import { buttonsOf, compute, newNotebook, output, PanelOnPage, Rest, SLICE, start, tellPanel, toasts } from './panel';

const WHOLE = 'A100 whole, 40 GB';

/** As an operator sets them, but for how short the times are. Of the whole A100 all is cem's group's, and lent. */
const RULES = {
  slices_per_model: { T4: 1 },
  warn_s: [20],
  claim_window_s: 60,
  reclaim: 'enforce',
  idle_pause_s: 3,
  quota_notice_s: 12,
  groups: {
    atlas: { members: ['ann'], quotas: { 'a100-40gb': { nominal: 0, borrow: 1 } } },
    cms: { members: ['cem'], quotas: { 'a100-40gb': 1 } }
  }
};

const lab = new LabWithRules('ann');
const job = { kind: 'job' as const, flavor: SLICE };

test.use({ baseURL: lab.url, storageState: lab.login });

/** What is less than a minute from being set aside is not given away: ann has it before the operator sets these. */
test.beforeAll(async () => {
  test.setTimeout(240_000);
  const asked = Date.now();
  await lab.start(RULES);
  const start_s = (Date.now() - asked) / 1000;
  await lab.startKernel('school.ipynb');
  await lab.asking(async context => {
    const ann = new Rest(context, lab.url);
    await ann.ask({ flavor: 't4', attach: { path: 'school.ipynb' } });
    await ann.claim(await ann.ask({ ...job, purpose: 'night.py' }));
    const states = async (): Promise<string[]> => (await ann.sessions()).map(({ state }) => state);
    await expect.poll(states, { timeout: 40_000 }).toEqual(['active', 'active']);
  });
  await lab.stop();
  // far enough for a server and a page to start on this machine, and for a look at it
  const begin = Date.now() / 1000 + 25 + 2 * start_s;
  await lab.start({
    ...RULES,
    reservations: [
      { title: 'GPU school', start: begin, end: begin + 600, flavor: 't4', count: 2, users: ['eva'] },
      { title: 'Driver update', start: begin, end: begin + 18, flavor: SLICE, count: 3 }
    ]
  });
});

test.afterAll(async () => lab.remove());

test.afterEach(tellPanel);

test('reservations, maintenance and whose it is end leases, say so before, and are over', async ({
  page,
  request,
  tmpPath
}) => {
  test.setTimeout(240_000);
  const panel = new PanelOnPage(page);
  const school = panel.sessionOf('school.ipynb');
  const night = panel.sessionOf('night.py');
  const again = panel.sessionOf('again.py');
  await panel.open();

  await test.step('the panel says until when and why; who asks waits, and is told for what', async () => {
    await expect(school).toContainText(/Ends in \d+\s(s|min): set aside for GPU school/);
    await expect(night).toContainText(/Ends in \d+\s(s|min): set aside for Driver update/);
    await expect(school.getByRole('button', { name: /^Extend/ })).toHaveCount(0);
    await expect(school.getByRole('button', { name: /^Release/ })).toBeVisible();
    await new Rest(request, lab.url).ask({ ...job, purpose: 'again.py' });
    await again.getByRole('button', { name: /^Why/ }).click();
    await expect(again).toContainText('All of A100 slice, 10 GB are in use or set aside for Driver update; you are next.');
    await expect(again).toContainText(/Set aside, .*\d\d:\d\d to .*\d\d:\d\d: Driver update/);
    await panel.see(again, 'rules-set-aside');
    const warning = 'it is set aside for GPU school from then on.';
    await expect(buttonsOf(toasts(page, warning))).toHaveText(['Release'], { timeout: 30_000 });
    await panel.see(school, 'rules-set-aside-soon');
  });

  await test.step('what a group has lent, another borrows', async () => {
    await newNotebook(page, tmpPath, 'fit.ipynb');
    await panel.get(WHOLE, 'fit.ipynb');
    await start(page, compute(120));
    await expect(panel.status).toContainText(/A100 whole, 40.GB · \d+ % busy/, { timeout: 30_000 });
  });

  await test.step('when it is wanted back it goes back, though a cell computes', async () => {
    const cem = new Rest(request, lab.url, 'cem');
    await cem.ask({ kind: 'job', flavor: 'a100-40gb', purpose: 'theirs' });
    const lent = panel.sessionOf(WHOLE);
    const wanted = toasts(page, /\(fit\.ipynb\) was lent to your group and is wanted back: it goes back at .*\d\d:\d\d\./);
    await expect(buttonsOf(wanted)).toHaveText(['Release']);
    await expect(lent).toContainText(/Ends in \d+\ss: lent, and wanted back/);
    await expect(lent.getByRole('button', { name: /^Extend/ })).toHaveCount(0);
    await panel.see(lent, 'rules-lent');
    await expect(lent).toContainText('It was lent to your group and was wanted back.', { timeout: 40_000 });
    await expect(wanted).toHaveCount(0);
    await expect(panel.status).toContainText('No GPU');
    await expect.poll(async () => output(page), { timeout: 30_000 }).toContain('KeyboardInterrupt');
    await expect.poll(async () => (await cem.sessions()).map(({ state }) => state)).toEqual(['ready']);
    await panel.see(lent, 'rules-returned');
  });

  await test.step('who holds what is set aside has given way', async () => {
    await expect(school).toContainText('It is set aside for GPU school from now on.', { timeout: 60_000 });
    await expect(night).toContainText('It is set aside for Driver update from now on.', { timeout: 60_000 });
    await expect(toasts(page, 'from then on')).toHaveCount(0);
  });

  await test.step('maintenance is over, and who waited is served', async () => {
    await expect(again).toContainText('Ready for you', { timeout: 60_000 });
    await expect(buttonsOf(toasts(page, '(again.py) is ready for you.'))).toHaveText(['Start', 'Release']);
    await page.sidebar.setWidth(281, 'left');
    for (const theme of ['Dark', 'Light']) {
      await page.theme.setTheme(`JupyterLab ${theme}`);
      await panel.see(again, `rules-over-${theme.toLowerCase()}`);
    }
  });
});
