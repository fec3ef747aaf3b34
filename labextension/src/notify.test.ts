import { Notification } from '@jupyterlab/apputils';
import { beforeEach, describe, expect, it, vi } from 'vitest';

import type { Notice, SessionView } from './_wire';
import type { Actions } from './actions';
import { Model } from './model';
import { Notifier } from './notify';
import { session, words } from './testing';

vi.mock('@jupyterlab/apputils', () => ({ Notification: { emit: vi.fn(), dismiss: vi.fn() } }));

const emit = vi.mocked(Notification.emit);
const dismiss = vi.mocked(Notification.dismiss);
const NOW = 10_000;
/** As the broker tells each of them. */
const PARAMS: Record<string, Notice['params']> = {
  lease_ends: { left_s: 600, cause: 'lease', event: 'an event' },
  called_back: { left_s: 900 },
  idle_ends: { minutes: 10, ends_at: NOW + 300 },
  idle_wanted: { minutes: 10 }
};

function notice(code: string, change: Partial<Notice> = {}): Notice {
  return {
    id: `e-${code}`,
    at: NOW,
    code,
    level: 'warning',
    text: code,
    params: { title: 'T4', ...PARAMS[code] },
    session_id: 's1',
    actions: code === 'ready' ? ['claim', 'release'] : ['extend', 'release'],
    ...change
  };
}

const READY = session({ state: 'ready', actions: ['claim', 'attach', 'release'], lease_until: null, claim_by: NOW + 600 });
const ENDING = session({ lease_until: NOW + 600 });
const IDLE = session({ idle_since: NOW - 1800, warning: { code: 'idle_ends', params: {}, text: '' } });

function tab(): { hears: (sessions: SessionView[], at: number) => void; isTold: (one: Notice) => void } {
  const model = new Model();
  new Notifier(model, {} as Actions, words, () => true);
  return {
    hears: (items, at) => model.hear('sessions', JSON.stringify({ as_of: at, items })),
    isTold: one => model.hear('notices', JSON.stringify({ as_of: one.at, items: [one] }))
  };
}

describe('A notification', () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: NOW * 1000, toFake: ['Date'] });
    localStorage.clear();
    emit.mockReset().mockReturnValue('n1');
    dismiss.mockReset();
  });

  it.each<[string, string, SessionView, SessionView[]]>([
    ['ready', 'claimed', READY, [{ ...READY, actions: ['release'], claim_by: null }]],
    ['ready', 'started', READY, [session()]],
    ['ready', 'not started in time', READY, [session({ state: 'ended', end_reason: 'unclaimed' })]],
    ['ready', 'gone', READY, []],
    ['lease_ends', 'extended', ENDING, [session({ lease_until: NOW + 4200 })]],
    ['lease_ends', 'extended by a minute', ENDING, [session({ lease_until: NOW + 660 })]],
    ['lease_ends', 'released', ENDING, [session({ state: 'ending', lease_until: null })]],
    ['lease_ends', 'ended', ENDING, []],
    ['called_back', 'gone back', ENDING, [session({ state: 'ended', end_reason: 'expired', lease_until: null })]],
    ['idle_ends', 'extended', IDLE, [session({ idle_since: NOW + 5 })]],
    ['idle_ends', 'at work again', IDLE, [session({ idle_since: null })]],
    ['idle_ends', 'wanted by nobody any more', IDLE, [session({ idle_since: NOW - 1800 })]],
    ['idle_ends', 'paused by its owner', IDLE, [session({ state: 'paused', idle_since: NOW - 1800, shares: [] })]],
    ['idle_wanted', 'paused', IDLE, [session({ state: 'paused', idle_since: NOW - 1800, shares: [] })]]
  ])('of %s goes when its session is %s', (code, _what, before, after) => {
    const { hears, isTold } = tab();
    hears([before], NOW + 1);
    isTold(notice(code));
    expect(emit).toHaveBeenCalledOnce();
    hears([before], NOW + 2);
    expect(dismiss).not.toHaveBeenCalled();
    hears(after, NOW + 6);
    expect(dismiss).toHaveBeenCalledExactlyOnceWith('n1');
  });

  it('names what its session is for, where that is known', () => {
    const { hears, isTold } = tab();
    hears([session({ path: 'work/fit.ipynb' }), session({ id: 's2', path: null, purpose: 'train.py' })], NOW + 1);
    isTold(notice('reclaimed', { params: { title: 'T4', minutes: 10 } }));
    isTold(notice('reclaimed', { id: 'e2', session_id: 's2', params: { title: 'T4', minutes: 10 } }));
    isTold(notice('reclaimed', { id: 'e3', session_id: 's3', params: { title: 'T4', minutes: 10 } }));
    const said = ': nobody computed on it for 10 min, and somebody waited.';
    expect(emit.mock.calls.map(([message]) => message)).toEqual([
      `T4 (fit.ipynb)${said}`,
      `T4 (train.py)${said}`,
      `T4${said}`
    ]);
  });

  it('stays when what is known of its session is older than it', () => {
    const { hears, isTold } = tab();
    hears([session({ state: 'queued' })], NOW - 5);
    isTold(notice('ready'));
    expect(emit).toHaveBeenCalledOnce();
    hears([READY], NOW + 1);
    expect(dismiss).not.toHaveBeenCalled();
  });

  it('stays while a paused session that has kept its GPU is to go back', () => {
    const { hears, isTold } = tab();
    const shares = [{ id: 'GPU-1', device_uuid: 'GPU-1', mig_uuid: null, profile: null }];
    const kept = { ...IDLE, state: 'paused' as const, shares };
    hears([kept], NOW + 1);
    isTold(notice('idle_ends'));
    hears([kept], NOW + 6);
    expect(emit).toHaveBeenCalledOnce();
    expect(dismiss).not.toHaveBeenCalled();
    hears([{ ...kept, warning: null }], NOW + 7);
    expect(dismiss).toHaveBeenCalledOnce();
  });

  it('is not shown by a tab that was opened when it was over', () => {
    const { hears, isTold } = tab();
    hears([session({ lease_until: NOW + 4200 })], NOW + 60);
    isTold(notice('lease_ends'));
    expect(emit).not.toHaveBeenCalled();
  });

  it('of another session, or of what is over by its nature, is left alone', () => {
    const { hears, isTold } = tab();
    hears([READY, session({ id: 's2' })], NOW + 1);
    isTold(notice('ready'));
    isTold(notice('reclaimed', { actions: [] }));
    hears([READY], NOW + 6);
    expect(dismiss).not.toHaveBeenCalled();
  });
});
