import type { Processes } from '../_wire';
import type { Words } from '../words';
import { Axis } from './axis';
import { csvOf, fileName } from './csv';
import { add, isDark, setText } from './dom';
import { Feed } from './feed';
import { ProcessTable } from './processes';
import { addGestures } from './gestures';
import { RowList } from './list';
import type { Scene } from './row';
import { Says } from './says';
import type { Ask, Readings, Subject } from './subject';
import { latest, LONGEST_S, panned, type Range, SHORTEST_S, span, zoomed } from './timeline';
import { Toolbar } from './toolbar';
import { Track } from './track';

export interface ViewOptions {
  words: Words;
  ask: Ask;
  /** The server's time, in Unix seconds. */
  now: () => number;
  /** How much is shown first, in seconds. */
  span?: number;
  /** Which lists there are; both when not said. */
  lists?: readonly ('sessions' | 'devices')[];
  /** What is open from the beginning. */
  open?: readonly string[];
}

const TICK_MS = 1000;
const NARROW_PX = 560;
const ROW_PX = { wide: 34, narrow: 66 };
const LEAST_WIDTH = 40;
const MOST_WIDTH = 2000;

let views = 0;

/** GPUs and sessions over time. It knows nothing of where it stands: JupyterLab's main area, or a notebook's output. */
export class MonitorView {
  readonly node = document.createElement('div');
  private readonly says: Says;
  private readonly feed: Feed;
  private readonly toolbar: Toolbar;
  private readonly axis: Axis;
  private readonly note: HTMLElement;
  private readonly scroller: HTMLElement;
  private readonly lists: { sessions: RowList; devices: RowList };
  private readonly prefix = `gpu-monitor-${++views}`;
  private readonly open: Set<string>;
  private processes: ProcessTable | null = null;
  private readonly observer: ResizeObserver;
  private subjects: readonly Subject[] = [];
  private readings: Readings = {};
  private range: Range;
  private live = true;
  private dark = false;
  private width = LEAST_WIDTH;
  private frame: number | undefined;
  private timer: number | undefined;
  private isSeen = false;
  private isSaving = false;

  constructor(private readonly options: ViewOptions) {
    const { words } = options;
    const { trans } = words;
    this.says = new Says(words);
    this.open = new Set(options.open);
    this.range = latest(options.span ?? 3600, 1, options.now());
    this.node.className = 'jp-GpuMonitor';
    this.toolbar = new Toolbar(this.node, {
      says: this.says,
      onLive: () => this.setLive(!this.live),
      onSpan: seconds => this.showSpan(seconds),
      onZoom: factor => this.zoom(factor, 0.5),
      onMove: share => this.move(share),
      onSave: () => void this.save()
    });
    this.note = add(this.node, 'p', 'jp-GpuMonitor-note');
    this.note.hidden = true;
    this.axis = new Axis(this.node, this.says);
    this.scroller = add(this.node, 'div', 'jp-GpuMonitor-rows');
    const list = (name: string, title: string, empty: string): RowList =>
      new RowList(this.scroller, {
        says: this.says,
        title,
        empty,
        prefix: `${this.prefix}-${name}`,
        isOpen: id => this.open.has(id),
        onToggle: id => this.toggle(id)
      });
    this.lists = {
      sessions: list('sessions', trans.__('My sessions'), trans.__('You have no session on a GPU now.')),
      devices: list('devices', trans.__('GPUs'), trans.__('Asking the server …'))
    };
    for (const name of ['sessions', 'devices'] as const) {
      this.lists[name].show(options.lists?.includes(name) ?? true);
    }
    this.feed = new Feed({ ask: options.ask, onChange: () => this.invalidate(), now: options.now });
    this.scroller.addEventListener('scroll', () => this.invalidate(), { passive: true });
    this.node.addEventListener('keydown', event => this.onRowKey(event));
    addGestures(this.node, {
      place: () => this.axis.node.getBoundingClientRect(),
      drag: pixels => this.move(pixels / this.width),
      zoom: (factor, at) => this.zoom(factor, at),
      move: share => this.move(share),
      end: first => this.goToEnd(first)
    });
    this.observer = new ResizeObserver(() => this.invalidate());
    this.observer.observe(this.node);
  }

  /** Which processes use the GPUs; the table is there from the first time on. */
  setProcesses(processes: Processes): void {
    this.processes ??= new ProcessTable(this.scroller, this.says, `${this.prefix}-processes`);
    this.processes.draw(processes, this.subjects);
  }

  setSubjects(subjects: readonly Subject[], noDevices = ''): void {
    this.subjects = subjects;
    this.lists.sessions.setSubjects(subjects.filter(({ kind }) => kind === 'session'));
    this.lists.devices.setSubjects(subjects.filter(({ kind }) => kind !== 'session'));
    if (noDevices) {
      this.lists.devices.say(noDevices);
    }
    this.invalidate();
  }

  /** Live readings by subject. */
  hear(readings: Readings): void {
    this.readings = readings;
    this.feed.hear(readings);
    this.invalidate();
  }

  /** What holds for all of it, such as that the server does not answer; null takes it away. */
  say(note: string | null): void {
    this.note.hidden = note === null;
    setText(this.note, note ?? '');
  }

  /** While nobody sees it, nothing is drawn and nothing is asked for. */
  see(seen: boolean): void {
    if (seen === this.isSeen) {
      return;
    }
    this.isSeen = seen;
    window.clearInterval(this.timer);
    if (seen) {
      this.feed.stale();
      this.timer = window.setInterval(() => this.invalidate(), TICK_MS);
      this.invalidate();
    }
  }

  /** Something was missed: ask for it again. */
  stale(): void {
    this.feed.stale();
    this.invalidate();
  }

  /** Put the keyboard on the time. */
  focus(): void {
    this.axis.node.focus();
  }

  dispose(): void {
    this.see(false);
    if (this.frame !== undefined) {
      cancelAnimationFrame(this.frame);
    }
    this.observer.disconnect();
    this.feed.dispose();
    this.lists.sessions.dispose();
    this.lists.devices.dispose();
    this.node.remove();
  }

  private invalidate(): void {
    if (this.isSeen && this.frame === undefined) {
      this.frame = requestAnimationFrame(() => {
        this.frame = undefined;
        this.draw();
      });
    }
  }

  private draw(): void {
    if (!this.node.clientWidth) {
      return;
    }
    const now = this.options.now();
    const narrow = this.node.clientWidth < NARROW_PX;
    this.node.classList.toggle('jp-mod-narrow', narrow);
    this.width = Math.min(MOST_WIDTH, Math.max(LEAST_WIDTH, Math.floor(this.axis.node.clientWidth)));
    const dark = isDark(this.node);
    this.dark = dark;
    this.node.classList.toggle('jp-mod-dark', dark);
    this.toolbar.theme(dark);
    if (this.live) {
      this.range = latest(span(this.range), this.width, now);
    }
    this.axis.draw(this.range, this.width, now, this.live);
    const length = span(this.range);
    this.toolbar.draw(this.live, length, this.axis.inWords(this.range, this.live), this.says.words.format.duration(length));
    this.drawRows(now, narrow ? ROW_PX.narrow : ROW_PX.wide);
  }

  private drawRows(now: number, rowPx: number): void {
    const { top, bottom } = this.scroller.getBoundingClientRect();
    const lists = [this.lists.sessions, this.lists.devices];
    const seen = lists.map(list => list.inSight(top, bottom, rowPx));
    this.feed.want(seen.flat(), this.range, this.width);
    const when = this.says.range(this.range);
    const sceneOf = (subject: Subject): Scene => ({
      subject,
      reading: this.readings[subject.id],
      track: this.feed.track(subject.id),
      problem: this.feed.problem(subject.id),
      isAsking: this.feed.isAsking(subject.id),
      range: this.range,
      when,
      width: this.width,
      now,
      dark: this.dark,
      marks: this.axis.marks,
      open: this.open.has(subject.id)
    });
    lists.forEach((list, place) => list.draw(seen[place] ?? [], sceneOf));
    if (lists.map(list => list.measure()).some(changed => changed)) {
      this.invalidate();
    }
  }

  private toggle(id: string): void {
    if (!this.open.delete(id)) {
      this.open.add(id);
    }
    this.invalidate();
  }

  private setLive(live: boolean): void {
    this.live = live;
    this.invalidate();
  }

  private showSpan(seconds: number): void {
    if (seconds >= SHORTEST_S && seconds <= LONGEST_S) {
      this.zoom(seconds / span(this.range), 1);
    }
  }

  /** Live it stays live: what is shown always ends now. */
  private zoom(factor: number, at: number): void {
    const place = this.live ? 1 : Math.min(1, Math.max(0, at));
    this.range = zoomed(this.range, factor, this.range.from + place * span(this.range), this.end());
    this.invalidate();
  }

  private move(share: number): void {
    const end = this.end();
    this.range = panned(this.range, share * span(this.range), end);
    // Whoever has moved up to now wants to see what comes.
    this.live = this.range.to >= end && share > 0;
    this.invalidate();
  }

  private goToEnd(first: boolean): void {
    this.live = !first;
    if (first) {
      this.range = panned(this.range, -LONGEST_S, this.end());
    }
    this.invalidate();
  }

  /** Now, or the end of the pixel that it falls into. */
  private end(): number {
    return this.live ? this.range.to : this.options.now();
  }

  private onRowKey(event: KeyboardEvent): void {
    const steps: Record<string, number | undefined> = { ArrowUp: -1, ArrowDown: 1 };
    const step = steps[event.key];
    if (step === undefined) {
      return;
    }
    const lists = [this.lists.sessions, this.lists.devices];
    for (const [place, list] of lists.entries()) {
      const beside = list.beside(step);
      if (beside) {
        const next = beside.subject ?? lists[place + step]?.first(step < 0);
        if (next) {
          event.preventDefault();
          this.goTo(next);
        }
        return;
      }
    }
  }

  /** Bring a row into sight and put the keyboard on it. */
  private goTo({ id, kind }: Subject): void {
    const list = kind === 'session' ? this.lists.sessions : this.lists.devices;
    const place = list.placeOf(id);
    const { top, bottom } = this.scroller.getBoundingClientRect();
    if (place && place.top < top) {
      this.scroller.scrollTop -= top - place.top;
    } else if (place && place.bottom > bottom) {
      this.scroller.scrollTop += place.bottom - bottom;
    }
    this.draw();
    list.focus(id);
  }

  /** Everything in the time that is shown, also what is out of sight. */
  private async save(): Promise<void> {
    if (this.isSaving) {
      return;
    }
    this.isSaving = true;
    const { range, subjects } = this;
    const { trans } = this.says.words;
    const tell = (done: number): void => this.toolbar.saving(trans.__('%1 of %2', done, subjects.length));
    tell(0);
    const found = await this.feed.all(subjects, range, this.width, tell);
    const text = csvOf(
      subjects.map(subject => {
        const answer = found.get(subject.id);
        const track = answer instanceof Track ? answer : null;
        return { ...subject, track, why: answer instanceof Error ? answer.message : '' };
      }),
      range
    );
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([text], { type: 'text/csv' }));
    link.download = fileName(range);
    link.click();
    URL.revokeObjectURL(link.href);
    this.toolbar.saving(null);
    this.isSaving = false;
  }
}
