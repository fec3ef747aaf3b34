import { describe, expect, it } from 'vitest';

import type { Explanation, Notice } from './_wire';
import { flavor, offer, pool, sample, session, words } from './testing';

const { format } = words;
/** Without regard to which spaces may break. */
const plain = (text: string): string => text.replaceAll('\u00a0', ' ');

describe('numbers', () => {
  it.each([
    [3.2e9, '3.2 GB'],
    [10e9, '10 GB'],
    [0, '0 GB'],
    [9.98e9, '10 GB'],
    [42.9e9, '43 GB']
  ])('memory %d', (bytes, said) => expect(plain(format.memory(bytes))).toBe(said));

  it.each([
    [45, '45 s'],
    [-3, '0 s'],
    [840, '14 min'],
    [3600, '1 h'],
    [5400, '1 h 30 min'],
    [86400, '24 h'],
    [3 * 86400, '3 days']
  ])('duration %d', (seconds, said) => expect(plain(format.duration(seconds))).toBe(said));

  it('counts down by minutes, then by tens of seconds', () => {
    expect([541, 61, 59, 11, 1].map(s => plain(format.left(s)))).toEqual(['10 min', '2 min', '60 s', '20 s', '10 s']);
  });

  it.each([
    [1, '1st'],
    [2, '2nd'],
    [3, '3rd'],
    [11, '11th'],
    [22, '22nd']
  ])('ordinal %d', (n, said) => expect(format.ordinal(n)).toBe(said));

  it('shortens lists', () => {
    expect(format.list(['conn', 'gen'])).toBe('conn and gen');
    expect(format.list(['a', 'b', 'c', 'd', 'e'])).toBe('a, b, c and 2 more');
  });

  it('names the day of what is not today', () => {
    const noon = new Date(2026, 4, 4, 12).getTime() / 1000;
    expect(format.clock(noon + 3600, noon)).toBe('13:00');
    expect(format.clock(noon + 86400, noon)).toBe('Tue 12:00');
  });
});

describe('offers', () => {
  it('says what is free, of how many', () => {
    expect(words.offer(offer())).toEqual({ free: true, availability: 'free now', rest: '3 of 14' });
  });

  it('gives the price', () => {
    expect(words.offer(offer({ total: 1, free: 1, cost_per_hour: 0.7, currency: 'EUR' })).rest).toBe('€0.70 an hour');
  });

  it('does not call free what others in the queue get first', () => {
    const said = words.offer(offer({ free: 1, estimate: { p50_s: 840, p90_s: 3000, basis: 'history' } }));
    expect(said.free).toBe(false);
    expect(plain(said.availability)).toBe('usually 14 min, 9 of 10 under 50 min');
  });

  it('says that it does not know', () => {
    expect(words.offer(offer({ free: 0, estimate: null })).availability).toBe('all in use, waiting time not known');
  });
});

describe('sessions', () => {
  it('says the place in the queue', () => {
    const queued = session({
      state: 'queued',
      queue_position: 2,
      queue_length: 5,
      estimate: { p50_s: 840, p90_s: 840, basis: 'lease_ends' }
    });
    expect(plain(words.state(queued, 1000))).toBe('2nd of 5 in the queue · at the latest in 14 min');
    expect(words.place(session({ queue_position: 1, queue_length: 1 }))).toBe('Next in the queue');
  });

  it('counts down what is ready', () => {
    const ready = session({ state: 'ready', claim_by: 1600, actions: ['claim'] });
    expect(plain(words.state(ready, 1000))).toBe('Ready for you, held for 10 min');
  });

  it('counts down to an end that is near, and names what comes then', () => {
    const noon = new Date(2026, 4, 4, 12).getTime() / 1000;
    expect(words.ends({ at: noon + 3600, cause: 'lease', title: null }, noon)).toBe('Ends 13:00: end of lease');
    const near = { at: noon + 540, cause: 'reservation' as const, title: 'GPU school' };
    expect(plain(words.ends(near, noon))).toBe('Ends in 9 min: set aside for GPU school');
  });

  it('says that variables are kept', () => {
    expect(words.state(session({ state: 'paused' }), 1000)).toContain('Paused, variables kept');
  });

  it('says why a pause did not give the GPU away', () => {
    const text = 'It needs 12 GB of host memory, and 4 GB are left for paused sessions.';
    const held = { code: 'paused_held', params: { why: 'no_room' }, text };
    expect(words.state(session({ state: 'paused', reason: held }), 1000)).toBe(text);
    const plainly = { code: 'paused_held', params: {}, text: 'x' };
    expect(words.state(session({ state: 'paused', reason: plainly }), 1000)).toBe('Paused; its GPU is kept for it.');
    expect(words.state(session({ reason: { code: 'no_room', params: {}, text } }), 1000)).toBe(text);
    expect(words.state(session({ reason: { code: 'not_carried', params: {}, text } }), 1000)).toBe(text);
  });

  it('says what a paused session has left on its GPU', () => {
    const text = 'Paused, variables kept. 30 GB of it stay on the GPU: jax.';
    const reason = { code: 'paused_partly', params: {}, text };
    expect(words.state(session({ state: 'paused', reason }), 1000)).toBe(text);
  });

  it('says once why a session has ended, and not that its lease was over when it was cut short', () => {
    const ended = (end_reason: 'expired' | 'unclaimed', code: string, params = {}): string[] => {
      const one = session({ state: 'ended', end_reason, reason: { code, params, text: 'x' } });
      return [words.state(one, 1000), words.whyEnded(one)];
    };
    expect(ended('expired', 'lease_ended')).toEqual(['Ended: the lease was over', '']);
    expect(ended('unclaimed', 'unclaimed')).toEqual(['Ended: it was not started in time', '']);
    expect(ended('expired', 'reserved', { event: 'GPU school' })).toEqual([
      'Ended',
      'It is set aside for GPU school from now on.'
    ]);
    expect(ended('expired', 'called_back')).toEqual(['Ended', 'It was lent to your group and was wanted back.']);
  });

  it('mentions idleness after a while only', () => {
    expect(words.state(session({ idle_since: 950 }), 1000)).toBe('');
    expect(plain(words.state(session({ idle_since: 280 }), 1000))).toBe('Idle for 12 min');
  });

  it('says why a number is missing', () => {
    const none = sample({ utilization_percent: null, missing: { utilization_percent: 'not_supported' } });
    expect(plain(words.use(none))).toBe('busy: not available on this slice · 3.2 of 10 GB');
    const shared = sample({ utilization_percent: null, missing: { utilization_percent: 'shared' } });
    expect(plain(words.use(shared))).toMatch(/^busy: not told apart from the others on this GPU/);
    expect(plain(words.use(sample({ sm_activity_percent: 33 })))).toBe('71 % busy · SM activity 33 % · 3.2 of 10 GB');
    expect(plain(words.use(sample()))).toBe('71 % busy · 3.2 of 10 GB');
  });
});

describe('the site', () => {
  it('leaves out what there is none of, but not the free ones', () => {
    expect(words.counts(flavor())).toBe('5 busy · 9 held idle · 2 free');
    expect(words.counts(flavor({ busy: 0, free: 0, queued: 2 }))).toBe('9 held idle · none free · 2 wait');
  });
});

describe('the order of the queue', () => {
  const said = (group: string | null, over: number): Explanation => ({
    session_id: 's1',
    reason: { code: 'in_queue', params: { position: 2, group_over: over }, text: 'x' },
    queue_position: 2,
    queue_length: 3,
    ahead: [],
    estimate: null,
    candidates: [],
    next_free_at: [],
    priority: 'interactive',
    held_device_s: 0,
    group,
    group_held_device_s: group === null ? null : 7200,
    group_weight: 1,
    half_life_s: 86400,
    quotas: [],
    reservations: []
  });

  it('tells a group, or a person without one, that others come first', () => {
    expect(words.order(said('atlas', 0), 0)).toEqual(['Group atlas: 2.0 GPU-hours lately']);
    expect(words.order(said('atlas', 1), 0)).toEqual(['Group atlas: 2.0 GPU-hours lately, more than its share']);
    expect(words.order(said(null, 1), 0)).toEqual(['Others have held less than you lately, and go first']);
    expect(words.order(said(null, 0), 0)).toEqual([]);
  });
});

describe('reasons', () => {
  it('translates the codes that it knows', () => {
    const reason = { code: 'in_queue', params: { position: 3, title: 'T4' }, text: 'x' };
    expect(words.reason(reason)).toBe('3rd in the queue for T4.');
    const next = { code: 'all_held', params: { position: 1, title: 'T4', reserved: 'GPU school' }, text: 'x' };
    expect(words.reason(next)).toBe('All of T4 are in use or set aside for GPU school; you are next.');
  });

  it('say since when a GPU is silent', () => {
    const since = new Date();
    since.setHours(0, 2, 0, 0);
    const said = { code: 'device_silent', params: { since: since.getTime() / 1000 }, text: 'x' };
    expect(words.reason(said)).toBe('It has not answered since 00:02: the driver takes too long.');
  });

  it('names the session in a notification, which stands alone, and not on its card', () => {
    const params = { title: 'T4 quarter', used_bytes: 9e9, limit_bytes: 4e9 };
    const said = { code: 'over_share', params, text: 'x' };
    expect(plain(words.reason(said))).toMatch(/^It uses 9 GB of GPU memory, and its share is 4 GB\./);
    const notice = { ...said, id: 'n', at: 0, level: 'warning' as const, session_id: 's1', actions: [] };
    expect(plain(words.notice(notice))).toMatch(/^T4 quarter: It uses 9 GB/);
  });

  it('says when and for what a GPU goes back by the clock: a notification is read at any time', () => {
    const at = new Date(2026, 4, 4, 12).getTime() / 1000;
    const said = (code: string, params: Notice['params']): string =>
      words.notice({ id: 'n', at, code, level: 'warning', text: 'x', params, session_id: 's1', actions: [] }, 'fit.ipynb');
    const soon = { title: 'T4', left_s: 600, event: 'GPU school' };
    expect(said('lease_ends', { ...soon, cause: 'lease' })).toBe('T4 (fit.ipynb) goes back at 12:10: its lease ends.');
    expect(said('lease_ends', { ...soon, cause: 'reservation' })).toBe(
      'T4 (fit.ipynb) goes back at 12:10: it is set aside for GPU school from then on.'
    );
    const idle = 'T4 (fit.ipynb) has been idle for 30 min, and somebody waits for it. It goes back at 12:05.';
    expect(said('idle_ends', { title: 'T4', minutes: 30, ends_at: at + 300 })).toBe(idle);
    expect(said('called_back', soon)).toBe(
      'T4 (fit.ipynb) was lent to your group and is wanted back: it goes back at 12:10.'
    );
    expect(said('lease_ended', { title: 'T4', cause: 'reservation', event: 'GPU school' })).toBe(
      'T4 (fit.ipynb) goes back: it is set aside for GPU school from now on.'
    );
  });

  it('says that what was not started in time went to somebody only where somebody waited', () => {
    const said = (wanted: number): string => words.reason({ code: 'unclaimed', params: { wanted }, text: 'x' });
    expect(said(1)).toBe('It was not started in time and went to the next in the queue.');
    expect(said(0)).toBe('It was not started in time and went back.');
  });

  it('translates what is wrong with a whole pool, and leaves to the server what names devices', () => {
    const reason = { code: 'no_permission', params: {}, text: 'GPU 1 may not be used by this account.' };
    expect(words.away(pool({ reason, available: true }))).toBe(reason.text);
    expect(words.away(pool({ reason, available: false }))).toBe('This account may not use the NVIDIA driver.');
  });

  it('says on the card of an idle session too when it goes back', () => {
    const ends_at = new Date(2026, 4, 4, 12, 5).getTime() / 1000;
    const said = { code: 'idle_ends', params: { title: 'T4', minutes: 30, ends_at }, text: 'x' };
    expect(words.reason(said)).toBe('T4 has been idle for 30 min, and somebody waits for it. It goes back at 12:05.');
  });

  it('says that less would do', () => {
    const params = { runs: 5, notebook: 'fit.ipynb', peak_bytes: 3.1e9, title: 'A100 slice, 5 GB', margin_percent: 20 };
    expect(plain(words.reason({ code: 'smaller_fits', params, text: 'x' }))).toBe(
      'The last 5 profiled runs of fit.ipynb peaked at 3.1 GB: A100 slice, 5 GB fits with 20 % to spare and is free now.'
    );
  });

  it('takes the words of the server for the others', () => {
    expect(words.reason({ code: 'of_tomorrow', params: {}, text: 'Because.' })).toBe('Because.');
  });

  it('tells a session that could not start from one that could not go on', () => {
    const failed = { state: 'ended' as const, end_reason: 'failed' };
    expect(words.state(session({ ...failed, started_at: null }), 0)).toBe('It could not be started');
    expect(words.state(session({ ...failed, started_at: 1 }), 0)).toBe('Ended: it could not go on');
  });
});
