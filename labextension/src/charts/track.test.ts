import { describe, expect, it } from 'vitest';

import type { History } from '../_wire';
import { NO_HISTORY, sample } from '../testing';
import { Track } from './track';

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
