import type { Range } from './timeline';
import { firstFrom } from './pixels';
import { FIELDS, type Track, WIRE_NAMES } from './track';

export interface Shown {
  id: string;
  kind: string;
  title: string;
  track: Track | null;
  /** Why there is nothing, where there is nothing. */
  why: string;
}

const HEAD = [
  'time',
  'unix_s',
  'interval_s',
  'kind',
  'id',
  'title',
  'utilization_percent',
  'utilization_percent_max',
  'sm_activity_percent',
  'sm_activity_percent_max',
  'memory_used_bytes',
  'memory_used_bytes_max',
  'power_mw',
  'power_mw_max',
  'not_known'
];

/** A cell as RFC 4180 has it. What a spreadsheet would take for a formula gets an apostrophe. */
export function cell(value: string | number | null | undefined): string {
  if (value == null) {
    return '';
  }
  if (typeof value === 'number') {
    return Number.isInteger(value) ? String(value) : String(Number(value.toFixed(3)));
  }
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

/** What is shown, a line for each bucket. What is not known is empty, and the last column says why. */
export function csvOf(subjects: readonly Shown[], range: Range): string {
  const lines = [HEAD.join(',')];
  for (const { id, kind, title, track, why } of subjects) {
    if (!track) {
      lines.push(row(['', '', '', kind, id, title, '', '', '', '', '', '', '', '', why]));
      continue;
    }
    const { times, interval } = track;
    for (let i = firstFrom(times, range.from - interval); i < times.length; i++) {
      const time = times[i] ?? 0;
      if (time + interval <= range.from || time >= range.to) {
        continue;
      }
      const unknown = FIELDS.filter(field => track.mean(field)[i] == null).map(
        field => `${WIRE_NAMES[field]}: ${track.why(field, time) ?? 'not_measured'}`
      );
      lines.push(
        row([
          new Date(time * 1000).toISOString(),
          time,
          interval,
          kind,
          id,
          title,
          track.mean('busy')[i],
          track.high('busy')[i],
          track.mean('activity')[i],
          track.high('activity')[i],
          track.mean('memory')[i],
          track.high('memory')[i],
          track.mean('power')[i],
          track.high('power')[i],
          unknown.join('; ')
        ])
      );
    }
  }
  return `${lines.join('\r\n')}\r\n`;
}

function row(values: readonly (string | number | null | undefined)[]): string {
  return values.map(cell).join(',');
}

/** `gpu-monitor-20261123-1800-1900.csv`, in UTC as the times in it. */
export function fileName(range: Range): string {
  const stamp = (at: number): string => new Date(at * 1000).toISOString().replace(/[-:]/g, '').slice(0, 13);
  return `gpu-monitor-${stamp(range.from)}-${stamp(range.to)}.csv`;
}
