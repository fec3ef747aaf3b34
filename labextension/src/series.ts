import type { History, SampleView } from './_wire';

export type Numbers = (number | null)[];

/** What a chart draws: parallel lists, null where nothing is known. */
export interface Series {
  times: number[];
  busy: Numbers;
  memory: Numbers;
}

export const SPAN_S = 300;

export const EMPTY: Series = { times: [], busy: [], memory: [] };

/** A new series with one more sample, and without what is older than the chart. Late and doubled samples are ignored. */
export function extended(series: Series, sample: SampleView): Series {
  const last = series.times.at(-1);
  if (last !== undefined && sample.taken_at <= last) {
    return series;
  }
  const oldest = series.times.findIndex(time => time >= sample.taken_at - SPAN_S);
  const from = oldest < 0 ? series.times.length : oldest;
  return {
    times: [...series.times.slice(from), sample.taken_at],
    busy: [...series.busy.slice(from), sample.utilization_percent],
    memory: [...series.memory.slice(from), sample.memory_used_bytes]
  };
}

/** What the server remembers, followed by what has been seen live. */
export function withHistory(series: Series, history: History): Series {
  const first = series.times[0] ?? Infinity;
  const count = history.times.filter(time => time < first).length;
  return {
    times: [...history.times.slice(0, count), ...series.times],
    busy: [...history.utilization_percent.slice(0, count), ...series.busy],
    memory: [...history.memory_used_bytes.slice(0, count), ...series.memory]
  };
}

/** The numbers of a list that are known. */
export function known(numbers: Numbers): number[] {
  return numbers.filter(value => value !== null);
}
