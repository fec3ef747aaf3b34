import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { ICommandPalette } from '@jupyterlab/apputils';

import type { SessionView } from './_wire';
import type { Actions } from './actions';
import { gpuIcon } from './icon';
import type { Model } from './model';
import type { GpuPanel } from './panel';
import { CommandIDs } from './tokens';
import type { Words } from './words';

export interface CommandOptions {
  app: JupyterFrontEnd;
  palette: ICommandPalette | null;
  panel: GpuPanel;
  model: Model;
  actions: Actions;
  words: Words;
}

/** The panel's verbs, for the command palette and for keys. */
export function addCommands({ app, palette, panel, model, actions, words }: CommandOptions): void {
  const { commands } = app;
  const { trans } = words;
  const mine = (verb: string): SessionView | null => {
    const session = model.sessionOf(model.state.notebook);
    return session?.actions.includes(verb) ? session : null;
  };
  const show = (): void => {
    app.shell.activateById(panel.id);
    panel.takeFocus();
  };

  commands.addCommand(CommandIDs.open, { label: trans.__('Show GPU Panel'), icon: gpuIcon, execute: show });
  commands.addCommand(CommandIDs.get, {
    label: trans.__('Get a GPU for This Notebook'),
    isEnabled: () => model.state.notebook !== null && model.sessionOf(model.state.notebook) === null,
    execute: show
  });
  const verbs: [string, string, string, (id: string) => Promise<void>][] = [
    [CommandIDs.start, 'claim', trans.__('Start on the GPU That Is Ready for This Notebook'), id => actions.claim(id)],
    [CommandIDs.extend, 'extend', trans.__('Extend the GPU of This Notebook by One Hour'), id => actions.extend(id)],
    [CommandIDs.release, 'release', trans.__('Release the GPU of This Notebook'), id => actions.release(id)]
  ];
  for (const [id, verb, label, run] of verbs) {
    commands.addCommand(id, {
      label,
      isEnabled: () => mine(verb) !== null,
      execute: async () => {
        const session = mine(verb);
        if (session) {
          await run(session.id);
        }
      }
    });
  }
  model.subscribe(() => commands.notifyCommandChanged());
  for (const command of Object.values(CommandIDs)) {
    palette?.addItem({ command, category: trans.__('GPU') });
  }
}
