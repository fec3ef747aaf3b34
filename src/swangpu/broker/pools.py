"""What backends say they have, and what follows for the sessions there."""

from __future__ import annotations

from ..domain.devices import PoolInventory
from ..domain.rows import replace
from .commands import Command
from .deadline import HOLDING
from .lifecycle import capped, notify, title_of
from .residents import place_of
from .state import BrokerState

__all__ = ["reported"]


def reported(state: BrokerState, new: PoolInventory, now: float) -> list[Command]:
    """A backend has said what it has; what it said earlier and came later is ignored."""
    before = state.pools.get(new.pool)
    if before is not None and before.as_of > new.as_of:
        return []
    if not new.available and before is not None and not new.shares:
        # What a pool that does not answer has is what it had: its sessions still hold it.
        new = replace(new, shares=before.shares, flavors=before.flavors, lost=tuple(s.id for s in before.shares))
    state.put("pools", new.pool, new)
    if state.policy.reservations:
        _see_to_reservations(state, new.pool, now)
    return _lost_or_back(state, new, now)


def _see_to_reservations(state: BrokerState, pool: str, now: float) -> None:
    """Of other shares others are set aside; who is on them is not thrown out for an event that has begun."""
    for session in list(state.live()):
        if session.pool == pool and session.state in HOLDING and session.shares:
            cut = capped(state, session, now)
            if cut is not session and cut.lease_until is not None and cut.lease_until > now:
                state.put_session(cut)


def _lost_or_back(state: BrokerState, inventory: PoolInventory, now: float) -> list[Command]:
    out: list[Command] = []
    there = {s.id for s in inventory.shares} - set(inventory.lost)
    for session in list(state.live()):
        shares = place_of(session)
        if session.pool != inventory.pool or not shares:
            continue
        missing = any(share.id not in there for share in shares)
        title = title_of(state, session)
        if missing and session.lost_since is None:
            state.put_session(replace(session, lost_since=now))
            text = f"{title} does not answer. Your session waits {state.policy.lost_grace_s:.0f} s for it."
            out.append(notify(session, "device_away", "warning", text, title=title))
        elif not missing and session.lost_since is not None:
            state.put_session(replace(session, lost_since=None))
            out.append(notify(session, "device_back", "success", f"{title} answers again.", title=title))
    return out
