import type { History, SampleView, UnknownSince } from '../_wire';

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
/** Of other machines' devices, which are scraped now and then. */
export const REMOTE_GAP_S = 130;

const TRIM_AT = 256;
/** So many changes of what is not known are remembered, the newest. */
const MOST_REASONS = 512;

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
  /** From when on what was not known, and why. */
  private readonly reasons: UnknownSince[];
  readonly interval: number;
  private readonly columns: Record<Field, Column>;
  private readonly counts: Record<Field, number> = { busy: 0, activity: 0, memory: 0, power: 0 };
  private newest = -Infinity;

  constructor(
    history: SentHistory,
    readonly gap = GAP_S
  ) {
    this.interval = Math.max(history.interval_s, 1e-3);
    this.times = [...history.times];
    this.reasons = [...(history.reasons ?? [{ since: -Infinity, missing: history.missing }])];
    const column = (mean: Numbers | undefined, high: Numbers | undefined): Column => {
      const known = mean ?? this.times.map(() => null);
      return { mean: [...known], high: [...(high ?? known)] };
    };
    this.columns = {
      busy: column(history.utilization_percent, history.utilization_percent_max),
      activity: column(history.sm_activity_percent, history.sm_activity_percent_max),
      memory: column(history.memory_used_bytes, history.memory_used_bytes_max),
      power: column(history.power_mw, history.power_mw_max)
    };
  }

  mean(field: Field): Numbers {
    return this.columns[field].mean;
  }

  high(field: Field): Numbers {
    return this.columns[field].high;
  }

  /** Why a field was not known in a bucket, or in a longer time; undefined where nothing was read, or all was known. */
  why(field: Field, time: number, end = time + this.interval): string | undefined {
    const place = this.reasons.findIndex(({ since }) => since >= end);
    const last = place < 0 ? this.reasons.length : place;
    // Where it changed meanwhile, the newest that says anything.
    for (let i = last - 1; i >= 0; i--) {
      const found = this.reasons[i];
      if (found?.missing[WIRE_NAMES[field]] !== undefined) {
        return found.missing[WIRE_NAMES[field]];
      }
      if (!found || found.since <= time) {
        break;
      }
    }
    return undefined;
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
    this.hearWhy(sample, at - before > Math.max(this.gap, 2 * this.interval) ? before + this.interval : null);
    const bucket = Math.floor(at / this.interval) * this.interval;
    if (last === undefined || bucket > last) {
      if (last !== undefined && at - before > Math.max(this.gap, 2 * this.interval)) {
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

  /** Server and page keep the reasons apart: what came live is told again when somebody asks for it. */
  private hearWhy({ taken_at: since, missing }: SampleView, silentSince: number | null): void {
    if (silentSince !== null && Number.isFinite(silentSince)) {
      this.reasons.push({ since: silentSince, missing: {} });
    }
    const known = this.reasons.at(-1)?.missing ?? {};
    const isSame = FIELDS.every(
      field => known[WIRE_NAMES[field]] === missing[WIRE_NAMES[field]]
    );
    if (!isSame && (this.reasons.at(-1)?.since ?? -Infinity) <= since) {
      this.reasons.push({ since, missing });
    }
    if (this.reasons.length > MOST_REASONS) {
      this.reasons.splice(0, this.reasons.length - MOST_REASONS);
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
