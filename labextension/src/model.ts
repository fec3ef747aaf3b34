import type { IDisposable } from '@lumino/disposable';

import type {
  Explanation,
  Hello,
  KernelPreview,
  Notice,
  NoticesEvent,
  Offer,
  Pool,
  PoolsEvent,
  Problem,
  ReasonView,
  SampleView,
  SessionsEvent,
  SessionView,
  TelemetryEvent
} from './_wire';
import { ApiError } from './api';
import { EMPTY, extended, type Series } from './series';
import type { Link } from './stream';

/** The notebook in front. */
export interface Notebook {
  path: string;
  name: string;
  kernelId: string | null;
}

/** What is asked for. */
export interface Wish {
  memoryBytes: number;
  durationS: number;
}

/** The card that says what Get will do, before it does it. */
export interface Card {
  /** Null: whichever comes first. */
  offer: Offer | null;
  path: string;
  kernelId: string | null;
  preview: KernelPreview | null;
  previewing: boolean;
  /** Made once per card, so that a double click makes one session. */
  key: string;
  sending: boolean;
  /** The kernel has run since the person was told what Get would do: they are told anew and choose again. */
  overtaken: boolean;
  problem: Problem | null;
}

export interface State {
  link: Link;
  /** By this machine's clock, in Unix seconds; null until something came. */
  heardAt: number | null;
  /** Server's clock minus ours, in seconds. */
  skew: number;
  simulated: boolean;
  notebook: Notebook | null;
  wish: Wish;
  offers: readonly Offer[] | null;
  offersProblem: Problem | null;
  /** That less than the wish would do for the notebook in front. */
  advice: ReasonView | null;
  card: Card | null;
  sessions: readonly SessionView[] | null;
  /** When the sessions were so, by the server's clock, in Unix seconds. */
  sessionsAt: number;
  pools: readonly Pool[] | null;
  samples: Readonly<Record<string, SampleView>>;
  series: Readonly<Record<string, Series>>;
  explanations: Readonly<Record<string, Explanation | undefined>>;
  /** What is under way: `release:<id>` and the like. */
  busy: ReadonlySet<string>;
  /** What went wrong, by session id, or under `site`. */
  problems: Readonly<Record<string, Problem | undefined>>;
}

const START: State = {
  link: 'connecting',
  heardAt: null,
  skew: 0,
  simulated: false,
  notebook: null,
  wish: { memoryBytes: 10e9, durationS: 7200 },
  offers: null,
  offersProblem: null,
  advice: null,
  card: null,
  sessions: null,
  sessionsAt: 0,
  pools: null,
  samples: {},
  series: {},
  explanations: {},
  busy: new Set(),
  problems: {}
};

/** How long an ended session is still shown, with why it ended. */
const SHOW_ENDED_S = 120;

export function problemOf(error: unknown): Problem {
  return error instanceof ApiError
    ? error.problem
    : { type: 'about:blank', title: '', status: 0, code: 'panel', detail: String(error), hint: '', params: {} };
}

/** Everything that the panel shows, in one place. */
export class Model implements IDisposable {
  private current = START;
  private readonly listeners = new Set<() => void>();
  private readonly noticeListeners = new Set<(notice: Notice) => void>();
  private readonly telemetryListeners = new Set<(event: TelemetryEvent) => void>();
  private readonly seen = new Set<string>();
  private readonly endedAt = new Map<string, number>();

  get state(): State {
    return this.current;
  }

  get isDisposed(): boolean {
    return this.listeners.size === 0 && this.current === START;
  }

  dispose(): void {
    this.listeners.clear();
    this.noticeListeners.clear();
    this.telemetryListeners.clear();
    this.current = START;
  }

  readonly snapshot = (): State => this.current;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  onNotice(listener: (notice: Notice) => void): void {
    this.noticeListeners.add(listener);
  }

  /** Readings of all devices: too many, too often, for a state that everything is drawn from. */
  onTelemetry(listener: (event: TelemetryEvent) => void): () => void {
    this.telemetryListeners.add(listener);
    return () => this.telemetryListeners.delete(listener);
  }

  set(change: Partial<State>): void {
    this.current = { ...this.current, ...change };
    this.listeners.forEach(listener => listener());
  }

  /** The server's time, in Unix seconds. */
  now(): number {
    return Date.now() / 1000 + this.current.skew;
  }

  /** The live session of a notebook or kernel. */
  sessionOf(notebook: Notebook | null): SessionView | null {
    if (!notebook) {
      return null;
    }
    const live = (this.current.sessions ?? []).filter(s => s.state !== 'ended' && s.state !== 'ending');
    return (
      live.find(s => notebook.kernelId !== null && s.kernel_ids.includes(notebook.kernelId)) ??
      live.find(s => s.path !== null && s.path === notebook.path) ??
      null
    );
  }

  /** One event of the stream. What is not understood is ignored: a newer server may say more. */
  hear(type: string, data: string): void {
    const heardAt = Date.now() / 1000;
    switch (type) {
      case 'hello': {
        const hello = JSON.parse(data) as Hello;
        this.set({ heardAt, simulated: hello.simulated });
        break;
      }
      case 'sessions': {
        const event = JSON.parse(data) as SessionsEvent;
        this.set({ heardAt, ...this.withSessions(event.items, event.as_of) });
        break;
      }
      case 'pools': {
        const event = JSON.parse(data) as PoolsEvent;
        this.set({ heardAt, pools: event.items, skew: event.as_of - heardAt });
        break;
      }
      case 'telemetry': {
        const event = JSON.parse(data) as TelemetryEvent;
        const series = { ...this.current.series };
        for (const [id, sample] of Object.entries(event.sessions)) {
          series[id] = extended(series[id] ?? EMPTY, sample);
        }
        this.set({ heardAt, samples: event.sessions, series, skew: event.as_of - heardAt });
        this.telemetryListeners.forEach(listener => listener(event));
        break;
      }
      case 'notices': {
        this.set({ heardAt });
        for (const notice of (JSON.parse(data) as NoticesEvent).items) {
          this.notice(notice);
        }
      }
    }
  }

  /** A session as a call has just answered it: shown at once, before the stream says so. */
  put(session: SessionView): void {
    const known = this.current.sessions ?? [];
    const items = known.some(s => s.id === session.id)
      ? known.map(s => (s.id === session.id ? session : s))
      : [...known, session];
    this.set(this.withSessions(items, this.now()));
  }

  /** Run something that takes time; its name is in `busy` meanwhile, and its problem in `problems` afterwards. */
  async during(name: string, place: string, work: () => Promise<void>): Promise<void> {
    if (this.current.busy.has(name)) {
      return;
    }
    this.set({
      busy: new Set([...this.current.busy, name]),
      problems: { ...this.current.problems, [place]: undefined }
    });
    try {
      await work();
    } catch (error) {
      this.set({ problems: { ...this.current.problems, [place]: problemOf(error) } });
    } finally {
      this.set({ busy: new Set([...this.current.busy].filter(other => other !== name)) });
    }
  }

  private withSessions(all: readonly SessionView[], asOf: number): Partial<State> {
    // An operator is told of everybody's.
    const items = all.filter(session => session.mine);
    for (const session of items) {
      if (session.state === 'ended' && !this.endedAt.has(session.id)) {
        // One that had ended before we looked is not news.
        const known = this.current.sessions?.some(s => s.id === session.id) ?? false;
        this.endedAt.set(session.id, known ? asOf : asOf - SHOW_ENDED_S);
      }
    }
    const shown = items.filter(
      s => s.state !== 'ended' || (s.end_reason !== 'released' && asOf - (this.endedAt.get(s.id) ?? 0) < SHOW_ENDED_S)
    );
    const ids = new Set(shown.map(s => s.id));
    const series = Object.fromEntries(Object.entries(this.current.series).filter(([id]) => ids.has(id)));
    return { sessions: shown, sessionsAt: asOf, series, skew: asOf - Date.now() / 1000 };
  }

  private notice(notice: Notice): void {
    if (!this.seen.has(notice.id)) {
      this.seen.add(notice.id);
      this.noticeListeners.forEach(listener => listener(notice));
    }
  }
}
