import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator } from '@jupyterlab/translation';

import { Actions } from './actions';
import { Api } from './api';
import { addCommands } from './commands';
import type { Tools } from './components/context';
import { Model } from './model';
import { addMonitor } from './openmonitor';
import { Notebooks } from './notebooks';
import { GOES_BACK, Notifier } from './notify';
import { Offering } from './offering';
import { GpuPanel } from './panel';
import { DEFAULTS, followSettings, type Settings } from './settings';
import { SharedSessions } from './shared';
import { GpuStatus } from './status';
import { SharedStream } from './stream';
import { CommandIDs, IGpuSessions, PLUGIN_ID, TRANSLATION_DOMAIN } from './tokens';
import { Words } from './words';

const RANK = 350;

/** Numbers and times as the chosen language writes them; without one, as the browser does. */
function localeOf({ languageCode }: ITranslator): string | undefined {
  return languageCode === 'en' || languageCode === 'default' ? undefined : languageCode.replace('_', '-');
}

function activate(
  app: JupyterFrontEnd,
  translator: ITranslator,
  tracker: INotebookTracker | null,
  palette: ICommandPalette | null,
  statusBar: IStatusBar | null,
  registry: ISettingRegistry | null,
  restorer: ILayoutRestorer | null,
  launcher: ILauncher | null
): IGpuSessions {
  const { serviceManager, shell, commands } = app;
  const words = new Words(translator.load(TRANSLATION_DOMAIN), localeOf(translator));
  const model = new Model();
  const api = new Api(serviceManager.serverSettings);
  let settings: Settings = DEFAULTS;

  const actions = new Actions(api, model, path => notebooks.ensureKernel(path));
  const offering = new Offering(model, () => actions.look());
  const notebooks = new Notebooks(
    tracker,
    serviceManager.contents,
    serviceManager.sessions,
    model,
    () => offering.ask(),
    () => void actions.reconsider(),
    kernelId => void actions.follow(kernelId)
  );
  const tools: Tools = {
    model,
    actions,
    words,
    pathOf: session => notebooks.pathOfSession(session),
    openNotebook: path => void commands.execute('docmanager:open', { path }),
    openMonitor: () => void commands.execute(CommandIDs.monitor)
  };

  const stream = new SharedStream({
    scope: api.scope,
    url: topics => api.streamUrl(topics),
    onEvent: (type, data) => model.hear(type, data),
    onLink: link => model.set({ link })
  });
  // Live numbers are asked for while the panel or the Monitor is in sight.
  const lookers = new Set<string>();
  const look = (who: string, seen: boolean): void => {
    if (seen) {
      lookers.add(who);
    } else {
      lookers.delete(who);
    }
    stream.look(lookers.has('monitor') ? 'devices' : lookers.size > 0 ? 'sessions' : 'nothing');
  };
  const panel = new GpuPanel(tools, seen => {
    look('panel', seen);
    offering.see(seen);
  });
  shell.add(panel, 'left', { rank: RANK, type: 'GPUs' });
  restorer?.add(panel, panel.id);

  new Notifier(model, actions, words, () => settings.notifications);
  model.onNotice(notice => {
    const session = model.state.sessions?.find(s => s.id === notice.session_id);
    const path = session ? notebooks.pathOfSession(session) : null;
    if (GOES_BACK.has(notice.code) && settings.saveBeforeEnd && path !== null) {
      void notebooks.save([path]);
    }
  });
  addMonitor({
    app,
    restorer,
    launcher,
    options: {
      api,
      model,
      words,
      pathOf: session => notebooks.pathOfSession(session),
      onSight: seen => look('monitor', seen)
    }
  });
  addCommands({ app, palette, panel, model, actions, words });
  statusBar?.registerStatusItem('swangpu:status', {
    item: new GpuStatus(tools, () => void commands.execute(CommandIDs.open)),
    align: 'left',
    rank: 95
  });
  followSettings(registry, now => {
    const asks = now.memoryGb !== settings.memoryGb || now.durationHours !== settings.durationHours;
    settings = now;
    if (asks) {
      model.set({ wish: { memoryBytes: now.memoryGb * 1e9, durationS: now.durationHours * 3600 }, card: null });
      offering.ask();
    }
  });

  return new SharedSessions(model);
}

const plugin: JupyterFrontEndPlugin<IGpuSessions> = {
  id: PLUGIN_ID,
  description: 'See, get, watch and give back the GPUs of your site.',
  autoStart: true,
  provides: IGpuSessions,
  requires: [ITranslator],
  optional: [INotebookTracker, ICommandPalette, IStatusBar, ISettingRegistry, ILayoutRestorer, ILauncher],
  activate
};

export default plugin;
