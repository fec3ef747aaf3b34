import { Notification } from '@jupyterlab/apputils';

import type { Notice } from './_wire';
import type { Actions } from './actions';
import type { Model } from './model';
import { holds } from './stale';
import type { Words } from './words';

const SEEN_KEY = 'swangpu:notices-seen';
const REMEMBERED = 100;
/** A notice that is older has been overtaken by the panel. */
const NEWS_S = 600;
const QUIET_CLOSE_MS = 8000;

/** Notices that a GPU goes back soon. */
export const GOES_BACK: ReadonlySet<string> = new Set(['lease_ends', 'idle_ends', 'called_back']);

interface Todo {
  label: string;
  run: (id: string) => unknown;
}

function seenBefore(): string[] {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(SEEN_KEY) ?? '[]');
    return Array.isArray(stored) ? stored.map(String) : [];
  } catch {
    return [];
  }
}

/** Shows notices as notifications, once per browser, in a tab that somebody sees, as long as they are true. */
export class Notifier {
  private waiting: Notice[] = [];
  /** What is shown, by the notification's id. */
  private readonly shown = new Map<string, Notice>();

  constructor(
    private readonly model: Model,
    private readonly actions: Actions,
    private readonly words: Words,
    private readonly enabled: () => boolean
  ) {
    model.onNotice(notice => {
      this.waiting.push(notice);
      this.flush();
    });
    document.addEventListener('visibilitychange', () => this.flush());
    model.subscribe(() => this.dismiss());
  }

  /** Take away what is not true any more, wherever that was brought about. */
  private dismiss(): void {
    this.takeBack(notice => this.stale(notice));
  }

  private takeBack(which: (notice: Notice) => boolean): void {
    for (const [id, notice] of this.shown) {
      if (which(notice)) {
        this.shown.delete(id);
        Notification.dismiss(id);
      }
    }
  }

  /** What is known of the sessions must not be older than the notice: it may come first. */
  private stale(notice: Notice): boolean {
    const { sessions, sessionsAt } = this.model.state;
    return sessions !== null && sessionsAt >= notice.at && !holds(notice, sessions.find(s => s.id === notice.session_id));
  }

  private flush(): void {
    if (document.visibilityState !== 'visible' || this.waiting.length === 0) {
      return;
    }
    const seen = seenBefore();
    const news = this.waiting.filter(n => !seen.includes(n.id) && this.model.now() - n.at < NEWS_S);
    this.waiting = [];
    localStorage.setItem(SEEN_KEY, JSON.stringify([...seen, ...news.map(n => n.id)].slice(-REMEMBERED)));
    if (this.enabled()) {
      news.filter(notice => !this.stale(notice)).forEach(notice => this.show(notice));
    }
  }

  private show(notice: Notice): void {
    const { session_id: id } = notice;
    const todos = id === null ? [] : notice.actions.flatMap(name => this.todo(name) ?? []);
    const shown = Notification.emit(this.words.notice(notice, this.about(id)), notice.level, {
      autoClose: todos.length > 0 ? false : QUIET_CLOSE_MS,
      actions: todos.map(({ label, run }, n) => ({
        label,
        displayType: n === 0 ? 'accent' : 'default',
        callback: () => void run(id ?? '')
      }))
    });
    if (todos.length > 0) {
      // what is said anew of a session is all that there is to do about it
      this.takeBack(({ session_id }) => session_id === notice.session_id);
      this.shown.set(shown, notice);
    }
  }

  /** What the session of a notice is for: two notebooks may be on the same kind of share. */
  private about(id: string | null): string | null {
    const session = this.model.state.sessions?.find(s => s.id === id);
    return session?.path?.split('/').at(-1) ?? session?.purpose ?? null;
  }

  private todo(name: string): Todo | undefined {
    const { trans } = this.words;
    switch (name) {
      case 'claim':
        return { label: trans.__('Start'), run: id => this.actions.claim(id) };
      case 'extend':
        return { label: trans.__('Extend'), run: id => this.actions.extend(id) };
      case 'release':
        return { label: trans.__('Release'), run: id => this.actions.release(id) };
      default:
        return undefined;
    }
  }
}
