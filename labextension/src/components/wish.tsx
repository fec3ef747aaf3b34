import { HTMLSelect } from '@jupyterlab/ui-components';
import type { JSX } from 'react';

import { useModel, useTools } from './context';

const GIGABYTES = [2, 5, 10, 20, 40, 80];
const HOURS = [0.5, 1, 2, 4, 8, 12, 24];

function withChosen(values: readonly number[], chosen: number): number[] {
  return [...new Set([...values, chosen])].sort((a, b) => a - b);
}

/** `needs at least [10 GB] for [2 h]`. */
export function WishRow(): JSX.Element {
  const { actions, words } = useTools();
  const { wish } = useModel();
  const { format, trans } = words;
  const memory = withChosen(
    GIGABYTES.map(n => n * 1e9),
    wish.memoryBytes
  );
  const durations = withChosen(
    HOURS.map(n => n * 3600),
    wish.durationS
  );
  return (
    <div className="jp-Gpu-wish">
      <span aria-hidden="true">{trans.__('needs at least')}</span>
      <HTMLSelect
        defaultStyle={false}
        aria-label={trans.__('GPU memory needed at least')}
        value={wish.memoryBytes}
        options={memory.map(value => ({ value, label: format.memory(value) }))}
        onChange={event => actions.wish({ memoryBytes: Number(event.target.value) })}
      />
      <span aria-hidden="true">{trans.__('for')}</span>
      <HTMLSelect
        defaultStyle={false}
        aria-label={trans.__('For how long')}
        value={wish.durationS}
        options={durations.map(value => ({ value, label: format.duration(value) }))}
        onChange={event => actions.wish({ durationS: Number(event.target.value) })}
      />
    </div>
  );
}
