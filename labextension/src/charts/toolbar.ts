import { add, addButton, setAttribute, setText } from './dom';
import type { Says } from './says';
import { gradient } from './scale';

const SPANS_S = [60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600];

export interface ToolbarOptions {
  says: Says;
  onLive: () => void;
  onSpan: (seconds: number) => void;
  onZoom: (factor: number) => void;
  /** By so much of what is shown. */
  onMove: (share: number) => void;
  onSave: () => void;
}

/** Live or not, how much time, and the legend. */
export class Toolbar {
  private readonly live: HTMLButtonElement;
  private readonly spans: HTMLSelectElement;
  private readonly other: HTMLOptionElement;
  private readonly shown: HTMLElement;
  private readonly save: HTMLButtonElement;
  private readonly bar: HTMLElement;
  private readonly saveLabel: string;

  constructor(parent: Element, options: ToolbarOptions) {
    const { says } = options;
    const { format, trans } = says.words;
    const node = add(parent, 'div', 'jp-GpuMonitor-bar');
    const group = add(node, 'div', 'jp-GpuMonitor-group');
    group.setAttribute('role', 'group');
    group.setAttribute('aria-label', trans.__('Time shown'));
    this.live = addButton(group, { label: trans.__('Live'), onClick: options.onLive });
    this.live.classList.add('jp-GpuMonitor-live');
    this.live.title = trans.__('Follow what happens now, or hold it');
    this.spans = add(group, 'select', 'jp-GpuMonitor-span');
    this.spans.setAttribute('aria-label', trans.__('How much time is shown'));
    this.other = add(this.spans, 'option');
    this.other.hidden = true;
    for (const seconds of SPANS_S) {
      add(this.spans, 'option', '', format.duration(seconds === 60 ? 60 : seconds)).value = String(seconds);
    }
    this.spans.addEventListener('change', () => options.onSpan(Number(this.spans.value)));
    addButton(group, { label: '−', about: trans.__('Zoom out'), onClick: () => options.onZoom(2) });
    addButton(group, { label: '+', about: trans.__('Zoom in'), onClick: () => options.onZoom(0.5) });
    addButton(group, { label: '‹', about: trans.__('Earlier'), onClick: () => options.onMove(-0.5) });
    addButton(group, { label: '›', about: trans.__('Later'), onClick: () => options.onMove(0.5) });
    this.shown = add(node, 'span', 'jp-GpuMonitor-muted jp-GpuMonitor-shown');
    this.saveLabel = trans.__('CSV');
    this.save = addButton(node, {
      label: this.saveLabel,
      about: trans.__('Save what is shown as CSV'),
      onClick: options.onSave
    });
    const legend = add(node, 'div', 'jp-GpuMonitor-legend');
    add(legend, 'span', '', trans.__('Busy: %1', format.percent(0)));
    this.bar = add(legend, 'span', 'jp-GpuMonitor-scale');
    this.bar.setAttribute('aria-hidden', 'true');
    add(legend, 'span', '', format.percent(100));
    const unknown = add(legend, 'span');
    add(unknown, 'span', 'jp-GpuMonitor-hatch').setAttribute('aria-hidden', 'true');
    unknown.append(trans.__('not known'));
  }

  draw(live: boolean, length: number, shown: string, lengthInWords: string): void {
    setAttribute(this.live, 'aria-pressed', String(live));
    const isUsual = SPANS_S.some(seconds => Math.abs(seconds - length) < 1);
    if (!isUsual) {
      setText(this.other, lengthInWords);
    }
    this.other.hidden = isUsual;
    const value = isUsual ? String(Math.round(length)) : this.other.value;
    if (this.spans.value !== value) {
      this.spans.value = value;
    }
    setText(this.shown, shown);
  }

  theme(dark: boolean): void {
    this.bar.style.background = gradient(dark);
  }

  /** While a file is made, its button says how far it is. */
  saving(progress: string | null): void {
    setText(this.save, progress ?? this.saveLabel);
    setAttribute(this.save, 'aria-disabled', String(progress !== null));
  }
}
