import { type JSX, useEffect, useRef } from 'react';
import uPlot from 'uplot';

import { SPAN_S, type Series } from '../series';

const HEIGHT = 34;
/** A young session fills its chart: it begins where the session does, but no later than a minute ago. */
const LEAST_SPAN_S = 60;

function colour(element: HTMLElement, name: string): string {
  return getComputedStyle(element).getPropertyValue(name).trim();
}

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
  const plot = useRef<uPlot | null>(null);
  const range = useRef({ from: 0, now, top: 100 });
  const from = Math.max(now - SPAN_S, Math.min(series.times[0] ?? now, now - LEAST_SPAN_S));
  range.current = { from, now, top: memoryTotal ?? 100 };

  useEffect(() => {
    const element = ref.current;
    if (!element) {
      return;
    }
    const made = new uPlot(
      {
        width: element.clientWidth || 200,
        height: HEIGHT,
        padding: [2, 0, 1, 0],
        legend: { show: false },
        cursor: { show: false },
        axes: [{ show: false }, { show: false }],
        scales: {
          x: { time: false, range: () => [range.current.from, range.current.now] },
          y: { range: () => [0, range.current.top] }
        },
        series: [
          {},
          {
            // Asked for at every drawing, so that a change of theme shows at the next one.
            stroke: () => colour(element, '--jp-Gpu-line'),
            fill: () => colour(element, '--jp-Gpu-area'),
            width: 1.5,
            points: { show: false }
          }
        ]
      },
      [[], []],
      element
    );
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth || 200, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, []);

  useEffect(() => {
    plot.current?.setData([series.times, memoryTotal === null ? series.busy : series.memory]);
  }, [series, memoryTotal, now]);

  return <div className="jp-Gpu-chart" role="img" aria-label={label} ref={ref} />;
}
