/** What part of time is shown, in Unix seconds. Everything here is arithmetic. */
export interface Range {
  from: number;
  to: number;
}

export const LONGEST_S = 86_400;
export const SHORTEST_S = 60;

/** The usual distances of marks on a time axis, in seconds. */
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400];
const MARK_PX = 84;

export function span(range: Range): number {
  return range.to - range.from;
}

/** The range moved and cut so that it shows nothing of the future, and nothing older than a day. */
export function fitted(range: Range, now: number): Range {
  const length = Math.min(LONGEST_S, Math.max(SHORTEST_S, span(range)));
  const to = Math.max(now - LONGEST_S + length, Math.min(now, range.to));
  return { from: to - length, to };
}

/** Half the factor shows half the time; `at` stays where it is. */
export function zoomed(range: Range, factor: number, at: number, now: number): Range {
  const length = Math.min(LONGEST_S, Math.max(SHORTEST_S, span(range) * factor));
  const scale = length / span(range);
  const from = at - (at - range.from) * scale;
  return fitted({ from, to: from + length }, now);
}

/** Negative shows what was earlier. */
export function panned(range: Range, seconds: number, now: number): Range {
  return fitted({ from: range.from + seconds, to: range.to + seconds }, now);
}

/** The last so many seconds, ending at a whole pixel, so that what is drawn does not tremble while it moves on. */
export function latest(length: number, width: number, now: number): Range {
  const pixel = length / Math.max(1, width);
  const to = Math.ceil(now / pixel) * pixel;
  return { from: to - length, to };
}

/** Where the marks of a time axis are: round times of the place whose offset from UTC this is. */
export function marks(range: Range, width: number, offsetS: number): { step: number; times: number[] } {
  const most = Math.max(1, Math.floor(width / MARK_PX));
  const step = STEPS.find(one => span(range) / one <= most) ?? LONGEST_S;
  const times: number[] = [];
  for (let at = Math.ceil((range.from + offsetS) / step) * step - offsetS; at <= range.to; at += step) {
    times.push(at);
  }
  return { step, times };
}

/** Seconds to add to UTC for the clock on the wall. */
export function offsetFromUtc(at: number): number {
  return -60 * new Date(at * 1000).getTimezoneOffset();
}
