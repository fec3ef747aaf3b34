import type { History, SampleView } from '../_wire';

export type Numbers = (number | null)[];

export type Field = 'busy' | 'activity' | 'memory' | 'power';
export const FIELDS: readonly Field[] = ['busy', 'activity', 'memory', 'power'];

/** What the wire calls a field. */
export const WIRE_NAMES = {
  busy: 'utilization_percent',
  activity: 'sm_activity_percent',
  memory: 'memory_used_bytes',
  power: 'power_mw'
} as const;

/** Readings that are no further apart belong together: while nobody looks, a session is read every ten seconds. */
export const GAP_S = 12;

const TRIM_AT = 256;

interface Column {
  mean: Numbers;
  high: Numbers;
}

/** Servers of before do not send every column. */
type SentHistory = Pick<History, 'interval_s' | 'times' | 'missing'> & Partial<History>;

/**
 * The readings of one subject in buckets of equal width: what the server remembers, and what came live since.
 * Its length is bound by the time that is shown and by the width of a bucket, not by how long somebody looks.
 */
export class Track {
  readonly times: number[];
  readonly missing: Readonly<Record<string, string>>;
  readonly interval: number;
  private readonly columns: Record<Field, Column>;
  private readonly counts: Record<Field, number> = { busy: 0, activity: 0, memory: 0, power: 0 };
  private newest = -Infinity;

  constructor(history: SentHistory) {
    this.interval = Math.max(history.interval_s, 1e-3);
    this.times = [...history.times];
    this.missing = history.missing;
    const column = (mean: Numbers | undefined, high: Numbers | undefined): Column => {
      const known = mean ?? this.times.map(() => null);
      return { mean: [...known], high: [...(high ?? known)] };
    };
    this.columns = {
      busy: column(history.utilization_percent, history.utilization_percent_max),
      activity: column(history.sm_activity_percent, undefined),
      memory: column(history.memory_used_bytes, history.memory_used_bytes_max),
      power: column(history.power_mw, undefined)
    };
  }

  mean(field: Field): Numbers {
    return this.columns[field].mean;
  }

  high(field: Field): Numbers {
    return this.columns[field].high;
  }

  /** One live reading. Late and doubled ones are ignored. */
  add(sample: SampleView): void {
    const at = sample.taken_at;
    const last = this.times.at(-1);
    if (at <= this.newest || (last !== undefined && at < last)) {
      return;
    }
    const before = Math.max(this.newest, last ?? -Infinity);
    this.newest = at;
    const bucket = Math.floor(at / this.interval) * this.interval;
    if (last === undefined || bucket > last) {
      if (last !== undefined && at - before > Math.max(GAP_S, 2 * this.interval)) {
        this.push(last + this.interval);
      }
      this.push(bucket);
    }
    for (const field of FIELDS) {
      this.weigh(field, sample[WIRE_NAMES[field]] ?? null, at);
    }
  }

  /** Forget what ended before this time; done in larger steps. */
  forget(before: number): void {
    const kept = this.times.findIndex(time => time + this.interval >= before);
    const count = kept < 0 ? this.times.length : kept;
    if (count >= TRIM_AT) {
      this.times.splice(0, count);
      for (const field of FIELDS) {
        this.columns[field].mean.splice(0, count);
        this.columns[field].high.splice(0, count);
      }
    }
  }

  private push(time: number): void {
    this.times.push(time);
    for (const field of FIELDS) {
      this.columns[field].mean.push(null);
      this.columns[field].high.push(null);
      this.counts[field] = 0;
    }
  }

  private weigh(field: Field, value: number | null, at: number): void {
    if (value === null) {
      return;
    }
    const { mean, high } = this.columns[field];
    const end = mean.length - 1;
    const was = mean[end];
    if (was == null) {
      mean[end] = high[end] = value;
      this.counts[field] = 1;
      return;
    }
    // Of a bucket that the server had begun we do not know the number of readings: one a second is the usual.
    const count = this.counts[field] || Math.max(1, Math.round(at - (this.times[end] ?? at)));
    mean[end] = was + (value - was) / (count + 1);
    high[end] = Math.max(high[end] ?? value, value);
    this.counts[field] = count + 1;
  }
}
