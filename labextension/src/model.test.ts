import { describe, expect, it, vi } from 'vitest';

import type { Notice } from './_wire';
import { ApiError } from './api';
import { Model } from './model';
import { EMPTY, extended, SPAN_S, withHistory } from './series';
import { NO_HISTORY, sample, session } from './testing';

function notice(id: string): Notice {
  return { id, at: 1000, code: 'ready', level: 'success', text: 'x', params: {}, session_id: 's1', actions: [] };
}

describe('the model', () => {
  it('takes in what the stream says', () => {
    const model = new Model();
    model.hear('hello', JSON.stringify({ epoch: 'e', snapshot: true, server: '1', simulated: true }));
    model.hear('sessions', JSON.stringify({ as_of: 1000, items: [session()] }));
    model.hear('telemetry', JSON.stringify({ as_of: 1001, samples: {}, sessions: { s1: sample() } }));
    model.hear('of_tomorrow', 'not even JSON');
    const { simulated, sessions, samples, series } = model.state;
    expect(simulated).toBe(true);
    expect(sessions).toHaveLength(1);
    expect(samples.s1?.utilization_percent).toBe(71.4);
    expect(series.s1?.busy).toEqual([71.4]);
    expect(Math.abs(model.now() - 1001)).toBeLessThan(1);
  });

  it('finds the session of a notebook by kernel, then by path', () => {
    const model = new Model();
    model.put(session({ id: 'other', kernel_ids: ['k2'], path: 'x.ipynb' }));
    model.put(session());
    expect(model.sessionOf({ path: 'renamed.ipynb', name: '', kernelId: 'k2' })?.id).toBe('other');
    expect(model.sessionOf({ path: 'fit.ipynb', name: '', kernelId: null })?.id).toBe('s1');
    expect(model.sessionOf({ path: 'none.ipynb', name: '', kernelId: null })).toBeNull();
    expect(model.sessionOf(null)).toBeNull();
  });

  it('shows for a while why a session ended, but not what had ended before', () => {
    const model = new Model();
    const ended = session({ state: 'ended', end_reason: 'expired' });
    model.hear('sessions', JSON.stringify({ as_of: 1000, items: [session({ id: 's1' }), { ...ended, id: 'old' }] }));
    model.hear('sessions', JSON.stringify({ as_of: 1001, items: [ended, { ...ended, id: 'old' }] }));
    expect(model.state.sessions?.map(s => s.id)).toEqual(['s1']);
    model.hear('sessions', JSON.stringify({ as_of: 1200, items: [ended] }));
    expect(model.state.sessions).toEqual([]);
  });

  it('tells a notice once', () => {
    const model = new Model();
    const heard = vi.fn();
    model.onNotice(heard);
    model.hear('notices', JSON.stringify({ as_of: 1, items: [notice('a'), notice('b')] }));
    model.hear('notices', JSON.stringify({ as_of: 2, items: [notice('b'), notice('c')] }));
    expect(heard.mock.calls.map(([n]) => (n as Notice).id)).toEqual(['a', 'b', 'c']);
  });

  it('does the same thing only once at a time, and keeps its problem', async () => {
    const model = new Model();
    let runs = 0;
    const problem = { type: '', title: '', status: 409, code: 'conflict', detail: 'No.', hint: '', params: {} };
    const work = async (): Promise<void> => {
      runs += 1;
      await Promise.resolve();
      throw new ApiError(problem, 409);
    };
    const first = model.during('release:s1', 's1', work);
    expect(model.state.busy.has('release:s1')).toBe(true);
    await Promise.all([first, model.during('release:s1', 's1', work)]);
    expect(runs).toBe(1);
    expect(model.state.busy.size).toBe(0);
    expect(model.state.problems.s1?.detail).toBe('No.');
  });
});

describe('series', () => {
  it('keeps the span of the chart, and ignores late samples', () => {
    let series = EMPTY;
    for (let t = 0; t <= SPAN_S + 10; t++) {
      series = extended(series, sample({ taken_at: t }));
    }
    expect(series.times[0]).toBe(10);
    expect(extended(series, sample({ taken_at: 5 }))).toBe(series);
  });

  it('puts what the server remembers before what was seen', () => {
    const live = extended(EMPTY, sample({ taken_at: 10 }));
    const joined = withHistory(live, {
      ...NO_HISTORY,
      interval_s: 2,
      times: [6, 8, 10, 12],
      utilization_percent: [1, null, 3, 4],
      memory_used_bytes: [5, 6, 7, 8]
    });
    expect(joined).toEqual({ times: [6, 8, 10], busy: [1, null, 71.4], memory: [5, 6, 3.2e9] });
  });
});
