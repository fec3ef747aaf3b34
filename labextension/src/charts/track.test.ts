import { describe, expect, it } from 'vitest';

import type { History } from '../_wire';
import { NO_HISTORY, sample } from '../testing';
import { bridged, toPixels } from './pixels';
import { REMOTE_GAP_S, Track } from './track';

function history(change: Partial<History> = {}): History {
  return {
    ...NO_HISTORY,
    subject: 'GPU-1',
    interval_s: 10,
    times: [1000, 1010],
    utilization_percent: [20, null],
    utilization_percent_max: [40, null],
    memory_used_bytes: [1e9, 2e9],
    memory_used_bytes_max: [1e9, 2e9],
    ...change
  };
}

describe('a track', () => {
  it('goes on live where the history ends', () => {
    const track = new Track(history());
    track.add(sample({ taken_at: 1021, utilization_percent: 50, memory_used_bytes: 3e9 }));
    track.add(sample({ taken_at: 1022, utilization_percent: 70, memory_used_bytes: null }));
    expect(track.times).toEqual([1000, 1010, 1020]);
    expect(track.mean('busy')).toEqual([20, null, 60]);
    expect(track.high('busy')).toEqual([40, null, 70]);
    expect(track.mean('memory')).toEqual([1e9, 2e9, 3e9]);
  });

  it('keeps the peaks of power and of SM activity', () => {
    const change = { power_mw: [70_000, 90_000], power_mw_max: [70_000, 400_000] };
    const track = new Track(history({ ...change, sm_activity_percent: [1, 2], sm_activity_percent_max: [1, 90] }));
    track.add(sample({ taken_at: 1021, power_mw: 300_000 }));
    track.add(sample({ taken_at: 1022, power_mw: 100_000 }));
    expect(track.high('power')).toEqual([70_000, 400_000, 300_000]);
    expect(track.high('activity').slice(0, 2)).toEqual([1, 90]);
  });

  it('takes the means for the peaks where a server does not send them', () => {
    const { power_mw_max, sm_activity_percent_max, ...before } = history({ power_mw: [70_000, 90_000] });
    expect(new Track(before).high('power')).toEqual([70_000, 90_000]);
    expect(power_mw_max).toEqual(sm_activity_percent_max);
  });

  it('ignores what comes late or twice', () => {
    const track = new Track(history());
    const reading = sample({ taken_at: 1025, utilization_percent: 50 });
    track.add(reading);
    track.add({ ...reading, utilization_percent: 90 });
    track.add(sample({ taken_at: 990, utilization_percent: 90 }));
    expect(track.mean('busy')).toEqual([20, null, 50]);
  });

  it('keeps a hole where readings stopped', () => {
    const track = new Track({ ...NO_HISTORY, times: [1000], utilization_percent: [5], utilization_percent_max: [5] });
    track.add(sample({ taken_at: 1100, utilization_percent: 6 }));
    expect(track.times).toEqual([1000, 1001, 1100]);
    expect(track.mean('busy')).toEqual([5, null, 6]);
  });

  it('takes scrapes that are a while apart for one line, where it is told so', () => {
    const one = { ...NO_HISTORY, times: [1000], utilization_percent: [5], utilization_percent_max: [5] };
    const track = new Track(one, REMOTE_GAP_S);
    track.add(sample({ taken_at: 1060, utilization_percent: 6 }));
    track.add(sample({ taken_at: 1300, utilization_percent: 7 }));
    expect(track.times).toEqual([1000, 1060, 1061, 1300]);
    const range = { from: 1000, to: 1400 };
    const pixels = toPixels(track.times, track.mean('busy'), 1, range, 40, track.gap);
    expect([...pixels.slice(0, 6)]).toEqual([5, 5, 5, 5, 5, 5]);
    expect([pixels[6], pixels[7], pixels[30]]).toEqual([6, NaN, 7]);
    expect(toPixels(track.times, track.mean('busy'), 1, range, 40)[3]).toBeNaN();
    expect(bridged([0, 15, 30], [1, null, 2], 1)).toEqual([1, null, 2]);
    expect(bridged([0, 15, 30], [1, null, 2], 1, REMOTE_GAP_S)).toEqual([1, undefined, 2]);
  });

  it('knows of each gap why', () => {
    const lost = { utilization_percent: 'lost' };
    const cut = { utilization_percent: 'not_supported' };
    const reasons = [
      { since: 1000, missing: lost },
      { since: 1025, missing: {} },
      { since: 1060, missing: cut }
    ];
    const track = new Track(history({ times: [1000, 1010, 1020, 1030, 1060], missing: cut, reasons }));
    expect([990, 1000, 1010, 1020, 1030, 1050, 1060].map(time => track.why('busy', time))).toEqual([
      undefined,
      'lost',
      'lost',
      'lost',
      undefined,
      undefined,
      'not_supported'
    ]);
    expect(track.why('memory', 1000)).toBeUndefined();
    track.add(sample({ taken_at: 1065 }));
    track.add(sample({ taken_at: 1075, utilization_percent: null, missing: lost }));
    track.add(sample({ taken_at: 1200, utilization_percent: 5 }));
    expect([1060, 1070, 1090, 1200].map(time => track.why('busy', time))).toEqual([
      'not_supported',
      'lost',
      undefined,
      undefined
    ]);
  });

  it('does not make a number of a reading that has none', () => {
    const track = new Track(NO_HISTORY);
    track.add(sample({ taken_at: 1001, utilization_percent: null }));
    expect(track.mean('busy')).toEqual([null]);
    expect(track.mean('power')).toEqual([null]);
  });

  it('stays bounded however long somebody looks', () => {
    const track = new Track(NO_HISTORY);
    for (let at = 0; at < 20_000; at++) {
      track.add(sample({ taken_at: 1000 + at }));
      track.forget(1000 + at - 600);
    }
    expect(track.times.length).toBeLessThan(600 + 300);
    expect(track.mean('busy').length).toBe(track.times.length);
    expect(track.high('memory').length).toBe(track.times.length);
  });
});
