"""Shares set aside for a time: what is barred to whom, and when a lease has to end for it."""

from __future__ import annotations

from ..domain.sessions import Session
from .exclusion import conflict
from .policy import Reservation
from .state import BrokerState

__all__ = [
    "barred",
    "barring",
    "edge_between",
    "first_end",
    "first_wanting",
    "next_edge",
    "reserved_shares",
    "shortfalls",
]

#: a share that is wanted for a reservation in less than so many seconds is not given away for the rest
SHORTEST_S = 60.0


def reserved_shares(state: BrokerState, pool: str) -> dict[str, tuple[int, ...]]:
    """Share ids of a pool, and the reservations that need each, by their place in the policy.

    What cannot be held together with a reserved share is reserved with it.
    """
    index = state.index
    if index.reserved is None:
        index.reserved = {name: _reserved(state, name) for name in state.pools}
    return index.reserved.get(pool, {})


def _reserved(state: BrokerState, pool: str) -> dict[str, tuple[int, ...]]:
    out: dict[str, tuple[int, ...]] = {}
    known = state.index.pools[pool]
    used: list[tuple[float, float, str]] = []
    for place, one in enumerate(state.policy.reservations):
        if one.pool != pool or one.end <= one.start:
            continue
        # two reservations at the same time get different shares
        busy = {share for start, end, share in used if start < one.end and one.start < end}
        ranked = sorted(known.by_flavor.get(one.flavor, ()), key=lambda s: s.id, reverse=True)
        for share in [s for s in ranked if s.id not in busy][: one.count]:
            used.append((one.start, one.end, share.id))
            for other in known.on_device[share.device_uuid]:
                if conflict(share, other):
                    out[other.id] = (*out.get(other.id, ()), place)
    return out


def shortfalls(state: BrokerState, now: float) -> list[str]:
    """A sentence for each reservation to come that can't set aside what it names, for whoever wrote it."""
    out = []
    for one in state.policy.reservations:
        inventory = state.pools.get(one.pool)
        if one.end <= now or (inventory is not None and not inventory.available):
            continue
        if inventory is None:
            there_are = ", ".join(sorted(state.pools)) or "none"
            out.append(f'"{one.title}" sets nothing aside: there is no pool "{one.pool}" (pools: {there_are}).')
            continue
        number = len(state.index.pools[one.pool].by_flavor.get(one.flavor, ()))
        if not number:
            has = ", ".join(flavor.name for flavor in inventory.flavors) or "nothing"
            out.append(f'"{one.title}" sets nothing aside: there is no "{one.flavor}" in {one.pool} (it has {has}).')
        elif number < one.count:
            out.append(f'"{one.title}" is for {one.count} "{one.flavor}", and {one.pool} has {number}.')
    return out


def barred(state: BrokerState, session: Session, pool: str, now: float) -> set[str]:
    """Ids of shares that this session can't be given now."""
    return {
        share
        for share, places in reserved_shares(state, pool).items()
        if any(_bars(state.policy.reservations[i], session, now) for i in places)
    }


def barring(state: BrokerState, session: Session, pool: str, flavor: str, now: float) -> Reservation | None:
    """The first reservation that keeps shares of a flavor from a session now, or None."""
    wanted = reserved_shares(state, pool)
    found = [
        one
        for share in state.index.pools[pool].by_flavor.get(flavor, ())
        for i in wanted.get(share.id, ())
        if _bars(one := state.policy.reservations[i], session, now)
    ]
    return min(found, key=lambda one: one.start, default=None)


def first_end(state: BrokerState, session: Session, now: float) -> float | None:
    """When the first reservation starts that needs what a session holds (Unix seconds), or None."""
    first = first_wanting(state, session, now)
    return first.start if first is not None else None


def first_wanting(state: BrokerState, session: Session, now: float) -> Reservation | None:
    """The first reservation that needs what a session holds, or None."""
    if session.pool is None or not state.policy.reservations:
        return None
    wanted = reserved_shares(state, session.pool)
    found = [
        one
        for share in session.shares
        for i in wanted.get(share.id, ())
        if now < (one := state.policy.reservations[i]).end and not one.admits(session.user, session.group)
    ]
    return min(found, key=lambda one: one.start, default=None)


def next_edge(state: BrokerState, now: float) -> float | None:
    """When a reservation starts or ends next: somebody who waits may be served then."""
    edges = [t for one in state.policy.reservations for t in (one.start, one.end) if t > now]
    return min(edges, default=None)


def edge_between(state: BrokerState, start: float, end: float) -> bool:
    """Whether a reservation starts or ends after ``start`` and not after ``end``."""
    return any(start < t <= end for one in state.policy.reservations for t in (one.start, one.end))


def _bars(one: Reservation, session: Session, now: float) -> bool:
    return one.start - SHORTEST_S < now < one.end and not one.admits(session.user, session.group)
