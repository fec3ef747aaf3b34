import { type JSX, useEffect, useRef } from 'react';

import type { KernelPreview } from '../_wire';
import type { Card } from '../model';
import type { Words } from '../words';
import { useModel, useNow, useTools } from './context';
import { Action, Link, Trouble } from './parts';

function fileName(path: string): string {
  return path.split('/').at(-1) ?? path;
}

function Variables({ preview, words }: { preview: KernelPreview; words: Words }): JSX.Element {
  const { format, trans } = words;
  const total = preview.carried.length + preview.left.length;
  if (preview.warning?.code === 'kernel_busy') {
    return <></>;
  }
  if (!preview.carry_supported) {
    return <>{trans.__('Its variables are lost: they can not be carried in this kernel.')}</>;
  }
  if (total === 0) {
    return <>{trans.__('It has no variables yet.')}</>;
  }
  if (preview.left.length === 0) {
    return <>{trans._n('Its %1 variable can come along.', 'All its %1 variables can come along.', total)}</>;
  }
  return (
    <>
      {trans.__('%1 of %2 variables can come along, but not', preview.carried.length, total)}{' '}
      <b title={preview.left.map(({ name, why }) => `${name}: ${why}`).join('\n')}>
        {format.list(preview.left.map(({ name }) => name))}
      </b>
      .
    </>
  );
}

/** What happens to the kernel, in words. */
function Consequence({ card, waits, words }: { card: Card; waits: boolean; words: Words }): JSX.Element {
  const { trans } = words;
  const { kernelId, preview, previewing } = card;
  let first = waits ? trans.__('Then it restarts on the GPU.') : trans.__('The kernel restarts on the GPU.');
  if (kernelId === null) {
    first = trans.__('A kernel starts on the GPU.');
  } else if (preview && !preview.restart_needed) {
    first = trans.__('No restart is needed.');
  }
  return (
    <p>
      {waits && (
        <>{trans.__('You are told when your turn has come. Until you start it, nothing happens to the kernel.')} </>
      )}
      {first} {previewing && trans.__('Looking at its variables …')}
      {kernelId !== null && preview?.restart_needed && <Variables preview={preview} words={words} />}
      {kernelId !== null && !previewing && !preview && trans.__('Its variables can not be looked at now: they are lost.')}
    </p>
  );
}

/** Says what Get does before it does it, and lets the person choose. */
export function GetCard({ card }: { card: Card }): JSX.Element {
  const { actions, words } = useTools();
  const { wish, offers } = useModel();
  const now = useNow(20_000);
  const { format, trans } = words;
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => ref.current?.focus(), [card.key]);

  const { offer, preview } = card;
  const waits = offer ? !words.offer(offer).free : !(offers ?? []).some(o => words.offer(o).free);
  const title = offer?.title ?? trans.__('Whichever comes first, %1 or more', format.memory(wish.memoryBytes));
  const what = waits
    ? trans.__('for %1, for %2', fileName(card.path), format.duration(wish.durationS))
    : trans.__('for %1 until %2', fileName(card.path), format.clock(now + wish.durationS, now));
  const carries = preview?.restart_needed === true && preview.carry_supported && preview.carried.length > 0;
  const drops = preview?.restart_needed === true && !preview.carry_supported;
  const disabled = card.sending || card.previewing;
  return (
    <div
      className="jp-Gpu-note jp-Gpu-card"
      role="group"
      aria-label={trans.__('Get %1', title)}
      tabIndex={-1}
      ref={ref}
      onKeyDown={event => {
        if (event.key === 'Escape') {
          actions.dismiss();
        }
      }}
    >
      <div>
        <b>{title}</b> {what}
      </div>
      {card.overtaken && <p role="alert">{trans.__('The kernel has run since. Look again before you choose.')}</p>}
      <Consequence card={card} waits={waits} words={words} />
      <div className="jp-Gpu-buttons">
        {carries ? (
          <>
            <Action
              label={trans.__('Get, carry them')}
              look="main"
              disabled={disabled}
              onClick={() => void actions.get('all')}
            />
            <Action label={trans.__('Get, drop all')} disabled={disabled} onClick={() => void actions.get('none')} />
          </>
        ) : (
          <Action
            label={drops ? trans.__('Get, drop all') : trans.__('Get')}
            look="main"
            disabled={disabled}
            onClick={() => void actions.get('none')}
          />
        )}
        <Link label={trans.__('Cancel')} onClick={() => actions.dismiss()} />
      </div>
      {card.sending && <p role="status">{trans.__('Asking for it …')}</p>}
      {preview?.warning && <div className="jp-Gpu-note jp-mod-warn">{words.reason(preview.warning)}</div>}
      <Trouble problem={card.problem} />
    </div>
  );
}
