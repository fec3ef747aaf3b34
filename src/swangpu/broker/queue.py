"""Who is next, and why somebody waits."""

from __future__ import annotations

from dataclasses import dataclass

from ..domain.devices import Flavor, PoolInventory, Share
from ..domain.sessions import Reason, Request, Session, SessionState
from .placement import choose, conflict, count_by_device, free_shares
from .state import BrokerState

__all__ = [
    "Candidate",
    "Grant",
    "ahead_of",
    "candidates",
    "next_grant",
    "queued",
    "undoable_in_the_way",
    "waiting_reason",
]


@dataclass(frozen=True)
class Candidate:
    """One way to serve a request."""

    pool: str
    flavor: Flavor
    total: int


@dataclass(frozen=True)
class Grant:
    """Shares that a queued session can have now."""

    session: Session
    candidate: Candidate
    shares: tuple[Share, ...]


def candidates(state: BrokerState, request: Request) -> list[Candidate]:
    """The ways to serve a request, smallest sufficient share first.

    ``total`` counts what exists, free or not: a request for more than that will never be served.
    """
    out = []
    for name, inventory in state.pools.items():
        if request.pools and name not in request.pools:
            continue
        if not inventory.managed:
            continue
        for flavor in inventory.flavors:
            fits = (
                flavor.name == request.flavor
                if request.flavor is not None
                else (flavor.memory_bytes >= (request.memory_bytes or 0))
            )
            if fits:
                out.append(Candidate(name, flavor, total_of(inventory, flavor.name)))
    order = {pool: i for i, pool in enumerate(request.pools)}
    return sorted(out, key=lambda c: (c.flavor.memory_bytes, order.get(c.pool, 0), c.pool, c.flavor.name))


def total_of(inventory: PoolInventory, flavor: str) -> int:
    """How many shares of a flavor exist and could be held together at best."""
    shares = [s for s in inventory.shares if s.flavor == flavor]
    return len(shares)


def queued(state: BrokerState) -> list[Session]:
    """Who waits, in the order in which they are served: first come, first served.

    Fair share replaces the key of this sort and nothing else.
    """
    return sorted((s for s in state.sessions.values() if s.state is SessionState.QUEUED), key=lambda s: s.number)


def next_grant(state: BrokerState) -> Grant | None:
    """The first session in the queue that can be served now without delaying one before it.

    What an earlier session waits for is barred for all after it, with everything that conflicts with it, so that a
    whole device is not starved by a stream of slices.
    """
    barred: set[str] = set()
    for session in queued(state):
        options = candidates(state, session.request)
        for option in options:
            shares = place(state, session.request, option, frozenset(barred))
            if shares is not None:
                return Grant(session, option, shares)
        for option in options:
            if option.total >= session.request.count:
                barred |= _bar(state, option)
    return None


def place(
    state: BrokerState,
    request: Request,
    option: Candidate,
    barred: frozenset[str] = frozenset(),
    ignoring: frozenset[str] = frozenset(),
) -> tuple[Share, ...] | None:
    """Shares for a request in one candidate, or None."""
    inventory = state.pools[option.pool]
    free = free_shares(state, inventory, option.flavor.name, barred=barred, ignoring=ignoring)
    if len(free) < request.count:
        return None
    return choose(free, request.count, count_by_device(free_shares(state, inventory, None, ignoring=ignoring)))


def undoable_in_the_way(state: BrokerState) -> list[Session]:
    """Released sessions whose undo window must end now, because somebody waits for what they keep.

    Only as many as the first waiting sessions can really use.
    """
    keeping = {
        share.id: session
        for session in state.sessions.values()
        if session.state is SessionState.ENDING and session.undo_until is not None
        for share in session.shares
    }
    if not keeping:
        return []
    out: dict[str, Session] = {}
    for waiting in queued(state):
        for option in candidates(state, waiting.request):
            shares = place(state, waiting.request, option, ignoring=frozenset(keeping))
            if shares is None:
                continue
            for share in shares:
                for held in state.held_on(share.device_uuid):
                    if held.id in keeping and conflict(held, share):
                        session = keeping[held.id]
                        out[session.id] = session
            break
    return list(out.values())


def ahead_of(state: BrokerState, session: Session) -> list[Session]:
    """The sessions that are served before this one and want some of the same shares."""
    mine = {(c.pool, c.flavor.name) for c in candidates(state, session.request)}
    out = []
    for other in queued(state):
        if other.id == session.id:
            break
        if mine & {(c.pool, c.flavor.name) for c in candidates(state, other.request)}:
            out.append(other)
    return out


def waiting_reason(state: BrokerState, session: Session) -> Reason:
    """Why a queued session is not served, true at this moment."""
    place_in_queue = len(ahead_of(state, session)) + 1
    options = candidates(state, session.request)
    title = options[0].flavor.title if options else (session.request.flavor or "GPU")
    away = [c.pool for c in options if not state.pools[c.pool].available]
    if options and len(away) == len(options):
        pool = state.pools[away[0]]
        text = f"{pool.title} does not answer now: {pool.reason_text or 'reason not known'}"
        return Reason("pool_away", text, (("pool", pool.title), ("position", place_in_queue)))
    if place_in_queue > 1:
        text = f"{_ordinal(place_in_queue)} in the queue for {title}."
        return Reason("in_queue", text, (("position", place_in_queue), ("title", title)))
    return Reason("all_held", f"All of {title} are in use; you are next.", (("position", 1), ("title", title)))


def _bar(state: BrokerState, option: Candidate) -> set[str]:
    inventory = state.pools[option.pool]
    wanted = [s for s in inventory.shares if s.flavor == option.flavor.name]
    devices = {s.device_uuid for s in wanted}
    return {s.id for s in inventory.shares if s.device_uuid in devices and any(conflict(s, w) for w in wanted)}


def _ordinal(n: int) -> str:
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"
