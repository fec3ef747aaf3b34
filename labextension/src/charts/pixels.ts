import type { Range } from './timeline';
import { GAP_S, type Numbers } from './track';

/**
 * One number for each pixel: the mean of what was read in its time. NaN where nothing is known.
 *
 * A bucket reaches to its end, or to the next known one where nothing was missed between them.
 */
export function toPixels(
  times: readonly number[],
  values: Numbers,
  interval: number,
  range: Range,
  width: number,
  gap = GAP_S
): Float32Array {
  const sums = new Float32Array(width);
  const counts = new Uint16Array(width);
  const perPixel = (range.to - range.from) / width;
  for (let i = firstFrom(times, range.from - Math.max(interval, gap)); i < times.length; i++) {
    const value = values[i];
    const time = times[i] ?? Infinity;
    if (time >= range.to) {
      break;
    }
    if (value == null) {
      continue;
    }
    const a = (time - range.from) / perPixel;
    const b = (endOf(times, values, i, interval, gap) - range.from) / perPixel;
    let first = Math.floor(a);
    let last = first;
    if (b - a >= 1) {
      first = Math.round(a);
      last = Math.round(b) - 1;
    }
    for (let pixel = Math.max(0, first); pixel <= last && pixel < width; pixel++) {
      sums[pixel] = (sums[pixel] ?? 0) + value;
      counts[pixel] = (counts[pixel] ?? 0) + 1;
    }
  }
  return sums.map((sum, pixel) => (counts[pixel] ? sum / (counts[pixel] ?? 1) : NaN));
}

/** Until when the value of a bucket holds. */
function endOf(times: readonly number[], values: Numbers, i: number, interval: number, gap: number): number {
  const time = times[i] ?? 0;
  const end = time + interval;
  for (let next = i + 1; next < times.length; next++) {
    const then = times[next] ?? Infinity;
    if (then - time > Math.max(gap, interval)) {
      break;
    }
    if (values[next] != null) {
      return Math.max(end, then);
    }
  }
  return end;
}

/** The index of the first time that is not before `from`. */
export function firstFrom(times: readonly number[], from: number): number {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((times[middle] ?? Infinity) < from) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/**
 * The values as a line is drawn through them: a short hole is passed over (undefined), a long one stays a gap (null).
 */
export function bridged(
  times: readonly number[],
  values: Numbers,
  interval: number,
  gap = GAP_S
): (number | null | undefined)[] {
  const out: (number | null | undefined)[] = [...values];
  let known = -1;
  for (let i = 0; i < values.length; i++) {
    if (values[i] == null) {
      continue;
    }
    if (known >= 0 && i - known > 1 && (times[i] ?? 0) - (times[known] ?? 0) <= Math.max(gap, interval)) {
      out.fill(undefined, known + 1, i);
    }
    known = i;
  }
  return out;
}

export interface Summary {
  low: number;
  high: number;
  mean: number;
  /** Seconds of the range in which nothing is known. */
  unknown_s: number;
}

/** What a strip shows, in numbers; null where nothing of it is known. */
export function summary(pixels: Float32Array, range: Range, now: number): Summary | null {
  const perPixel = (range.to - range.from) / Math.max(1, pixels.length);
  let low = Infinity;
  let high = -Infinity;
  let sum = 0;
  let count = 0;
  let unknown = 0;
  pixels.forEach((value, pixel) => {
    if (!Number.isNaN(value)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
      sum += value;
      count += 1;
    } else if (range.from + pixel * perPixel < now) {
      unknown += 1;
    }
  });
  return count ? { low, high, mean: sum / count, unknown_s: unknown * perPixel } : null;
}

/** The same with the highest reading of the range: one that is over in a second does not show in a mean of minutes. */
export function withPeak(said: Summary | null, times: readonly number[], highs: Numbers, range: Range): Summary | null {
  if (!said) {
    return null;
  }
  let { high } = said;
  for (let i = firstFrom(times, range.from); i < times.length && (times[i] ?? Infinity) < range.to; i++) {
    high = Math.max(high, highs[i] ?? -Infinity);
  }
  return { ...said, high };
}
