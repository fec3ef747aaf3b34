import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { type Channel, type Link, type Message, SharedStream, type Source, type StreamOptions } from './stream';

class FakeSource implements Source {
  static all: FakeSource[] = [];
  onopen: ((event: Event) => void) | null = null;
  onerror: ((event: Event) => void) | null = null;
  closed = false;
  private readonly listeners = new Map<string, (event: MessageEvent<string>) => void>();

  constructor(readonly url: string) {
    FakeSource.all.push(this);
  }

  static get open(): FakeSource[] {
    return FakeSource.all.filter(source => !source.closed);
  }

  addEventListener(type: string, listener: (event: MessageEvent<string>) => void): void {
    this.listeners.set(type, listener);
  }

  close(): void {
    this.closed = true;
  }

  says(type: string, data: string): void {
    this.listeners.get(type)?.(new MessageEvent(type, { data }));
  }
}

/** A browser: locks and channels that its tabs share. */
class Browser {
  private readonly channels = new Set<Channel>();
  private readonly waiting = new Map<string, (() => void)[]>();

  readonly locks = {
    request: (name: string, work: () => Promise<void>): Promise<void> =>
      new Promise(resolve => {
        const run = (): void => {
          void work().then(() => {
            resolve();
            this.release(name);
          });
        };
        const waiting = this.waiting.get(name);
        if (waiting) {
          waiting.push(run);
        } else {
          this.waiting.set(name, []);
          run();
        }
      })
  } as Pick<LockManager, 'request'>;

  /** The locks that are held, in the order in which they were taken. */
  get held(): string[] {
    return [...this.waiting.keys()];
  }

  /** Give a lock to the next: what a browser does when a tab ends or crashes. */
  release(name: string): void {
    const next = this.waiting.get(name)?.shift();
    if (next) {
      next();
    } else {
      this.waiting.delete(name);
    }
  }

  readonly channel = (): Channel => {
    const mine: Channel = {
      onmessage: null,
      postMessage: (message: Message) =>
        this.channels.forEach(other => {
          if (other !== mine) {
            other.onmessage?.(new MessageEvent('message', { data: message }));
          }
        }),
      close: () => void this.channels.delete(mine)
    };
    this.channels.add(mine);
    return mine;
  };
}

interface Tab {
  stream: SharedStream;
  events: string[];
  links: Link[];
}

const open: SharedStream[] = [];

function tab(browser: Browser, change: Partial<StreamOptions> = {}): Tab {
  const events: string[] = [];
  const links: Link[] = [];
  const stream = new SharedStream({
    scope: 'here',
    url: topics => topics.join(),
    onEvent: (type, data) => events.push(`${type} ${data}`),
    onLink: link => links.push(link),
    open: url => new FakeSource(url),
    channel: browser.channel,
    locks: browser.locks,
    random: () => 0.5,
    ...change
  });
  open.push(stream);
  return { stream, events, links };
}

function source(): FakeSource {
  const [only, ...more] = FakeSource.open;
  if (!only || more.length > 0) {
    throw new Error(`${FakeSource.open.length} streams are open`);
  }
  return only;
}

describe('the shared stream', () => {
  beforeEach(() => {
    vi.useFakeTimers();
    FakeSource.all = [];
  });
  afterEach(() => {
    open.splice(0).forEach(stream => stream.dispose());
    vi.restoreAllMocks();
    vi.useRealTimers();
  });

  it('is one for all tabs, and all hear it', () => {
    const browser = new Browser();
    const tabs = Array.from({ length: 7 }, () => tab(browser));
    source().says('sessions', '1');
    expect(tabs.map(t => t.events)).toEqual(tabs.map(() => ['sessions 1']));
    expect(tabs.filter(t => t.stream.isLeader)).toHaveLength(1);
  });

  it('brings a tab that comes later up to date', () => {
    const browser = new Browser();
    const first = tab(browser);
    source().onopen?.(new Event('open'));
    source().says('sessions', '1');
    source().says('sessions', '2');
    source().says('notices', 'old news');
    const late = tab(browser);
    expect(late.events).toEqual(['sessions 2']);
    expect(late.links).toEqual(['live']);
    expect(first.events).toHaveLength(3);
  });

  it('goes on in another tab when the leader is closed', async () => {
    const browser = new Browser();
    const first = tab(browser);
    const second = tab(browser);
    first.stream.dispose();
    await vi.runAllTimersAsync();
    expect(second.stream.isLeader).toBe(true);
    source().says('pools', '1');
    expect(second.events).toEqual(['pools 1']);
  });

  it('asks for telemetry only while somebody looks', async () => {
    const browser = new Browser();
    const first = tab(browser);
    const second = tab(browser);
    expect(source().url).not.toContain('telemetry');
    second.stream.look('sessions');
    expect(source().url).toContain('telemetry');
    first.stream.dispose();
    await vi.runAllTimersAsync();
    expect(source().url).toContain('telemetry');
    second.stream.look('nothing');
    expect(source().url).not.toContain('telemetry');
  });

  it('asks for all devices only while somebody looks at them', () => {
    const { stream } = tab(new Browser());
    stream.look('sessions');
    expect(source().url).not.toContain('devices');
    stream.look('devices');
    expect(source().url).toContain('devices');
  });

  it('does not look from a tab that is hidden', () => {
    const { stream } = tab(new Browser());
    stream.look('sessions');
    const state = vi.spyOn(document, 'visibilityState', 'get').mockReturnValue('hidden');
    document.dispatchEvent(new Event('visibilitychange'));
    expect(source().url).not.toContain('telemetry');
    state.mockReturnValue('visible');
    document.dispatchEvent(new Event('visibilitychange'));
    expect(source().url).toContain('telemetry');
  });

  it('puts changes together, also for a tab that comes later', () => {
    const browser = new Browser();
    const first = tab(browser);
    source().says('telemetry', '{"as_of":1,"samples":{},"sessions":{"a":{"x":1,"y":1,"taken_at":0.5},"b":{"x":2}}}');
    const changed = '"changed":{"sessions":{"a":{"y":5},"c":{"x":3,"taken_at":null}}},"gone":[["sessions","b"]]';
    source().says('changes', `{"topic":"telemetry","as_of":2,${changed}}`);
    const whole =
      'telemetry {"as_of":2,"samples":{},"sessions":{"a":{"x":1,"y":5,"taken_at":2},"c":{"x":3,"taken_at":2}}}';
    expect(first.events.at(-1)).toBe(whole);
    expect(tab(browser).events).toContain(whole);
  });

  it('forgets a tab that was closed while it looked', () => {
    const browser = new Browser();
    tab(browser);
    const second = tab(browser);
    second.stream.look('sessions');
    second.stream.dispose();
    expect(source().url).not.toContain('telemetry');
  });

  it('forgets a tab that crashed while it looked', () => {
    const browser = new Browser();
    const leader = tab(browser);
    const before = browser.held;
    const crashed = tab(browser);
    crashed.stream.look('sessions');
    expect(source().url).toContain('telemetry');
    const alive = browser.held.filter(name => !before.includes(name));
    expect(alive).toHaveLength(1);
    alive.forEach(name => browser.release(name));
    expect(source().url).not.toContain('telemetry');
    expect(leader.stream.isLeader).toBe(true);
  });

  it('comes back by itself, more slowly each time', () => {
    const browser = new Browser();
    const { links } = tab(browser);
    for (const wait of [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
      source().onerror?.(new Event('error'));
      expect(FakeSource.open).toHaveLength(0);
      vi.advanceTimersByTime(wait - 1);
      expect(FakeSource.open).toHaveLength(0);
      vi.advanceTimersByTime(1);
      expect(FakeSource.open).toHaveLength(1);
    }
    source().onopen?.(new Event('open'));
    expect(links.at(-1)).toBe('live');
    source().onerror?.(new Event('error'));
    vi.advanceTimersByTime(1000);
    expect(FakeSource.open).toHaveLength(1);
  });

  it('works without locks, in the tab in front', () => {
    const { stream, events } = tab(new Browser(), { locks: null });
    source().says('pools', '1');
    expect(events).toEqual(['pools 1']);
    stream.dispose();
    expect(FakeSource.open).toHaveLength(0);
  });
});
