import { type INotebookTracker, NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';
import type { Contents, Session } from '@jupyterlab/services';

import type { SessionView } from './_wire';
import type { Model, Notebook } from './model';

const UNSETTLED = new Set(['starting', 'restarting', 'autorestarting', 'unknown']);
/** A kernel that has been restarted needs about that long until it listens. */
const SETTLE_MS = 1000;

/** Keeps the model told of the notebook in front, and saves and starts notebooks for it. */
export class Notebooks {
  private followed: NotebookPanel | null = null;

  constructor(
    private readonly tracker: INotebookTracker | null,
    private readonly contents: Contents.IManager,
    private readonly sessions: Session.IManager,
    private readonly model: Model,
    private readonly changed: () => void,
    /** A cell of the notebook in front has run. */
    private readonly ran: () => void,
    /** The notebook for which a person looks at an offer has got a kernel. */
    private readonly started: (kernelId: string) => void
  ) {
    NotebookActions.executed.connect((_, { notebook }) => {
      if (notebook === this.followed?.content) {
        this.ran();
      }
    });
    tracker?.currentChanged.connect((_, panel) => this.follow(panel));
    this.follow(tracker?.currentWidget ?? null);
    let before = '';
    model.subscribe(() => {
      const ids = (model.state.sessions ?? []).flatMap(session => [...session.kernel_ids, session.state]);
      if (ids.join() !== before) {
        const concerned = new Set([...before.split(','), ...ids]);
        before = ids.join();
        window.setTimeout(() => void this.greet(concerned).catch(() => undefined), SETTLE_MS);
      }
    });
  }

  /** A session's notebook: Jupyter knows it by its name of today, our server by the one it had. */
  pathOfSession(session: SessionView): string | null {
    const open = this.tracker?.find(panel => {
      const id = panel.sessionContext.session?.kernel?.id;
      return id !== undefined && session.kernel_ids.includes(id);
    });
    if (open) {
      return this.pathOf(open.context.path);
    }
    for (const running of this.sessions.running()) {
      if (running.kernel && session.kernel_ids.includes(running.kernel.id)) {
        return running.path;
      }
    }
    return session.path;
  }

  /** Save every open notebook of these paths that has unsaved changes. */
  async save(paths: readonly string[]): Promise<void> {
    const panels: NotebookPanel[] = [];
    this.tracker?.forEach(panel => panels.push(panel));
    await Promise.all(
      panels
        .filter(({ context }) => paths.includes(this.pathOf(context.path)) && context.model.dirty && !context.model.readOnly)
        .map(({ context }) => context.save())
    );
  }

  /**
   * Connect anew to the kernels of sessions that have been restarted. A restart that the server makes is not one
   * that the notebook has asked for: it would show "Starting" until the next cell runs.
   */
  private async greet(ids: ReadonlySet<string>): Promise<void> {
    const panels: NotebookPanel[] = [];
    this.tracker?.forEach(panel => panels.push(panel));
    for (const { sessionContext } of panels) {
      const kernel = sessionContext.session?.kernel;
      if (kernel && ids.has(kernel.id) && UNSETTLED.has(kernel.status)) {
        await kernel.reconnect();
      }
    }
  }

  /** The kernel of a notebook, started where there is none. */
  async ensureKernel(path: string): Promise<string | null> {
    const panel = this.tracker?.find(candidate => this.pathOf(candidate.context.path) === path);
    if (!panel) {
      return null;
    }
    const { sessionContext } = panel;
    await sessionContext.ready;
    if (!sessionContext.session?.kernel) {
      await sessionContext.startKernel();
    }
    return sessionContext.session?.kernel?.id ?? null;
  }

  /** The path as the server knows it: collaboration puts a drive in front. */
  private pathOf(path: string): string {
    return this.contents.localPath(path);
  }

  private follow(panel: NotebookPanel | null): void {
    if (this.followed && !this.followed.isDisposed) {
      this.followed.sessionContext.kernelChanged.disconnect(this.tell);
      this.followed.context.pathChanged.disconnect(this.tell);
    }
    this.followed = panel;
    panel?.sessionContext.kernelChanged.connect(this.tell);
    panel?.context.pathChanged.connect(this.tell);
    this.tell();
  }

  private readonly tell = (): void => {
    const panel = this.followed;
    const notebook: Notebook | null = panel
      ? {
          path: this.pathOf(panel.context.path),
          name: panel.title.label,
          kernelId: panel.sessionContext.session?.kernel?.id ?? null
        }
      : null;
    const before = this.model.state.notebook;
    const { card } = this.model.state;
    const same = card !== null && card.path === notebook?.path;
    const starts = same && !card.sending && card.kernelId === null && notebook.kernelId;
    this.model.set({ notebook, card: starts || card?.sending || (same && card.kernelId === notebook.kernelId) ? card : null });
    if (starts) {
      this.started(starts);
    }
    if (before?.path !== notebook?.path) {
      this.changed();
    }
  };
}
