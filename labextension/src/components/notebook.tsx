import type { JSX } from 'react';

import { GetCard } from './card';
import { useModel, useNow, useTools } from './context';
import { Offers } from './offers';
import { Section } from './parts';
import { WishRow } from './wish';

/** Can I have a GPU for this notebook, and when? */
export function ThisNotebook(): JSX.Element {
  const { model, words } = useTools();
  const { card, notebook } = useModel();
  const now = useNow(10_000);
  const { format, trans } = words;
  const session = model.sessionOf(notebook);
  const pills = notebook ? [notebook.name] : [];
  if (session) {
    const until = session.ends ? trans.__('until %1', format.clock(session.ends.at, now)) : '';
    return (
      <Section id="notebook" title={trans.__('This notebook')} pills={pills}>
        <p className="jp-Gpu-empty">
          {session.state === 'active' ? (
            <>
              {trans.__('On')} <b>{session.title}</b> {until}
            </>
          ) : (
            <>
              <b>{session.title}</b>: {words.state(session, now)}
            </>
          )}
        </p>
      </Section>
    );
  }
  return (
    <Section id="notebook" title={trans.__('This notebook')} pills={pills}>
      {!notebook && (
        <p className="jp-Gpu-empty">{trans.__('No notebook is in front. Open one to put it on one of these.')}</p>
      )}
      <WishRow />
      {card && card.path === notebook?.path ? <GetCard card={card} /> : <Offers canGet={notebook !== null} />}
    </Section>
  );
}
