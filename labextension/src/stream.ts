import type { IDisposable } from '@lumino/disposable';

import type { ChangesEvent } from './_wire';
import { keyed, type Tree, unkeyed, withChanges } from './changes';

/** What the panel needs of an EventSource. */
export interface Source {
  addEventListener(type: string, listener: (event: MessageEvent<string>) => void): void;
  onopen: ((event: Event) => void) | null;
  onerror: ((event: Event) => void) | null;
  close(): void;
}

/** What it needs of a BroadcastChannel. */
export interface Channel {
  postMessage(message: Message): void;
  onmessage: ((event: MessageEvent<Message>) => void) | null;
  close(): void;
}

export type Link = 'connecting' | 'live' | 'away';

/** What somebody looks at live: nothing, the use of their sessions, or that of all devices too. */
export type Look = 'nothing' | 'sessions' | 'devices';

export type Message =
  | { kind: 'event'; type: string; data: string }
  | { kind: 'link'; link: Link }
  | { kind: 'leads' }
  | { kind: 'joined'; tab: string; look: Look }
  | { kind: 'left'; tab: string };

export interface StreamOptions {
  /** One stream per browser and scope. */
  scope: string;
  url: (topics: readonly string[]) => string;
  onEvent: (type: string, data: string) => void;
  onLink: (link: Link) => void;
  open?: (url: string) => Source;
  channel?: (name: string) => Channel;
  /** Null where the page is not secure, and the browser has no Web Locks. */
  locks?: Pick<LockManager, 'request'> | null;
  random?: () => number;
}

export const EVENTS = ['hello', 'sessions', 'pools', 'telemetry', 'changes', 'notices', 'heartbeat'] as const;
/** What a tab that comes later needs to be up to date. */
const STATE = new Set(['hello', 'sessions', 'pools', 'telemetry']);
const ALWAYS = ['sessions', 'pools', 'notices'];
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30_000;
const SILENCE_MS = 20_000;

/**
 * One event stream for all tabs of a browser: HTTP/1.1 allows six connections to a server, and six tabs with a
 * stream each would block the seventh. The tab that holds a Web Lock leads; it opens the stream and hands on what
 * it hears. When it is closed the browser gives the lock to the next.
 *
 * Telemetry is asked for only while somebody looks, so that the driver is left alone otherwise; a tab that is hidden
 * does not look. It comes as changes, which the leader puts together.
 */
export class SharedStream implements IDisposable {
  private readonly tab = Math.random().toString(36).slice(2);
  private readonly name: string;
  private readonly channel: Channel;
  private readonly locks: Pick<LockManager, 'request'> | null;
  private readonly open: (url: string) => Source;
  private readonly last = new Map<string, string>();
  private readonly lookers = new Map<string, Look>();
  /** Tabs that this one hears the end of. */
  private readonly heeded = new Set<string>();
  private source: Source | null = null;
  private topics = '';
  private link: Link = 'connecting';
  private leads = false;
  private wish: Look = 'nothing';
  /** What changes are put together with, by topic. */
  private readonly known = new Map<string, Tree>();
  private failures = 0;
  private retry: number | undefined;
  private silence: number | undefined;
  private beats = false;
  /** Let go of the locks that this tab holds. */
  private readonly done: (() => void)[] = [];
  private disposed = false;

  constructor(private readonly options: StreamOptions) {
    this.open = options.open ?? (url => new EventSource(url, { withCredentials: true }));
    this.name = `swangpu:${options.scope}`;
    this.channel = (options.channel ?? (n => new BroadcastChannel(n)))(this.name);
    this.channel.onmessage = ({ data }) => this.hear(data);
    const locks: Pick<LockManager, 'request'> | null | undefined = navigator.locks;
    this.locks = (options.locks === undefined ? locks : options.locks) ?? null;
    if (this.locks) {
      void this.locks.request(this.aliveOf(this.tab), () => this.live());
      void this.locks.request(this.name, () => this.lead());
    } else {
      // Without locks every tab leads itself, but only while it is in front.
      document.addEventListener('visibilitychange', this.onVisibility);
      this.onVisibility();
      this.announce();
    }
    document.addEventListener('visibilitychange', this.announce);
    window.addEventListener('pagehide', this.onLeave);
  }

  get isDisposed(): boolean {
    return this.disposed;
  }

  /** Whether this tab holds the stream. */
  get isLeader(): boolean {
    return this.leads;
  }

  /** Tell what somebody looks at in this tab. */
  look(look: Look): void {
    if (look !== this.wish) {
      this.wish = look;
      this.announce();
    }
  }

  dispose(): void {
    if (this.disposed) {
      return;
    }
    this.disposed = true;
    window.removeEventListener('pagehide', this.onLeave);
    document.removeEventListener('visibilitychange', this.onVisibility);
    document.removeEventListener('visibilitychange', this.announce);
    this.onLeave();
    this.hang();
    this.channel.onmessage = null;
    this.channel.close();
    this.done.forEach(letGo => letGo());
  }

  private readonly onLeave = (): void => this.say({ kind: 'left', tab: this.tab });

  private readonly announce = (): void => {
    const look = document.visibilityState === 'hidden' ? 'nothing' : this.wish;
    this.say({ kind: 'joined', tab: this.tab, look });
    this.note(this.tab, look);
  };

  private readonly onVisibility = (): void => {
    if (document.visibilityState === 'visible') {
      this.leads = true;
      this.dial();
    } else {
      this.leads = false;
      this.hang();
    }
  };

  /** Leads until disposed of: the lock is held as long as the promise is open. */
  private lead(): Promise<void> {
    if (this.disposed) {
      return Promise.resolve();
    }
    this.leads = true;
    // Who is there says so again; the leader before may have ended without a word.
    this.lookers.clear();
    this.announce();
    this.dial();
    this.say({ kind: 'leads' });
    return this.held();
  }

  /** Holds a lock for as long as this tab is there, so that others hear when it has crashed. */
  private live(): Promise<void> {
    if (this.disposed) {
      return Promise.resolve();
    }
    this.announce();
    return this.held();
  }

  private held(): Promise<void> {
    return new Promise(resolve => {
      this.done.push(resolve);
    });
  }

  /** Hear when a tab is gone, also when it could not say so. */
  private heed(tab: string): void {
    if (this.locks !== null && tab !== this.tab && !this.heeded.has(tab)) {
      this.heeded.add(tab);
      void this.locks.request(this.aliveOf(tab), () => {
        this.heeded.delete(tab);
        this.note(tab, 'nothing');
        return Promise.resolve();
      });
    }
  }

  private aliveOf(tab: string): string {
    return `${this.name}:${tab}`;
  }

  private hear(message: Message): void {
    switch (message.kind) {
      case 'event':
        this.options.onEvent(message.type, message.data);
        break;
      case 'link':
        this.options.onLink(message.link);
        break;
      case 'leads':
        this.announce();
        break;
      case 'joined':
        this.note(message.tab, message.look);
        if (this.leads) {
          this.heed(message.tab);
          this.last.forEach((data, type) => this.say({ kind: 'event', type, data }));
          this.say({ kind: 'link', link: this.link });
        }
        break;
      case 'left':
        this.note(message.tab, 'nothing');
    }
  }

  private note(tab: string, look: Look): void {
    if (look === 'nothing') {
      this.lookers.delete(tab);
    } else {
      this.lookers.set(tab, look);
    }
    if (this.leads && this.source && this.wanted().join() !== this.topics) {
      this.dial();
    }
  }

  private wanted(): string[] {
    const looks = [...this.lookers.values()];
    return [
      ...ALWAYS,
      ...(looks.length > 0 ? ['telemetry'] : []),
      ...(looks.includes('devices') ? ['devices'] : [])
    ];
  }

  private dial(): void {
    this.hang();
    const topics = this.wanted();
    this.topics = topics.join();
    const source = this.open(this.options.url(topics));
    this.source = source;
    source.onopen = () => {
      this.failures = 0;
      this.tell('live');
      this.expectBeat();
    };
    source.onerror = () => this.lost();
    for (const type of EVENTS) {
      source.addEventListener(type, event => {
        this.beats ||= type === 'heartbeat';
        this.expectBeat();
        if (type === 'changes') {
          this.change(event.data);
        } else if (type !== 'heartbeat') {
          this.known.delete(type);
          this.pass(type, event.data);
        }
      });
    }
  }

  private pass(type: string, data: string): void {
    if (STATE.has(type)) {
      this.last.set(type, data);
    }
    this.options.onEvent(type, data);
    this.say({ kind: 'event', type, data });
  }

  /** Put what has changed together with what was there; everybody else hears of the whole only. */
  private change(data: string): void {
    const changes = JSON.parse(data) as ChangesEvent;
    const whole = this.last.get(changes.topic);
    if (whole === undefined) {
      return;
    }
    const before = this.known.get(changes.topic) ?? keyed(changes.topic, JSON.parse(whole) as Tree);
    const now = withChanges(before, changes);
    this.known.set(changes.topic, now);
    this.pass(changes.topic, JSON.stringify(unkeyed(changes.topic, now)));
  }

  private lost(): void {
    this.hang();
    this.tell('away');
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.failures);
    this.failures += 1;
    const spread = 0.75 + 0.5 * (this.options.random ?? Math.random)();
    this.retry = window.setTimeout(() => this.dial(), wait * spread);
  }

  /** A connection that is dead without saying so: heartbeats came, and now nothing does. */
  private expectBeat(): void {
    window.clearTimeout(this.silence);
    if (this.beats) {
      this.silence = window.setTimeout(() => this.lost(), SILENCE_MS);
    }
  }

  private hang(): void {
    window.clearTimeout(this.retry);
    window.clearTimeout(this.silence);
    if (this.source) {
      this.source.onopen = null;
      this.source.onerror = null;
      this.source.close();
      this.source = null;
    }
  }

  private tell(link: Link): void {
    this.link = link;
    this.options.onLink(link);
    this.say({ kind: 'link', link });
  }

  private say(message: Message): void {
    this.channel.postMessage(message);
  }
}
