import type { History } from '../_wire';
import type { Ask, Readings, Subject } from './subject';
import { type Range, span } from './timeline';
import { GAP_S, REMOTE_GAP_S, Track } from './track';

/** After somebody has moved the time, wait so long for the next move before asking. */
const PAUSE_MS = 150;
const AT_ONCE = 4;
const RETRY_MS = 10_000;
/** So many subjects are remembered, those seen last. */
const REMEMBERED = 64;
const MOST_POINTS = 2000;

interface Entry {
  track: Track | null;
  problem: string;
  /** What has been asked for, and how fine, in seconds a point. */
  covers: Range | null;
  fineness: number;
  retryAt: number;
  asking: { stop: AbortController; range: Range; fineness: number } | null;
}

export interface FeedOptions {
  ask: Ask;
  onChange: () => void;
  now: () => number;
}

/**
 * Knows what the subjects in sight did in the time that is shown: asks the server for it when it has to, and goes on
 * with what comes live. What is known stays until the answer is there.
 */
export class Feed {
  private readonly entries = new Map<string, Entry>();
  private wanted: { subjects: readonly Subject[]; range: Range; width: number } | null = null;
  private timer: number | undefined;
  private running = 0;
  private disposed = false;

  constructor(private readonly options: FeedOptions) {}

  track(id: string): Track | null {
    return this.entries.get(id)?.track ?? null;
  }

  problem(id: string): string {
    return this.entries.get(id)?.problem ?? '';
  }

  isAsking(id: string): boolean {
    const entry = this.entries.get(id);
    return entry?.asking != null || (entry?.track == null && !entry?.problem);
  }

  /** What is in sight now. At first it is asked for at once, later when the time shown has come to rest. */
  want(subjects: readonly Subject[], range: Range, width: number): void {
    const before = this.wanted;
    this.wanted = { subjects, range, width };
    if (!before?.subjects.length) {
      this.go();
      return;
    }
    const moved = before.range.from !== range.from || before.range.to !== range.to || before.width !== width;
    if (moved || this.timer === undefined) {
      window.clearTimeout(this.timer);
      this.timer = window.setTimeout(() => this.go(), PAUSE_MS);
    }
  }

  hear(readings: Readings): void {
    const oldest = this.wanted ? this.wanted.range.from - span(this.wanted.range) : -Infinity;
    for (const [id, { track, covers }] of this.entries) {
      const reading = readings[id];
      if (track && reading && covers?.to === Infinity) {
        track.add(reading);
        track.forget(oldest);
      }
    }
  }

  /** Nothing was heard for a while: what came in between has to be asked for. */
  stale(): void {
    for (const entry of this.entries.values()) {
      entry.covers = null;
    }
  }

  /** The same for any number of subjects, a few at a time, for a file. */
  async all(
    subjects: readonly Subject[],
    range: Range,
    width: number,
    tell: (done: number) => void
  ): Promise<Map<string, Track | Error>> {
    const found = new Map<string, Track | Error>();
    const left = [...subjects];
    const worker = async (): Promise<void> => {
      for (let subject = left.shift(); subject && !this.disposed; subject = left.shift()) {
        const points = Math.min(MOST_POINTS, Math.max(1, Math.ceil(width)));
        try {
          const history = await this.options.ask(subject, range, points, new AbortController().signal);
          found.set(subject.id, trackOf(history, subject));
        } catch (error) {
          found.set(subject.id, error instanceof Error ? error : new Error(String(error)));
        }
        tell(found.size);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    return found;
  }

  dispose(): void {
    this.disposed = true;
    window.clearTimeout(this.timer);
    this.entries.forEach(entry => entry.asking?.stop.abort());
    this.entries.clear();
  }

  private go(): void {
    this.timer = undefined;
    if (!this.wanted || this.disposed) {
      return;
    }
    const { subjects, range, width } = this.wanted;
    const fineness = span(range) / Math.max(1, width);
    const seen = new Set(subjects.map(subject => subject.id));
    for (const [id, { asking }] of this.entries) {
      if (asking && !(seen.has(id) && contains(asking.range, range) && isFine(asking.fineness, fineness))) {
        asking.stop.abort();
      }
    }
    for (const subject of subjects) {
      const entry = this.entryOf(subject.id);
      const isKnown = entry.covers !== null && contains(entry.covers, range) && isFine(entry.fineness, fineness);
      const isUnderWay = entry.asking !== null && !entry.asking.stop.signal.aborted;
      if (!isKnown && !isUnderWay && Date.now() >= entry.retryAt && this.running < AT_ONCE) {
        void this.ask(subject, entry, range, fineness);
      }
    }
  }

  private async ask(subject: Subject, entry: Entry, range: Range, fineness: number): Promise<void> {
    const now = this.options.now();
    // Half a screen more at both sides, so that small moves have something to show at once.
    const more = span(range) / 2;
    const asked = { from: range.from - more, to: Math.min(now, range.to + more) };
    const asking = { stop: new AbortController(), range: reaching(asked, now), fineness };
    entry.asking = asking;
    this.running += 1;
    try {
      const points = Math.min(MOST_POINTS, Math.max(1, Math.ceil(span(asked) / fineness)));
      const history = await this.options.ask(subject, asked, points, asking.stop.signal);
      if (!asking.stop.signal.aborted) {
        entry.track = trackOf(history, subject);
        entry.covers = asking.range;
        entry.fineness = fineness;
        entry.problem = '';
      }
    } catch (error) {
      if (!asking.stop.signal.aborted) {
        entry.problem = error instanceof Error ? error.message : String(error);
        entry.retryAt = Date.now() + RETRY_MS;
      }
    } finally {
      this.running -= 1;
      if (entry.asking === asking) {
        entry.asking = null;
      }
      if (!this.disposed) {
        this.go();
        this.options.onChange();
      }
    }
  }

  private entryOf(id: string): Entry {
    const known = this.entries.get(id);
    if (known) {
      // The one that was looked at last is forgotten last.
      this.entries.delete(id);
      this.entries.set(id, known);
      return known;
    }
    const entry = { track: null, problem: '', covers: null, fineness: 0, retryAt: 0, asking: null };
    this.entries.set(id, entry);
    for (const [oldest, { asking }] of this.entries) {
      if (this.entries.size <= REMEMBERED) {
        break;
      }
      asking?.stop.abort();
      this.entries.delete(oldest);
    }
    return entry;
  }
}

function trackOf(history: History, { remote }: Subject): Track {
  return new Track(history, remote ? REMOTE_GAP_S : GAP_S);
}

/** What was asked for up to now goes on with what comes live. */
function reaching(range: Range, now: number): Range {
  return range.to >= now - 1 ? { from: range.from, to: Infinity } : range;
}

function contains(one: Range, other: Range): boolean {
  return one.from <= other.from && one.to >= other.to;
}

/** Fine enough to be drawn, and not so fine that it is slow. */
function isFine(have: number, need: number): boolean {
  return have <= need * 1.5 && have >= need / 8;
}
