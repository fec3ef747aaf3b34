import type { Model, State } from './model';

const CALM_MS = 1500;

/** Asks for offers when somebody sees them and something has changed; never more often than every so often. */
export class Offering {
  private seen = false;
  private stale = true;
  private lastAsked = -Infinity;
  private timer: number | undefined;
  private before: State;

  constructor(
    model: Model,
    private readonly look: () => Promise<void>
  ) {
    this.before = model.state;
    model.subscribe(() => {
      const { pools, sessions } = model.state;
      if (pools !== this.before.pools || sessions !== this.before.sessions) {
        this.before = model.state;
        this.ask();
      }
    });
  }

  /** Whether the panel is in sight. */
  see(seen: boolean): void {
    this.seen = seen;
    if (seen && this.stale) {
      this.ask();
    }
  }

  /** What was offered may have changed. */
  ask(): void {
    this.stale = true;
    if (!this.seen || this.timer !== undefined) {
      return;
    }
    const wait = Math.max(0, this.lastAsked + CALM_MS - Date.now());
    this.timer = window.setTimeout(() => {
      this.timer = undefined;
      this.lastAsked = Date.now();
      this.stale = false;
      void this.look();
    }, wait);
  }
}
