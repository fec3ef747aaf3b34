import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ITranslator } from '@jupyterlab/translation';
import { Panel } from '@lumino/widgets';

import { gpuIcon } from './icon';

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'swangpu:plugin',
  description: 'See, get, watch and give back the GPUs of your site.',
  autoStart: true,
  requires: [ITranslator],
  activate: (app: JupyterFrontEnd, translator: ITranslator) => {
    const trans = translator.load('swangpu');
    const panel = new Panel();
    panel.id = 'swangpu-panel';
    panel.title.icon = gpuIcon;
    panel.title.caption = trans.__('GPUs');
    app.shell.add(panel, 'left', { rank: 350 });
  }
};

export default plugin;
