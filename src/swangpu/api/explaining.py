"""Why a session is where it is, in the words of the wire."""

from __future__ import annotations

from .. import wire
from ..broker.estimate import frees_at
from ..broker.fairness import held_lately, priority_of
from ..broker.index import waits
from ..broker.queue import ahead_of, candidates, tied_to, wanted_by
from ..broker.quotas import QuotaUse, uses
from ..broker.reasons import waiting_reason
from ..broker.state import BrokerState
from ..domain.sessions import Reason, Session
from . import views

__all__ = ["explanation"]


def explanation(state: BrokerState, session: Session, known: views.Known) -> wire.Explanation:
    """Why a session is where it is, with the numbers."""
    waiting, options = waits(session), candidates(state, session.request)
    group = state.policy.group(session.group)
    ahead = ahead_of(state, session) if waiting else []
    if waiting:
        reason = waiting_reason(state, session)
    else:
        reason = (
            session.reason or views.paused(session) or Reason(session.state.value, views.STATE_WORDS[session.state])
        )
    shown = [views.flavor_view(state, state.pools[c.pool], c.flavor) for c in options if c.pool in state.pools]
    return wire.Explanation(
        session_id=session.id,
        reason=views.reason_view(reason),
        queue_position=len(ahead) + 1 if waiting else None,
        queue_length=views.queue_length(state, session) if waiting else None,
        # Others are counted, never named: place in the queue, and how much each asks for.
        ahead=[f"{s.request.count} × {views.title_of_view(state, s)}" for s in ahead],
        estimate=views.estimate_view(views.estimate(state, session, ahead, known.now)) if waiting else None,
        candidates=shown,
        next_free_at=frees_at(state, wanted_by(session), known.now, tied=tied_to(session))[:10] if waiting else [],
        priority=priority_of(session).value,
        held_device_s=round(held_lately(state, f"u:{session.user}", known.now)),
        group=session.group or None,
        group_held_device_s=round(held_lately(state, f"g:{session.group}", known.now)) if session.group else None,
        group_weight=group.weight if group is not None else None,
        half_life_s=state.policy.half_life_s,
        quotas=[_quota(one) for one in uses(state, session)],
        reservations=[
            wire.ReservationView(
                title=one.title,
                start=one.start,
                end=one.end,
                flavor=one.flavor,
                count=one.count,
                for_you=one.admits(session.user, session.group),
            )
            for one in state.policy.reservations
            if one.end > known.now and any((c.pool, c.flavor.name) == (one.pool, one.flavor) for c in options)
        ],
    )


def _quota(use: QuotaUse) -> wire.QuotaUse:
    limit = use.quota.limit
    return wire.QuotaUse(
        whose=use.whose,
        flavor=use.quota.flavor,
        held=round(use.held, 3),
        nominal=use.quota.nominal,
        limit=limit if limit != float("inf") else None,
    )
