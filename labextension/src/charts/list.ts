import { add, setAttribute, setText } from './dom';
import { Row, type Scene } from './row';
import type { Says } from './says';
import type { Subject } from './subject';

/** Rows a little out of sight are drawn, too, so that the keyboard and a fast scroll find them. */
const MARGIN_PX = 120;

export type SceneOf = (subject: Subject) => Scene;

export interface ListOptions {
  says: Says;
  title: string;
  /** What is said where there is nothing. */
  empty: string;
  /** What tells these ids from those of another Monitor on the page. */
  prefix: string;
  isOpen: (id: string) => boolean;
  onToggle: (id: string) => void;
}

/** A list of subjects of which only those in sight are in the page. */
export class RowList {
  private readonly section: HTMLElement;
  private readonly list: HTMLUListElement;
  private readonly empty: HTMLElement;
  private readonly count: HTMLElement;
  private readonly simulated: HTMLElement;
  private readonly rows = new Map<string, Row>();
  private readonly heights = new Map<string, number>();
  private subjects: readonly Subject[] = [];
  private rowPx = 34;
  private tops: number[] = [];

  constructor(
    parent: Element,
    private readonly options: ListOptions
  ) {
    this.section = add(parent, 'section', 'jp-GpuMonitor-section');
    const heading = add(this.section, 'div', 'jp-GpuMonitor-heading');
    const title = add(heading, 'h2', '', options.title);
    title.id = `${options.prefix}-title`;
    this.section.setAttribute('aria-labelledby', title.id);
    this.count = add(heading, 'span', 'jp-GpuMonitor-pill');
    this.simulated = add(heading, 'span', 'jp-GpuMonitor-pill', options.says.words.trans.__('simulated'));
    this.simulated.hidden = true;
    this.empty = add(this.section, 'p', 'jp-GpuMonitor-muted jp-GpuMonitor-empty', options.empty);
    this.list = add(this.section, 'ul');
    // Without marks some browsers do not take it for a list.
    this.list.setAttribute('role', 'list');
    this.list.setAttribute('aria-labelledby', title.id);
  }

  setSubjects(subjects: readonly Subject[]): void {
    const known = (list: readonly Subject[]): string => list.map(({ id }) => id).filter(id => this.rows.has(id)).join();
    const moved = known(subjects) !== known(this.subjects);
    this.subjects = subjects;
    if (moved) {
      subjects.forEach(({ id }) => this.list.append(...(this.rows.has(id) ? [this.rows.get(id)?.node ?? ''] : [])));
    }
    setText(this.count, subjects.length ? String(subjects.length) : '');
    this.count.hidden = subjects.length === 0;
    this.simulated.hidden = !subjects.some(subject => subject.simulated);
    this.empty.hidden = subjects.length > 0;
    this.list.hidden = subjects.length === 0;
  }

  show(shown: boolean): void {
    this.section.hidden = !shown;
  }

  say(empty: string): void {
    setText(this.empty, empty);
  }

  /** The subjects of which anything is between these heights of the window. */
  inSight(top: number, bottom: number, rowPx: number): Subject[] {
    this.rowPx = rowPx;
    this.tops = [];
    let at = 0;
    for (const { id } of this.subjects) {
      this.tops.push(at);
      at += this.heightOf(id);
    }
    this.list.style.height = `${at}px`;
    const start = this.list.getBoundingClientRect().top;
    return this.subjects.filter((subject, place) => {
      const from = start + (this.tops[place] ?? 0);
      return from < bottom + MARGIN_PX && from + this.heightOf(subject.id) > top - MARGIN_PX;
    });
  }

  draw(seen: readonly Subject[], sceneOf: SceneOf): void {
    const ids = new Set(seen.map(({ id }) => id));
    for (const [id, row] of this.rows) {
      // Whoever has the keyboard in a row keeps it.
      const isHeld = row.node.contains(document.activeElement) && this.subjects.some(subject => subject.id === id);
      if (!ids.has(id) && !isHeld) {
        row.dispose();
        this.rows.delete(id);
      }
    }
    this.subjects.forEach((subject, place) => {
      const known = this.rows.get(subject.id);
      if (!known && !ids.has(subject.id)) {
        return;
      }
      const row = known ?? this.newRow(subject.id, place);
      row.node.style.transform = `translateY(${this.tops[place] ?? 0}px)`;
      setAttribute(row.node, 'aria-setsize', String(this.subjects.length));
      setAttribute(row.node, 'aria-posinset', String(place + 1));
      row.draw(sceneOf(subject));
    });
  }

  /** Measures the open rows in sight; true when one has another height than was thought. */
  measure(): boolean {
    let changed = false;
    for (const [id, row] of this.rows) {
      const height = this.options.isOpen(id) ? row.node.offsetHeight : 0;
      if ((this.heights.get(id) ?? 0) !== height) {
        if (height) {
          this.heights.set(id, height);
        } else {
          this.heights.delete(id);
        }
        changed = true;
      }
    }
    return changed;
  }

  /** The subject before or after the one that has the keyboard; undefined where none has it. */
  beside(step: number): { subject: Subject | undefined } | undefined {
    const here = this.subjects.findIndex(({ id }) => this.rows.get(id)?.button === document.activeElement);
    return here < 0 ? undefined : { subject: this.subjects[here + step] };
  }

  first(fromEnd: boolean): Subject | undefined {
    return fromEnd ? this.subjects.at(-1) : this.subjects[0];
  }

  /** Where a subject's row is in the window, in sight or not. */
  placeOf(id: string): { top: number; bottom: number } | null {
    const place = this.subjects.findIndex(subject => subject.id === id);
    if (place < 0) {
      return null;
    }
    const top = this.list.getBoundingClientRect().top + (this.tops[place] ?? 0);
    return { top, bottom: top + this.heightOf(id) };
  }

  focus(id: string): void {
    this.rows.get(id)?.button.focus({ preventScroll: true });
  }

  dispose(): void {
    this.rows.forEach(row => row.dispose());
    this.rows.clear();
    this.section.remove();
  }

  private heightOf(id: string): number {
    return this.options.isOpen(id) ? (this.heights.get(id) ?? this.rowPx) : this.rowPx;
  }

  private newRow(id: string, place: number): Row {
    const row = new Row(this.options.says, `${this.options.prefix}-${id}`, () => this.options.onToggle(id));
    this.rows.set(id, row);
    // In the page they stand as on the screen, so that the keyboard goes from one to the next.
    const after = this.subjects.slice(place + 1).find(subject => this.rows.has(subject.id));
    this.list.insertBefore(row.node, (after && this.rows.get(after.id)?.node) ?? null);
    return row;
  }
}
