import type { JSX } from 'react';

import { useModel, useNow, useTools } from './context';
import { ThisNotebook } from './notebook';
import { Section } from './parts';
import { SessionCard } from './session';
import { Site } from './site';

/** What is shown when the server is away. */
function Away(): JSX.Element | null {
  const { words } = useTools();
  const { heardAt, link } = useModel();
  useNow(1000);
  if (link !== 'away') {
    return null;
  }
  const { format, trans } = words;
  return (
    <p className="jp-Gpu-note jp-mod-warn jp-Gpu-away">
      {trans.__('The server does not answer; trying again.')}{' '}
      {heardAt !== null &&
        trans.__('What is shown is the last known, %1 old.', format.duration(Date.now() / 1000 - heardAt))}
    </p>
  );
}

/** All that the person has or waits for; what belongs to the notebook in front comes first. */
function MySessions(): JSX.Element {
  const { model, words } = useTools();
  const { notebook, sessions } = useModel();
  const { trans } = words;
  const first = model.sessionOf(notebook)?.id;
  const shown = [...(sessions ?? [])].sort(
    (a, b) => Number(b.id === first) - Number(a.id === first) || a.created_at - b.created_at
  );
  const live = shown.filter(s => s.state !== 'ended' && s.state !== 'ending').length;
  return (
    <Section id="sessions" title={trans.__('My sessions')} pills={live ? [String(live)] : []}>
      {shown.length === 0 ? (
        <p className="jp-Gpu-empty">
          {sessions === null
            ? trans.__('Asking the server …')
            : trans.__('Nothing yet. What you get shows here, with how busy it is and when it ends.')}
        </p>
      ) : (
        <ul className="jp-Gpu-sessions">
          {shown.map(session => (
            <SessionCard key={session.id} session={session} />
          ))}
        </ul>
      )}
    </Section>
  );
}

export function PanelBody(): JSX.Element {
  return (
    <>
      <Away />
      <ThisNotebook />
      <MySessions />
      <Site />
    </>
  );
}
