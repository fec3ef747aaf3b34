import { type JSX, useId, useState } from 'react';

import type { FlavorView, Pool } from '../_wire';
import { useModel, useNow, useTools } from './context';
import { Link, Section } from './parts';

function Bar({ flavor }: { flavor: FlavorView }): JSX.Element {
  const { words } = useTools();
  const parts: [string, number][] = [
    ['busy', flavor.busy],
    ['idle', flavor.held_idle],
    ['taken', flavor.taken],
    ['free', flavor.free]
  ];
  return (
    <li>
      <div className="jp-Gpu-counts">
        <span className="jp-Gpu-flavor">{flavor.title}</span>
        <span className="jp-Gpu-muted">{words.counts(flavor)}</span>
      </div>
      <div className="jp-Gpu-bar" aria-hidden="true">
        {parts
          .filter(([, count]) => count > 0)
          .map(([name, count]) => (
            <i key={name} className={`jp-mod-${name}`} style={{ flexGrow: count }} />
          ))}
      </div>
    </li>
  );
}

function PoolView({ pool, alone }: { pool: Pool; alone: boolean }): JSX.Element {
  const { words } = useTools();
  const { trans } = words;
  const [helped, setHelped] = useState(false);
  const id = useId();
  if (!pool.available) {
    return (
      <div className="jp-Gpu-pool">
        <h3>{pool.title}</h3>
        <p className="jp-Gpu-muted">
          {words.away(pool)}{' '}
          {pool.hint && (
            <Link
              label={trans.__('What can I do?')}
              about={trans.__('What can I do about %1?', pool.title)}
              expanded={helped}
              controls={id}
              onClick={() => setHelped(!helped)}
            />
          )}
        </p>
        {helped && (
          <p className="jp-Gpu-note" id={id}>
            {pool.hint}
          </p>
        )}
      </div>
    );
  }
  return (
    <div className="jp-Gpu-pool">
      {!alone && <h3>{pool.title}</h3>}
      {pool.flavors.length === 0 ? (
        <p className="jp-Gpu-muted">{trans.__('It has no GPUs.')}</p>
      ) : (
        <ul aria-label={trans.__('GPUs of %1', pool.title)}>
          {pool.flavors.map(flavor => (
            <Bar key={flavor.name} flavor={flavor} />
          ))}
        </ul>
      )}
      {pool.reason && (
        <p className="jp-Gpu-note">
          {words.away(pool)}
          {pool.hint ? ` ${pool.hint}` : ''}
        </p>
      )}
    </div>
  );
}

/** What there is, who computes, who only holds. */
export function Site(): JSX.Element {
  const { openMonitor, words } = useTools();
  const { heardAt, link, pools, simulated } = useModel();
  useNow(1000);
  const { format, trans } = words;
  const pills: string[] = [];
  if (simulated || pools?.some(pool => pool.simulated)) {
    pills.push(trans.__('simulated'));
  }
  if (heardAt !== null && pools) {
    const age = Date.now() / 1000 - heardAt;
    if (link === 'away') {
      pills.push(trans.__('last known, %1 old', format.duration(age)));
    } else {
      // A live stream that says nothing has nothing new to say.
      pills.push(age < 15 ? trans.__('data %1 old', format.duration(age)) : trans.__('up to date'));
    }
  }
  return (
    <Section id="site" title={trans.__('Site')} pills={pills}>
      <div className="jp-Gpu-in">
        {pools === null && <p className="jp-Gpu-muted">{trans.__('Asking the server …')}</p>}
        {pools?.length === 0 && (
          <p className="jp-Gpu-muted">
            {trans.__('No place to get GPUs is configured here. "swangpu doctor" in a terminal says what helps.')}
          </p>
        )}
        {pools?.map(pool => <PoolView key={pool.name} pool={pool} alone={pools.length === 1} />)}
        <Link label={trans.__('Open Monitor')} about={trans.__('Open the GPU Monitor')} onClick={openMonitor} />
      </div>
    </Section>
  );
}
