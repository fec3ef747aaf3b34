import uPlot from 'uplot';

import { themed } from './dom';
import type { Range } from './timeline';

export interface LineOptions {
  height: number;
  /** With a grid, peaks behind the line, and a mark under the pointer; else just the line. */
  full: boolean;
  /** Called with the index of the point under the pointer. */
  onPointer?: (index: number | null) => void;
}

export interface Lines {
  times: readonly number[];
  /** Undefined is passed over, null is a gap. */
  values: readonly (number | null | undefined)[];
  peaks?: readonly (number | null | undefined)[];
}

const FALLBACK_WIDTH = 200;

/** One quantity over time. It draws in the theme's colours, asked for at every drawing. */
export class LineChart {
  private readonly plot: uPlot;
  private readonly observer: ResizeObserver;
  private range: Range = { from: 0, to: 1 };
  private top = 100;
  private marks: readonly number[] = [];

  constructor(
    private readonly element: HTMLElement,
    options: LineOptions
  ) {
    const width = (): number => element.clientWidth || FALLBACK_WIDTH;
    this.plot = new uPlot(this.described(options, width()), options.full ? [[], [], []] : [[], []], element);
    this.observer = new ResizeObserver(() => this.plot.setSize({ width: width(), height: options.height }));
    this.observer.observe(element);
  }

  draw({ times, values, peaks }: Lines, range: Range, top: number, marks: readonly number[] = []): void {
    this.range = range;
    this.top = top;
    this.marks = marks;
    const data = peaks ? [times, peaks, values] : [times, values];
    this.plot.setData(data as unknown as uPlot.AlignedData);
  }

  dispose(): void {
    this.observer.disconnect();
    this.plot.destroy();
  }

  private described({ height, full, onPointer }: LineOptions, width: number): uPlot.Options {
    const colour = (name: string) => (): string => themed(this.element, name);
    const line: uPlot.Series = {
      stroke: colour('--jp-Gpu-line'),
      fill: colour('--jp-Gpu-area'),
      width: 1.5,
      points: { show: false }
    };
    const peak: uPlot.Series = { stroke: colour('--jp-Gpu-peak'), width: 1, points: { show: false } };
    const axis = (splits: () => number[]): uPlot.Axis => ({
      show: full,
      size: 0,
      gap: 0,
      splits,
      values: (_, all) => all.map(() => ''),
      ticks: { show: false },
      grid: { stroke: colour('--jp-Gpu-grid'), width: 1 }
    });
    return {
      width,
      height,
      padding: [2, 0, 1, 0],
      legend: { show: false },
      cursor: full
        ? { y: false, points: { show: false }, drag: { x: false, y: false, setScale: false } }
        : { show: false },
      axes: [axis(() => [...this.marks]), axis(() => [0, this.top / 2, this.top])],
      scales: {
        x: { time: false, range: () => [this.range.from, this.range.to] },
        y: { range: () => [0, this.top] }
      },
      series: full ? [{}, peak, line] : [{}, line],
      hooks: onPointer ? { setCursor: [plot => onPointer(plot.cursor.idx ?? null)] } : {}
    };
  }
}
