import type { Notice, SessionView } from './_wire';

/** How far off a lease's end can be in a notice, in seconds. */
const ROUNDED_S = 1;

function idle(session: SessionView, notice: Notice): boolean {
  // Who extends or runs a cell begins to be idle anew. A paused one may have kept its GPU.
  const holds = session.state === 'active' || (session.state === 'paused' && session.shares.length > 0);
  return holds && session.idle_since !== null && session.idle_since <= notice.at;
}

/**
 * Whether what a notice says is still so; true for what is said once and for all.
 *
 * @param session The notice's session as it is now; undefined when there is none any more.
 */
export function holds(notice: Notice, session: SessionView | undefined): boolean {
  switch (notice.code) {
    case 'ready':
      // One that was claimed is on its way.
      return session?.state === 'ready' && session.actions.includes('claim');
    case 'lease_ends':
      // Without a lease that ends it ends never, as far as this notice goes.
      return (session?.lease_until ?? Infinity) <= notice.at + Number(notice.params.left_s) + ROUNDED_S;
    case 'called_back':
      return session !== undefined && session.lease_until !== null;
    case 'idle_ends':
      return session !== undefined && idle(session, notice) && session.warning !== null;
    case 'idle_wanted':
      return session !== undefined && idle(session, notice);
    default:
      return true;
  }
}
