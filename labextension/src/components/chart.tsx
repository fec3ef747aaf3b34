import { type JSX, useEffect, useRef } from 'react';

import { LineChart } from '../charts/line';
import { SPAN_S, type Series } from '../series';

const HEIGHT = 34;
/** A young session fills its chart: it begins where the session does, but no later than a minute ago. */
const LEAST_SPAN_S = 60;

export interface ChartProps {
  series: Series;
  /** Draw memory out of this much, where the driver gives no utilization. */
  memoryTotal: number | null;
  /** The chart in words. */
  label: string;
  now: number;
}

/** The last minutes of a session. Whoever can't see it has the same in the label and in the line below. */
export function Chart({ series, memoryTotal, label, now }: ChartProps): JSX.Element {
  const ref = useRef<HTMLDivElement>(null);
  const chart = useRef<LineChart | null>(null);

  useEffect(() => {
    if (!ref.current) {
      return;
    }
    const made = new LineChart(ref.current, { height: HEIGHT, full: false });
    chart.current = made;
    return () => {
      made.dispose();
      chart.current = null;
    };
  }, []);

  useEffect(() => {
    const from = Math.max(now - SPAN_S, Math.min(series.times[0] ?? now, now - LEAST_SPAN_S));
    const values = memoryTotal === null ? series.busy : series.memory;
    chart.current?.draw({ times: series.times, values }, { from, to: now }, memoryTotal ?? 100);
  }, [series, memoryTotal, now]);

  return <div className="jp-Gpu-chart" role="img" aria-label={label} ref={ref} />;
}
