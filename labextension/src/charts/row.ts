import type { SampleView } from '../_wire';
import { add, setAttribute, setText } from './dom';
import { LineChart } from './line';
import { bridged, firstFrom, type Summary, summary, toPixels, withPeak } from './pixels';
import type { Says } from './says';
import { painted } from './scale';
import type { Subject } from './subject';
import type { Range } from './timeline';
import { type Field, FIELDS, type Track } from './track';

const CHART_PX = 72;

/** All that a row is drawn from. */
export interface Scene {
  subject: Subject;
  reading: SampleView | undefined;
  track: Track | null;
  problem: string;
  isAsking: boolean;
  range: Range;
  /** The range in words. */
  when: string;
  width: number;
  now: number;
  dark: boolean;
  marks: readonly number[];
  open: boolean;
}

interface Plot {
  field: Field;
  figure: HTMLElement;
  caption: HTMLElement;
  top: HTMLElement;
  chart: LineChart;
  pointer: number | null;
}

/** One subject: its name, its figures, its strip, and its charts while it is open. */
export class Row {
  readonly node = document.createElement('li');
  readonly button: HTMLButtonElement;
  private readonly title: HTMLElement;
  private readonly detail: HTMLElement;
  private readonly figures: HTMLElement;
  private readonly canvas: HTMLCanvasElement;
  private readonly over: HTMLElement;
  private readonly body: HTMLElement;
  private facts: HTMLElement | null = null;
  private plots: Plot[] = [];
  private scene: Scene | null = null;

  constructor(
    private readonly says: Says,
    id: string,
    onToggle: () => void
  ) {
    this.node.className = 'jp-GpuMonitor-row';
    const head = add(this.node, 'div', 'jp-GpuMonitor-head');
    const name = add(head, 'div', 'jp-GpuMonitor-name');
    this.button = add(name, 'button', 'jp-GpuMonitor-open');
    this.button.type = 'button';
    this.button.addEventListener('click', onToggle);
    add(this.button, 'span', 'jp-GpuMonitor-sign').setAttribute('aria-hidden', 'true');
    this.title = add(this.button, 'span', 'jp-GpuMonitor-title');
    this.detail = add(name, 'span', 'jp-GpuMonitor-muted');
    const strip = add(head, 'div', 'jp-GpuMonitor-strip');
    this.canvas = add(strip, 'canvas');
    this.canvas.height = 1;
    this.canvas.setAttribute('role', 'img');
    this.over = add(strip, 'span', 'jp-GpuMonitor-over');
    this.over.setAttribute('aria-hidden', 'true');
    this.figures = add(head, 'div', 'jp-GpuMonitor-figures');
    this.body = add(this.node, 'div', 'jp-GpuMonitor-body');
    this.body.id = `jp-GpuMonitor-${id}`;
  }

  draw(scene: Scene): void {
    const { subject, reading, open, now } = scene;
    const age = this.says.age(subject, reading, now);
    if (reading !== this.scene?.reading || age !== null) {
      this.drawFigures(reading, age);
    }
    this.scene = scene;
    this.node.classList.toggle('jp-mod-open', open);
    this.node.classList.toggle('jp-mod-mig', subject.kind === 'mig');
    setText(this.title, subject.title);
    setText(this.detail, subject.detail);
    setAttribute(this.button, 'title', [subject.title, subject.detail].filter(Boolean).join(' · '));
    setAttribute(this.button, 'aria-expanded', String(open));
    if (open) {
      setAttribute(this.button, 'aria-controls', this.body.id);
    } else {
      this.button.removeAttribute('aria-controls');
    }
    this.drawStrip(scene);
    this.drawBody(scene);
  }

  dispose(): void {
    this.close();
    this.node.remove();
  }

  private drawFigures(reading: SampleView | undefined, age: number | null): void {
    const figures = this.says.figures(reading, age);
    while (this.figures.children.length > figures.length) {
      this.figures.lastElementChild?.remove();
    }
    figures.forEach(({ name, text, about }, place) => {
      const node = (this.figures.children[place] as HTMLElement | undefined) ?? add(this.figures, 'span');
      setAttribute(node, 'class', `jp-mod-${name}`);
      setAttribute(node, 'title', about);
      setText(node, text);
    });
  }

  private drawStrip(scene: Scene): void {
    const { track, problem, isAsking, range, when, width, now, dark } = scene;
    const { trans } = this.says.words;
    const pixels = (field: Field): Float32Array =>
      track
        ? toPixels(track.times, track.mean(field), track.interval, range, width, track.gap)
        : new Float32Array(width).fill(NaN);
    let field: Field = 'busy';
    let shown = pixels(field);
    const inWords = (of: Field, strip: Float32Array): Summary | null =>
      track ? withPeak(summary(strip, range, now), track.times, track.high(of), range) : null;
    let said = inWords(field, shown);
    if (!said && track) {
      // A slice has no utilization, but newer ones have this.
      const other = pixels('activity');
      const saidOther = inWords('activity', other);
      [field, shown, said] = saidOther ? ['activity', other, saidOther] : [field, shown, said];
    }
    if (this.canvas.width !== width) {
      this.canvas.width = width;
    }
    this.canvas.getContext('2d')?.putImageData(new ImageData(painted(shown, dark), width, 1), 0, 0);
    let why = this.says.hatched(scene, said);
    if (!said && !why) {
      why = problem || (isAsking ? trans.__('asking the server …') : '');
    }
    const named = field === 'busy' ? '' : this.says.field(field);
    // What is wrong now counts more than what was known before.
    setText(this.over, scene.subject.trouble || (said ? named : why));
    setAttribute(this.canvas, 'aria-label', this.says.strip(field, said, when, why));
  }

  private drawBody(scene: Scene): void {
    if (!scene.open) {
      this.close();
      return;
    }
    // Most devices do not tell their SM activity: a chart that is always empty says nothing.
    const tellsActivity = scene.track?.mean('activity').some(value => value !== null) ?? false;
    const fields = FIELDS.filter(field => field !== 'activity' || tellsActivity);
    if (this.plots.length !== fields.length) {
      this.close();
      this.plots = fields.map(field => this.newPlot(field));
      this.facts = add(this.body, 'p', 'jp-GpuMonitor-facts');
    }
    this.plots.forEach(plot => this.drawPlot(plot, scene));
    if (this.facts) {
      const { subject, reading, problem } = scene;
      const figures = this.says.figures(reading).map(({ text }) => text);
      const more = [...this.says.traffic(reading), ...this.says.unknown(reading, subject)];
      const said = [subject.trouble || problem, ...figures, ...more, subject.id].filter(Boolean);
      setText(this.facts, said.join(' · '));
    }
  }

  private newPlot(field: Field): Plot {
    const figure = add(this.body, 'figure', `jp-GpuMonitor-plot jp-mod-${field}`);
    const caption = add(figure, 'figcaption');
    add(caption, 'b', '', this.says.field(field));
    const said = add(caption, 'span');
    const place = add(figure, 'div', 'jp-GpuMonitor-line');
    place.setAttribute('role', 'img');
    const top = add(place, 'span', 'jp-GpuMonitor-top');
    top.setAttribute('aria-hidden', 'true');
    const plot: Plot = { field, figure: place, caption: said, top, pointer: null, chart: null as unknown as LineChart };
    plot.chart = new LineChart(place, {
      height: CHART_PX,
      full: true,
      onPointer: index => {
        plot.pointer = index;
        this.sayPlot(plot);
      }
    });
    return plot;
  }

  private drawPlot(plot: Plot, { subject, reading, track, range, marks }: Scene): void {
    const times = track?.times ?? [];
    const interval = track?.interval ?? 1;
    const first = Math.max(0, firstFrom(times, range.from - interval) - 1);
    const shown = times.slice(first, firstFrom(times, range.to) + 1);
    const part = (numbers: (number | null)[] | undefined): (number | null | undefined)[] =>
      bridged(shown, numbers?.slice(first, first + shown.length) ?? [], interval, track?.gap);
    const top = this.top(plot.field, subject, reading, track);
    setText(plot.top, this.says.value(plot.field, top));
    plot.chart.draw(
      // A mean belongs to the middle of its bucket.
      { times: shown.map(time => time + interval / 2), values: part(track?.mean(plot.field)), peaks: part(track?.high(plot.field)) },
      range,
      top,
      marks
    );
    this.sayPlot(plot);
  }

  /** The caption: what is under the pointer, else the whole in words. */
  private sayPlot(plot: Plot): void {
    const { scene } = this;
    if (!scene) {
      return;
    }
    const { track, range, now } = scene;
    const said = track ? this.summaryOf(plot.field, track, range, now) : null;
    const twin = this.says.line(plot.field, said, scene);
    setAttribute(plot.figure, 'aria-label', `${this.says.field(plot.field)}: ${twin}`);
    plot.figure.classList.toggle('jp-mod-unknown', !said);
    setText(plot.caption, this.pointed(plot, scene) ?? twin);
  }

  private pointed({ field, pointer }: Plot, scene: Scene): string | null {
    const { track, range } = scene;
    if (pointer === null || !track) {
      return null;
    }
    const first = Math.max(0, firstFrom(track.times, range.from - track.interval) - 1);
    const time = track.times[first + pointer];
    const value = track.mean(field)[first + pointer];
    if (time === undefined) {
      return null;
    }
    return `${this.says.exact(time)}: ${
      value == null
        ? this.says.missing(track.why(field, time) ?? 'not_measured', scene.subject)
        : this.says.atMost(field, value, track.high(field)[first + pointer])
    }`;
  }

  private summaryOf(field: Field, track: Track, range: Range, now: number): Summary | null {
    const means = toPixels(track.times, track.mean(field), track.interval, range, 200, track.gap);
    return withPeak(summary(means, range, now), track.times, track.high(field), range);
  }

  /** The upper end of a chart: all there is where that is known, else a round number above the highest. */
  private top(field: Field, subject: Subject, reading: SampleView | undefined, track: Track | null): number {
    if (field === 'busy') {
      return 100;
    }
    const all = field === 'memory' ? (reading?.memory_total_bytes ?? subject.memoryBytes) : null;
    if (all) {
      return all;
    }
    let highest = 0;
    track?.high(field).forEach(value => (highest = Math.max(highest, value ?? 0)));
    const unit = field === 'memory' ? 1e9 : 50_000;
    return Math.max(unit, Math.ceil((highest * 1.05) / unit) * unit);
  }

  private close(): void {
    if (this.plots.length) {
      this.plots.forEach(plot => plot.chart.dispose());
      this.plots = [];
      this.facts = null;
      this.body.replaceChildren();
    }
  }
}
