import { describe, expect, it } from 'vitest';

import { fitted, latest, LONGEST_S, marks, panned, SHORTEST_S, span, zoomed } from './timeline';

const now = 1_790_000_000;
const hour = { from: now - 3600, to: now };

describe('the time that is shown', () => {
  it('never shows the future or what is older than a day', () => {
    expect(fitted({ from: now, to: now + 3600 }, now)).toEqual(hour);
    const old = fitted({ from: now - 2 * LONGEST_S, to: now - 2 * LONGEST_S + 3600 }, now);
    expect(old.from).toBe(now - LONGEST_S);
    expect(span(old)).toBe(3600);
  });

  it('keeps the time under the pointer when it is zoomed', () => {
    const at = now - 1800;
    const closer = zoomed(hour, 0.5, at, now);
    expect(span(closer)).toBe(1800);
    expect((at - closer.from) / span(closer)).toBeCloseTo((at - hour.from) / span(hour));
  });

  it('stops zooming at a minute and at a day', () => {
    expect(span(zoomed(hour, 1e-6, now, now))).toBe(SHORTEST_S);
    expect(span(zoomed(hour, 1e6, now, now))).toBe(LONGEST_S);
  });

  it('comes back to where it was after zooming in and out at the same place', () => {
    const start = { from: now - 7200, to: now - 3600 };
    const back = zoomed(zoomed(start, 0.5, now - 5000, now), 2, now - 5000, now);
    expect(back.from).toBeCloseTo(start.from, 3);
    expect(back.to).toBeCloseTo(start.to, 3);
  });

  it('moves back and forth, and no further than now', () => {
    const earlier = panned(hour, -600, now);
    expect(earlier).toEqual({ from: now - 4200, to: now - 600 });
    expect(panned(earlier, 1200, now)).toEqual(hour);
  });

  it('moves on by whole pixels while it is live', () => {
    const width = 900;
    const pixel = 3600 / width;
    for (const at of [now, now + 0.4, now + 1.7, now + 1000.123]) {
      const { from, to } = latest(3600, width, at);
      expect(to).toBeGreaterThanOrEqual(at);
      expect(to - at).toBeLessThan(pixel);
      expect((to / pixel) % 1).toBeCloseTo(0, 6);
      expect(to - from).toBe(3600);
    }
  });
});

describe('the marks of the axis', () => {
  it.each([60, 300, 3600, 21_600, 86_400])('are round, inside, and not too many for %d s', length => {
    for (const width of [120, 280, 800, 2400]) {
      const range = { from: now - length, to: now };
      const { step, times } = marks(range, width, 0);
      expect(times.length).toBeLessThanOrEqual(Math.floor(width / 84) + 1);
      for (const time of times) {
        expect(time % step).toBe(0);
        expect(time).toBeGreaterThanOrEqual(range.from);
        expect(time).toBeLessThanOrEqual(range.to);
      }
    }
  });

  it('are round on the clock of the place, also where it is half an hour off', () => {
    const { step, times } = marks({ from: now - 6 * 3600, to: now }, 600, 5.5 * 3600);
    expect(step).toBe(3600);
    expect(times.length).toBeGreaterThan(4);
    times.forEach(time => expect((time + 5.5 * 3600) % 3600).toBe(0));
  });
});
