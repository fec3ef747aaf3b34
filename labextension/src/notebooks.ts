import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { Contents } from '@jupyterlab/services';

import type { Model, Notebook } from './model';

/** Keeps the model told of the notebook in front, and saves and starts notebooks for it. */
export class Notebooks {
  private followed: NotebookPanel | null = null;

  constructor(
    private readonly tracker: INotebookTracker | null,
    private readonly contents: Contents.IManager,
    private readonly model: Model,
    private readonly changed: () => void
  ) {
    tracker?.currentChanged.connect((_, panel) => this.follow(panel));
    this.follow(tracker?.currentWidget ?? null);
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
    const stays = card !== null && card.path === notebook?.path && card.kernelId === notebook.kernelId;
    this.model.set({ notebook, card: stays || card?.sending ? card : null });
    if (before?.path !== notebook?.path) {
      this.changed();
    }
  };
}
