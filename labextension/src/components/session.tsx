import { type JSX, useEffect } from 'react';

import type { Explanation, SessionView } from '../_wire';
import { EMPTY, known } from '../series';
import type { Words } from '../words';
import { Chart } from './chart';
import { useModel, useNow, useTools } from './context';
import { Action, Link, Trouble } from './parts';

function Use({ session }: { session: SessionView }): JSX.Element {
  const { actions, words } = useTools();
  const { samples, series } = useModel();
  const now = useNow(1000);
  const sample = samples[session.id];
  const mine = series[session.id] ?? EMPTY;
  useEffect(() => void actions.remember(session.id), [actions, session.id]);
  const noBusy = sample?.utilization_percent === null;
  const busy = known(mine.busy);
  const label =
    noBusy || busy.length === 0
      ? words.trans.__('Memory over the last 5 minutes. Now: %1', words.use(sample))
      : words.trans.__(
          'Busy over the last 5 minutes, between %1 and %2 percent. Now: %3',
          Math.round(Math.min(...busy)),
          Math.round(Math.max(...busy)),
          words.use(sample)
        );
  return (
    <>
      <Chart series={mine} memoryTotal={noBusy ? sample.memory_total_bytes : null} label={label} now={now} />
      <div className="jp-Gpu-muted">{words.use(sample)}</div>
    </>
  );
}

function Why({ explanation, now }: { explanation: Explanation; now: number }): JSX.Element {
  const { words } = useTools();
  const { format, trans } = words;
  const next = explanation.next_free_at[0];
  return (
    <div className="jp-Gpu-note">
      {words.reason(explanation.reason)}
      <ul>
        {explanation.candidates.map(flavor => (
          <li key={flavor.name}>
            {flavor.title}: {words.counts(flavor)}
          </li>
        ))}
        {explanation.ahead.length > 0 && <li>{trans.__('Before you: %1', format.list(explanation.ahead))}</li>}
        {next !== undefined && <li>{trans.__('The next one is due back %1', format.clock(next, now))}</li>}
        {words.order(explanation, now).map(line => (
          <li key={line}>{line}</li>
        ))}
      </ul>
    </div>
  );
}

/** The one line at the left of the buttons. */
function bottomLine(session: SessionView, words: Words, now: number): string {
  if (session.state === 'ending' && session.undo_until !== null) {
    return words.trans.__('Goes back in %1', words.format.left(session.undo_until - now));
  }
  return session.ends && session.state !== 'ready' ? words.ends(session.ends, now) : '';
}

function Buttons({ session }: { session: SessionView }): JSX.Element {
  const { actions, words } = useTools();
  const { busy } = useModel();
  const { trans } = words;
  const can = (verb: string): boolean => session.actions.includes(verb);
  const under = (verb: string): boolean => busy.has(`${verb}:${session.id}`);
  return (
    <div className="jp-Gpu-actions">
      {can('claim') && (
        <Action
          label={under('claim') ? trans.__('Starting …') : trans.__('Start')}
          about={trans.__('Start %1', session.title)}
          look="main"
          disabled={under('claim')}
          onClick={() => void actions.claim(session.id)}
        />
      )}
      {can('resume') && (
        <Action
          label={under('resume') ? trans.__('Resuming …') : trans.__('Resume')}
          about={trans.__('Resume %1', session.title)}
          look="outline"
          disabled={under('resume')}
          onClick={() => void actions.resume(session.id)}
        />
      )}
      {can('undo') && (
        <Action
          label={trans.__('Undo')}
          about={trans.__('Undo the release of %1', session.title)}
          look="outline"
          disabled={under('undo')}
          onClick={() => void actions.undo(session.id)}
        />
      )}
      {can('extend') && (
        <Action
          label={trans.__('Extend')}
          about={trans.__('Extend %1 by one hour', session.title)}
          disabled={under('extend')}
          onClick={() => void actions.extend(session.id)}
        />
      )}
      {can('release') && (
        <Action
          label={trans.__('Release')}
          about={trans.__('Release %1', session.title)}
          disabled={under('release')}
          onClick={() => void actions.release(session.id)}
        />
      )}
    </div>
  );
}

export function SessionCard({ session }: { session: SessionView }): JSX.Element {
  const { actions, openNotebook, pathOf, words } = useTools();
  const { explanations, problems } = useModel();
  const now = useNow(session.state === 'ending' || session.state === 'ready' ? 1000 : 10_000);
  const { trans } = words;
  const state = words.state(session, now);
  const whyEnded = words.whyEnded(session);
  const why = explanations[session.id];
  const path = pathOf(session);
  const waiting = session.queue_position !== null;
  return (
    <li className={`jp-Gpu-session jp-mod-${session.state}`}>
      <div className="jp-Gpu-row">
        <div className="jp-Gpu-grow jp-Gpu-title" title={session.title}>
          {session.title}
        </div>
        {path === null ? (
          <span className="jp-Gpu-muted jp-Gpu-for" title={words.purpose(session)}>
            {words.purpose(session)}
          </span>
        ) : (
          <Link
            label={path.split('/').at(-1) ?? path}
            about={trans.__('Open %1', path)}
            onClick={() => openNotebook(path)}
          />
        )}
      </div>
      {session.state === 'active' && <Use session={session} />}
      {state && <div className="jp-Gpu-muted">{state}</div>}
      {whyEnded && <div className="jp-Gpu-muted">{whyEnded}</div>}
      {session.warning && <div className="jp-Gpu-note jp-mod-warn">{words.reason(session.warning)}</div>}
      <div className="jp-Gpu-row jp-Gpu-bottom">
        <div className="jp-Gpu-grow jp-Gpu-muted">
          {waiting ? (
            <Link
              label={trans.__('Why?')}
              about={trans.__('Why does %1 wait?', session.title)}
              expanded={why !== undefined}
              onClick={() => void actions.explain(session.id)}
            />
          ) : (
            bottomLine(session, words, now)
          )}
        </div>
        <Buttons session={session} />
      </div>
      {why && waiting && <Why explanation={why} now={now} />}
      <Trouble problem={problems[session.id]} />
    </li>
  );
}
