import { Signal } from '@lumino/signaling';

import type { SessionView } from './_wire';
import type { Model } from './model';
import type { IGpuSessions } from './tokens';

/** What other extensions see of the model. */
export class SharedSessions implements IGpuSessions {
  readonly changed: Signal<IGpuSessions, void> = new Signal<IGpuSessions, void>(this);
  private before: readonly SessionView[] | null = null;

  constructor(private readonly model: Model) {
    model.subscribe(() => {
      if (this.sessions !== this.before) {
        this.before = this.sessions;
        this.changed.emit();
      }
    });
  }

  get sessions(): readonly SessionView[] | null {
    return this.model.state.sessions;
  }
}
