import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import type { History } from '../_wire';
import { NO_HISTORY, sample } from '../testing';
import { Feed } from './feed';
import type { Subject } from './subject';

const NOW = 100_000;
const hour = { from: NOW - 3600, to: NOW };

function subject(id: string): Subject {
  return { id, kind: 'device', title: id, detail: '', memoryBytes: null, simulated: true, trouble: '' };
}

interface Question {
  id: string;
  from: number;
  to: number;
  points: number;
  signal: AbortSignal;
  answer: (history: History) => void;
  refuse: (error: Error) => void;
}

describe('the feed', () => {
  let asked: Question[];
  let feed: Feed;

  beforeEach(() => {
    vi.useFakeTimers({ now: NOW * 1000 });
    asked = [];
    feed = new Feed({
      ask: ({ id }, { from, to }, points, signal) =>
        new Promise((answer, refuse) => {
          asked.push({ id, from, to, points, signal, answer, refuse });
          signal.addEventListener('abort', () => refuse(new Error('aborted')));
        }),
      onChange: () => undefined,
      now: () => Date.now() / 1000
    });
  });

  afterEach(() => {
    feed.dispose();
    vi.useRealTimers();
  });

  const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(200);
  const answerAll = async (): Promise<void> => {
    asked.forEach(({ answer, from, id }) => answer({ ...NO_HISTORY, subject: id, times: [from], interval_s: 4 }));
    await settle();
  };

  it('asks at once for what is in sight, with about a point a pixel', () => {
    feed.want([subject('a')], hour, 900);
    expect(asked.map(({ id }) => id)).toEqual(['a']);
    expect(asked[0]?.from).toBeLessThan(hour.from);
    expect(asked[0]?.points).toBeGreaterThanOrEqual(900);
    expect(asked[0]?.points).toBeLessThanOrEqual(2000);
  });

  it('asks at once also when the list of devices comes a little later', () => {
    feed.want([], hour, 900);
    feed.want([subject('a')], hour, 900);
    expect(asked.map(({ id }) => id)).toEqual(['a']);
  });

  it('asks for a few at a time', async () => {
    feed.want(['a', 'b', 'c', 'd', 'e', 'f'].map(subject), hour, 900);
    expect(asked.length).toBe(4);
    await answerAll();
    expect(asked.length).toBe(6);
  });

  it('does not ask again for what it has, nor while it follows live', async () => {
    feed.want([subject('a')], hour, 900);
    await answerAll();
    for (let s = 1; s <= 30; s++) {
      feed.hear({ a: sample({ taken_at: NOW + s }) });
      feed.want([subject('a')], { from: hour.from + s, to: hour.to + s }, 900);
      await vi.advanceTimersByTimeAsync(1000);
    }
    expect(asked.length).toBe(1);
    expect(feed.track('a')?.times.at(-1)).toBeGreaterThan(NOW + 20);
  });

  it('asks once when the time shown has come to rest, and keeps what is drawn meanwhile', async () => {
    feed.want([subject('a')], hour, 900);
    await answerAll();
    const before = feed.track('a');
    for (let step = 1; step <= 20; step++) {
      feed.want([subject('a')], { from: hour.from - 600 * step, to: hour.to - 600 * step }, 900);
      await vi.advanceTimersByTimeAsync(20);
    }
    expect(asked.length).toBe(1);
    expect(feed.track('a')).toBe(before);
    await settle();
    expect(asked.length).toBe(2);
    expect(asked[1]?.from).toBeLessThan(hour.from - 12_000);
  });

  it('stops asking for what is not wanted any more', async () => {
    feed.want([subject('a')], hour, 900);
    feed.want([subject('b')], hour, 900);
    await settle();
    expect(asked[0]?.signal.aborted).toBe(true);
    expect(asked.at(-1)?.id).toBe('b');
    expect(feed.problem('a')).toBe('');
  });

  it('says what went wrong, and tries again later', async () => {
    feed.want([subject('a')], hour, 900);
    asked[0]?.refuse(new Error('The server does not answer.'));
    await settle();
    expect(feed.problem('a')).toBe('The server does not answer.');
    feed.want([subject('a')], hour, 900);
    await settle();
    expect(asked.length).toBe(1);
    await vi.advanceTimersByTimeAsync(11_000);
    feed.want([subject('a')], hour, 900);
    await settle();
    expect(asked.length).toBe(2);
    await answerAll();
    expect(feed.problem('a')).toBe('');
  });

  it('asks again after nothing was heard for a while', async () => {
    feed.want([subject('a')], hour, 900);
    await answerAll();
    feed.stale();
    feed.want([subject('a')], hour, 900);
    await settle();
    expect(asked.length).toBe(2);
  });

  it('asks for everything for a file, and says how far it is', async () => {
    const told: number[] = [];
    const all = feed.all(['a', 'b', 'c', 'd', 'e'].map(subject), hour, 900, done => told.push(done));
    asked.slice(1).forEach(({ answer }) => answer(NO_HISTORY));
    asked[0]?.refuse(new Error('gone'));
    await settle();
    asked.slice(4).forEach(({ answer }) => answer(NO_HISTORY));
    const found = await all;
    expect(found.size).toBe(5);
    expect(found.get('a')).toBeInstanceOf(Error);
    expect(told).toEqual([1, 2, 3, 4, 5]);
  });
});
