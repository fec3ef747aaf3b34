import type { JSX } from 'react';

import type { Offer } from '../_wire';
import { useModel, useTools } from './context';
import { Action, Trouble } from './parts';

interface RowProps {
  offer: Offer;
  first: boolean;
  canGet: boolean;
}

function OfferRow({ offer, first, canGet }: RowProps): JSX.Element {
  const { actions, words } = useTools();
  const { notebook } = useModel();
  const { free, availability, rest } = words.offer(offer);
  return (
    <li className="jp-Gpu-offer">
      <div className="jp-Gpu-grow">
        <div className="jp-Gpu-title" title={offer.title}>
          {offer.title}
        </div>
        <div className="jp-Gpu-muted">
          {offer.pool_title} · <span className={free ? 'jp-Gpu-now' : undefined}>{availability}</span>
          {rest ? ` · ${rest}` : ''}
        </div>
      </div>
      {canGet && notebook && (
        <Action
          label={words.trans.__('Get')}
          about={words.trans.__('Get %1 from %2', offer.title, offer.pool_title)}
          look={first ? 'main' : 'outline'}
          onClick={() => void actions.consider(offer, notebook)}
        />
      )}
    </li>
  );
}

/** Where the wish can be had, best first. */
export function Offers({ canGet }: { canGet: boolean }): JSX.Element {
  const { actions, words } = useTools();
  const { advice, notebook, offers, offersProblem, pools } = useModel();
  const { trans } = words;
  if (!offers) {
    return offersProblem ? (
      <Trouble problem={offersProblem} />
    ) : (
      <p className="jp-Gpu-empty">{trans.__('Looking where there is a GPU …')}</p>
    );
  }
  if (offers.length === 0) {
    const working = pools === null || pools.some(pool => pool.available && pool.flavors.length > 0);
    return (
      <p className="jp-Gpu-empty">
        {working
          ? trans.__('No GPU here has that much memory. Ask for less, or look under Site at what there is.')
          : trans.__('No GPU can be had from here now. Site, below, says why and what helps.')}
      </p>
    );
  }
  return (
    <>
      <Trouble problem={offersProblem} />
      {advice && <p className="jp-Gpu-note">{words.reason(advice)}</p>}
      <ul className="jp-Gpu-offers" aria-label={trans.__('Where a GPU can be had')}>
        {offers.map((offer, n) => (
          <OfferRow key={`${offer.pool}/${offer.flavor}`} offer={offer} first={n === 0} canGet={canGet} />
        ))}
        {offers.length > 1 && canGet && notebook && (
          <li className="jp-Gpu-offer">
            <div className="jp-Gpu-grow jp-Gpu-muted">{trans.__('Whichever comes first')}</div>
            <Action
              label={trans.__('Get')}
              about={trans.__('Get whichever comes first')}
              look="outline"
              onClick={() => void actions.consider(null, notebook)}
            />
          </li>
        )}
      </ul>
    </>
  );
}
