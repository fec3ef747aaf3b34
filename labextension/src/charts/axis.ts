import { add, setAttribute, setText } from './dom';
import type { Says } from './says';
import { fitted, LONGEST_S, marks, offsetFromUtc, type Range, span } from './timeline';

const FINE = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23'
});
const COARSE = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });

/** The marks of time above the strips. It is a slider to those who can't see it. */
export class Axis {
  readonly node: HTMLElement;
  /** The times of the marks that are drawn, for the grids below. */
  marks: readonly number[] = [];
  private readonly labels: HTMLElement[] = [];

  constructor(
    parent: Element,
    private readonly says: Says
  ) {
    const { trans } = says.words;
    const line = add(parent, 'div', 'jp-GpuMonitor-axisLine');
    this.node = add(line, 'div', 'jp-GpuMonitor-axis');
    this.node.tabIndex = 0;
    this.node.setAttribute('role', 'slider');
    this.node.setAttribute('aria-label', trans.__('Time shown'));
    this.node.setAttribute('aria-orientation', 'horizontal');
    this.node.title = trans.__(
      'Drag or use the arrow keys to move in time; turn the wheel or use the plus and minus keys to zoom.'
    );
  }

  draw(range: Range, width: number, now: number, live: boolean): void {
    const { step, times } = marks(range, width, offsetFromUtc(range.to));
    this.marks = times;
    const perPixel = span(range) / Math.max(1, width);
    while (this.labels.length > times.length) {
      this.labels.pop()?.remove();
    }
    times.forEach((time, place) => {
      const label = this.labels[place] ?? add(this.node, 'span', 'jp-GpuMonitor-mark');
      this.labels[place] = label;
      label.style.transform = `translateX(${(time - range.from) / perPixel}px)`;
      setText(label, (step < 60 ? FINE : COARSE).format(time * 1000));
    });
    // Live it stays the same for those who hear it, so that it is not said again every second.
    const earliest = fitted({ from: 0, to: 0 }, now).to - LONGEST_S;
    setAttribute(this.node, 'aria-valuemin', '0');
    setAttribute(this.node, 'aria-valuemax', String(LONGEST_S));
    setAttribute(this.node, 'aria-valuenow', String(live ? LONGEST_S : 60 * Math.round((range.to - earliest) / 60)));
    setAttribute(this.node, 'aria-valuetext', this.inWords(range, live));
  }

  inWords(range: Range, live: boolean): string {
    const { trans } = this.says.words;
    return live ? trans.__('Live, %1', this.says.last(span(range))) : this.says.range(range);
  }
}
