import { describe, expect, it } from 'vitest';

import { bridged, firstFrom, summary, toPixels, withPeak } from './pixels';

const range = { from: 1000, to: 1100 };

function seconds(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => from + i);
}

describe('down-sampling to pixels', () => {
  it('gives the mean of what falls into a pixel', () => {
    const times = seconds(1000, 100);
    const values = times.map(time => time - 1000);
    const pixels = toPixels(times, values, 1, range, 10);
    expect([...pixels]).toEqual([4.5, 14.5, 24.5, 34.5, 44.5, 54.5, 64.5, 74.5, 84.5, 94.5]);
  });

  it('fills every pixel when buckets are wider than pixels, whatever their place', () => {
    for (const shift of [0, 0.3, 3.7]) {
      const times = Array.from({ length: 14 }, (_, i) => 990 + shift + 8 * i);
      const pixels = toPixels(times, times.map(() => 50), 8, range, 333);
      expect([...pixels].filter(Number.isNaN)).toEqual([]);
    }
  });

  it('fills every pixel when buckets are a little narrower than pixels', () => {
    const times = Array.from({ length: 130 }, (_, i) => 1000 + 0.8 * i);
    const pixels = toPixels(times, times.map(() => 50), 0.8, range, 100);
    expect([...pixels].filter(Number.isNaN)).toEqual([]);
  });

  it('leaves what is not known empty: it is not 0', () => {
    const times = seconds(1000, 100);
    const values = times.map(time => (time >= 1040 && time < 1060 ? null : 0));
    const pixels = toPixels(times, values, 1, range, 100);
    expect(pixels[39]).toBe(0);
    expect(pixels[40]).toBeNaN();
    expect(pixels[59]).toBeNaN();
    expect(pixels[60]).toBe(0);
  });

  it('shows nothing after the last reading and before the first', () => {
    const pixels = toPixels([1050], [70], 1, range, 100);
    expect(pixels[49]).toBeNaN();
    expect(pixels[50]).toBe(70);
    expect(pixels[51]).toBeNaN();
  });

  it('passes over a reading that came a little late', () => {
    const pixels = toPixels([1000, 1001, 1003, 1004], [10, 10, 10, 10], 1, { from: 1000, to: 1005 }, 5);
    expect([...pixels]).toEqual([10, 10, 10, 10, 10]);
  });

  it('shows the bucket that began before the range', () => {
    const pixels = toPixels([980], [33], 60, range, 10);
    expect([...pixels].map(Math.round)).toEqual([33, 33, 33, 33, NaN, NaN, NaN, NaN, NaN, NaN]);
  });
});

describe('a line through the values', () => {
  it('passes over short holes and breaks at long ones', () => {
    const times = [0, 1, 2, 3, 20, 21];
    expect(bridged(times, [1, null, 3, null, null, 6], 1)).toEqual([1, undefined, 3, null, null, 6]);
  });
});

it('finds where to begin', () => {
  expect(firstFrom([1, 3, 5], 0)).toBe(0);
  expect(firstFrom([1, 3, 5], 3)).toBe(1);
  expect(firstFrom([1, 3, 5], 4)).toBe(2);
  expect(firstFrom([1, 3, 5], 9)).toBe(3);
});

describe('a strip in words', () => {
  it('says between what and what, and for how long nothing is known', () => {
    const said = summary(Float32Array.from([10, 30, NaN, 20]), { from: 0, to: 40 }, 40);
    expect(said).toEqual({ low: 10, high: 30, mean: 20, unknown_s: 10 });
  });

  it('does not call the future unknown', () => {
    expect(summary(Float32Array.from([10, NaN]), { from: 0, to: 40 }, 20)?.unknown_s).toBe(0);
  });

  it('says nothing where nothing is known', () => {
    expect(summary(Float32Array.from([NaN, NaN]), range, 2000)).toBeNull();
  });

  it('says the highest reading, which a mean of minutes hides, and none from beside the range', () => {
    const means = summary(Float32Array.from([1, 2]), { from: 0, to: 40 }, 40);
    expect(withPeak(means, [-20, 0, 20, 40], [99, 3, 100, 98], { from: 0, to: 40 })).toEqual({ ...means, high: 100 });
    expect(withPeak(means, [0, 20], [null, null], { from: 0, to: 40 })).toEqual(means);
    expect(withPeak(null, [0], [5], range)).toBeNull();
  });
});
