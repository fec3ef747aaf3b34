"""Who can be served now, and by what."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import cast

from ..domain.devices import Flavor, Share
from ..domain.rows import replace
from ..domain.sessions import Request, Session, SessionState
from .exclusion import conflict
from .fairness import in_order
from .index import excluded
from .placement import choose, free_by_device, free_shares
from .quotas import borrows, over
from .reservations import barred as reserved_from
from .reservations import reserved_shares
from .residents import fits
from .state import BrokerState

__all__ = [
    "Candidate",
    "Grant",
    "Round",
    "ahead_of",
    "can_use",
    "candidates",
    "everybody_waiting",
    "in_the_way",
    "is_on",
    "options_of",
    "place",
    "tied_to",
    "undoable_in_the_way",
    "wanted_by",
]


@dataclass(frozen=True)
class Candidate:
    """One way to serve a request. ``fraction``: the part of a device that one share is."""

    pool: str
    flavor: Flavor
    total: int
    fraction: float = 1.0


@dataclass(frozen=True)
class Grant:
    """Shares that a session in the queue can have now."""

    session: Session
    candidate: Candidate
    shares: tuple[Share, ...]


def candidates(state: BrokerState, request: Request) -> list[Candidate]:
    """The ways to serve a request, smallest sufficient share first.

    ``total`` counts what exists, free or not: a request for more than that will never be served.
    """
    return _candidates(state, request.flavor, request.memory_bytes, request.pools)


def _candidates(
    state: BrokerState, flavor: str | None, memory_bytes: int | None, pools: tuple[str, ...]
) -> list[Candidate]:
    key = (flavor, memory_bytes, pools)
    known = state.index.options.get(key)
    if known is None:
        known = state.index.options[key] = _looked_up(state, flavor, memory_bytes, pools)
    return cast("list[Candidate]", known)


def _looked_up(
    state: BrokerState, wanted: str | None, memory_bytes: int | None, pools: tuple[str, ...]
) -> list[Candidate]:
    out = []
    for name, inventory in state.pools.items():
        if pools and name not in pools:
            continue
        if not inventory.managed:
            continue
        for flavor in inventory.flavors:
            fits = flavor.name == wanted if wanted is not None else (flavor.memory_bytes >= (memory_bytes or 0))
            if fits:
                shares = state.index.pools[name].by_flavor.get(flavor.name, [])
                out.append(Candidate(name, flavor, len(shares), shares[0].fraction if shares else 1.0))
    order = {pool: i for i, pool in enumerate(pools)}
    return sorted(out, key=lambda c: (c.flavor.memory_bytes, order.get(c.pool, 0), c.pool, c.flavor.name))


def options_of(state: BrokerState, session: Session) -> list[Candidate]:
    """The ways to serve a session in the queue: one that has to come back to what it was on has that one only."""
    pool = _comes_back_to(session)
    if pool is None:
        return candidates(state, session.request)
    # asked many times a round, so without a request that is made for it
    return _candidates(state, session.flavor, None, (pool,))


def wanted_by(session: Session) -> Request:
    """What a session in the queue waits for: one that was put aside, perhaps for less than it had asked for once."""
    pool = _comes_back_to(session)
    if pool is None:
        return session.request
    return replace(session.request, flavor=session.flavor, memory_bytes=None, pools=(pool,))


def _comes_back_to(session: Session) -> str | None:
    """The pool of a session that was put aside and can go on there only, on shares of the flavor that it had."""
    return session.pool if session.pause is not None and session.pause.device_uuid is not None else None


def everybody_waiting(state: BrokerState, now: float | None = None) -> list[Session]:
    """Who waits, for a first share or for one to go on with, in the order in which they are served.

    Those whose own it is, then those who borrow.
    """
    rows = in_order(state, state.now if now is None else now)
    if len(rows) < 2 or not any(group.quotas for group in state.policy.groups):
        return rows
    lent = {s.id for s in rows if all(borrows(state, s, c.flavor.name, c.fraction) for c in options_of(state, s))}
    return [s for s in rows if s.id not in lent] + [s for s in rows if s.id in lent]


def tied_to(session: Session) -> str | None:
    """The device, or the MIG device, to which a paused session has to come back; None where any option will do."""
    return session.pause.device_uuid if session.pause is not None and not session.pause.remaps else None


def is_on(share: Share, device_uuid: str) -> bool:
    """Whether a share is on a device, or is that MIG device."""
    return device_uuid in (share.device_uuid, share.mig_uuid)


class Round:
    """One pass over the queue: who can be served without delaying somebody before them.

    What an earlier session waits for is barred for all after it, with everything that conflicts with it, so that a
    whole device is not starved by a stream of slices. What a group only borrows comes after what is its own.

    Parameters
    ----------
    state : BrokerState
    now : float

    Attributes
    ----------
    unserved : list of Session
        Those who could not be served though nothing but other sessions is in their way, first ones first.
    """

    def __init__(self, state: BrokerState, now: float) -> None:
        self._state = state
        self._now = now
        self._barred: dict[str, set[str]] = {}
        self.unserved: list[Session] = []

    def order(self) -> list[Session]:
        """Those whose own it is, then those who borrow."""
        return everybody_waiting(self._state, self._now)

    def serve(self, session: Session) -> Grant | None:
        """What a session can have now; without that, what it waits for is barred for those who come after it."""
        state = self._state
        open_options = [
            c for c in options_of(state, session) if over(state, session, c.flavor.name, c.fraction) is None
        ]
        for option in open_options:
            shares = place(state, session, option, self._now, barred=self._barred.get(option.pool, set()))
            if shares is not None:
                return Grant(session, option, shares)
        waits = False
        for option in open_options:
            bar = _bar(state, session, option, self._now) if option.total >= session.request.count else None
            if bar is not None:
                waits = True
                self._barred.setdefault(option.pool, set()).update(bar)
        if waits:
            self.unserved.append(session)
        return None


def place(
    state: BrokerState,
    session: Session,
    option: Candidate,
    now: float,
    *,
    barred: Iterable[str] = (),
    ignoring: frozenset[str] = frozenset(),
    through: Container[str] = (),
) -> tuple[Share, ...] | None:
    """Shares for a session in one candidate, or None.

    Parameters
    ----------
    barred : iterable of str
        Ids of shares that are for others.
    ignoring : frozenset of str
        Ids of held shares to look through.
    through : container of str
        Ids of residents to look through.
    """
    inventory, index = state.pools[option.pool], state.index.pools.get(option.pool)
    if index is None or (not ignoring and not index.free.get(option.flavor.name)):
        return None
    closed: set[str] = barred if isinstance(barred, set) else set(barred)
    if state.policy.reservations:
        closed = closed | reserved_from(state, session, option.pool, now)
    free = free_shares(state, inventory, option.flavor.name, barred=closed, ignoring=ignoring)
    if state.index.residents:
        free = [s for s in free if fits(state, session, s, through)]
    tied = tied_to(session)
    if tied is not None:
        free = [s for s in free if is_on(s, tied)]
    elif session.pause is not None and session.pause.device_uuid is not None:
        # where it was there is nothing to be mapped
        free = [s for s in free if is_on(s, session.pause.device_uuid)] or free
    if len(free) < session.request.count:
        return None
    on_device = free_by_device(state, inventory, ignoring)
    later = reserved_shares(state, option.pool) if state.policy.reservations else None
    return choose(free, session.request.count, on_device, later)


def in_the_way(state: BrokerState, holder: Session, option: Candidate) -> bool:
    """Whether what a session holds is of the flavor that is wanted, or excludes some of it."""
    if holder.pool != option.pool:
        return False
    if holder.flavor == option.flavor.name:
        return True
    on_device = state.index.pools[option.pool].on_device
    return any(
        other.flavor == option.flavor.name and conflict(other, share)
        for share in holder.shares
        for other in on_device.get(share.device_uuid, ())
    )


def undoable_in_the_way(state: BrokerState, now: float) -> list[Session]:
    """Released sessions whose undo window must end now, because somebody waits for what they keep.

    Only as many as the first waiting sessions can really use.
    """
    keeping = {
        share.id: session
        for session in (state.sessions[i] for i in state.index.coming)
        if session.state is SessionState.ENDING and session.undo_until is not None
        for share in session.shares
    }
    if not keeping:
        return []
    out: dict[str, Session] = {}
    for one in everybody_waiting(state, now):
        for option in options_of(state, one):
            if over(state, one, option.flavor.name, option.fraction) is not None:
                continue
            shares = place(state, one, option, now, ignoring=frozenset(keeping))
            if shares is None:
                continue
            for share in shares:
                for held in state.held_on(share.device_uuid):
                    if held.id in keeping and conflict(held, share):
                        session = keeping[held.id]
                        out[session.id] = session
            break
    return sorted(out.values(), key=lambda s: s.number)


def can_use(state: BrokerState, waiting: Session, holder: Session) -> bool:
    """Whether somebody who waits could have what a session holds, or what is in its way."""
    tied = tied_to(waiting)
    if tied is not None and not any(is_on(s, tied) for s in holder.shares):
        return False
    return any(
        in_the_way(state, holder, option) and over(state, waiting, option.flavor.name, option.fraction) is None
        for option in options_of(state, waiting)
    )


def ahead_of(state: BrokerState, session: Session) -> list[Session]:
    """The sessions that are served before this one and want some of the same shares."""
    mine = {(c.pool, c.flavor.name) for c in options_of(state, session)}
    out = []
    for other in everybody_waiting(state):
        if other.id == session.id:
            break
        if mine & {(c.pool, c.flavor.name) for c in options_of(state, other)}:
            out.append(other)
    return out


def _bar(state: BrokerState, session: Session, option: Candidate, now: float) -> frozenset[str] | None:
    """What is kept free for a session that waits; None while reservations leave it too little, whoever gives way."""
    index = state.index.pools[option.pool]
    tied = tied_to(session)
    if tied is None and not state.policy.reservations:
        return index.excluded_by(option.flavor.name)
    closed = reserved_from(state, session, option.pool, now)
    wanted = [
        s
        for s in index.by_flavor.get(option.flavor.name, ())
        if s.id not in closed and (tied is None or is_on(s, tied))
    ]
    return excluded(index.on_device, wanted) if len(wanted) >= session.request.count else None
