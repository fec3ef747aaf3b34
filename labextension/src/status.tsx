import { ReactWidget } from '@jupyterlab/ui-components';
import type { JSX } from 'react';

import { type Tools, ToolsContext, useModel, useNow, useTools } from './components/context';
import { gpuIcon } from './icon';

function StatusText({ onClick }: { onClick: () => void }): JSX.Element | null {
  const { model, words } = useTools();
  const { notebook, samples } = useModel();
  const now = useNow(5000);
  const { trans } = words;
  if (!notebook) {
    return null;
  }
  const session = model.sessionOf(notebook);
  let text = trans.__('No GPU');
  if (session?.state === 'active') {
    const percent = samples[session.id]?.utilization_percent ?? null;
    text = percent === null ? session.title : `${session.title} · ${trans.__('%1 % busy', Math.round(percent))}`;
  } else if (session) {
    text = `${session.title}: ${words.state(session, now)}`;
  }
  const caption = trans.__('GPU of %1: %2. Show the GPU panel.', notebook.name, text);
  return (
    <button type="button" className="jp-Gpu-status" title={caption} aria-label={caption} onClick={onClick}>
      <gpuIcon.react tag="span" elementSize="small" aria-hidden="true" />
      <span>{text}</span>
    </button>
  );
}

/** The GPU of the notebook in front, in the status bar. */
export class GpuStatus extends ReactWidget {
  constructor(
    private readonly tools: Tools,
    private readonly onClick: () => void
  ) {
    super();
  }

  protected override render(): JSX.Element {
    return (
      <ToolsContext.Provider value={this.tools}>
        <StatusText onClick={this.onClick} />
      </ToolsContext.Provider>
    );
  }
}
