import type { ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import { MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import type { ILauncher } from '@jupyterlab/launcher';

import { gpuIcon } from './icon';
import { GpuMonitor, type MonitorOptions } from './monitor';
import { CommandIDs, MONITOR_ID } from './tokens';

export interface AddMonitorOptions {
  app: JupyterFrontEnd;
  restorer: ILayoutRestorer | null;
  launcher: ILauncher | null;
  options: MonitorOptions;
}

const BELOW_HEIGHT = '320px';

/** The command that opens the Monitor, or brings it to the front; it comes back when the page is loaded again. */
export function addMonitor({ app, restorer, launcher, options }: AddMonitorOptions): void {
  const { commands, shell } = app;
  const { trans } = options.words;
  const tracker = new WidgetTracker<MainAreaWidget<GpuMonitor>>({ namespace: MONITOR_ID });
  commands.addCommand(CommandIDs.monitor, {
    label: args => (args.isLauncher ? trans.__('GPU Monitor') : trans.__('Open GPU Monitor')),
    caption: trans.__('All GPUs and my sessions over time'),
    icon: gpuIcon,
    execute: async () => {
      let widget = tracker.currentWidget;
      if (!widget) {
        const added = new MainAreaWidget({ content: new GpuMonitor(options) });
        added.id = MONITOR_ID;
        added.toolbar.hide();
        shell.add(added, 'main');
        await tracker.add(added);
        void app.restored.then(() => {
          if (!added.isAttached && !added.isDisposed) {
            // Notebook 7 has one thing in its main area, and this goes below it, where it would have no height.
            added.content.node.style.minHeight = BELOW_HEIGHT;
            shell.add(added, 'down');
            shell.activateById(added.id);
          }
        });
        widget = added;
      }
      shell.activateById(widget.id);
    }
  });
  launcher?.add({ command: CommandIDs.monitor, args: { isLauncher: true }, category: trans.__('Other'), rank: 50 });
  void restorer?.restore(tracker, { command: CommandIDs.monitor, name: () => MONITOR_ID });
}
