"""Why somebody waits, true at this moment, with the numbers."""

from __future__ import annotations

from ..domain.sessions import PausePhase, Reason, Session
from .estimate import PAUSING_S, frees_at
from .fairness import held_lately, in_order
from .queue import ahead_of, candidates, options_of, tied_to, wanted_by
from .quotas import QuotaUse, over
from .reservations import barring
from .state import BrokerState

__all__ = ["overdrawn", "waiting_reason"]


def waiting_reason(state: BrokerState, session: Session) -> Reason:
    """Why a session in the queue is not served."""
    now = state.now
    place_in_queue = len(ahead_of(state, session)) + 1
    options = options_of(state, session) or candidates(state, session.request)
    title = options[0].flavor.title if options else (session.request.flavor or "GPU")
    away = [c.pool for c in options if not state.pools[c.pool].available]
    if options and len(away) == len(options):
        pool = state.pools[away[0]]
        text = f"{pool.title} does not answer now: {pool.reason_text or 'reason not known'}"
        return Reason("pool_away", text, (("pool", pool.title), ("position", place_in_queue)))
    limits = [over(state, session, c.flavor.name, c.fraction) for c in options]
    if limits and (limit := limits[0]) is not None and all(limits):
        return _over_quota(limit, title, place_in_queue)
    reserved = _reserved_for(state, session, now)
    length = len([s for s in in_order(state, now) if s.id != session.id and _meets(state, s, session)]) + 1
    tied = tied_to(session)
    ends = frees_at(state, wanted_by(session), now, tied=tied)
    params: list[tuple[str, str | int | float | None]] = [
        ("position", place_in_queue),
        ("length", length),
        ("title", title),
        ("next_at", ends[0] if ends else None),
        ("group", session.group or None),
        ("group_over", int(overdrawn(state, session, now))),
        ("reserved", reserved),
    ]
    said = _sentences(state, session, place_in_queue, length, title, ends, reserved, now)
    code = "in_queue" if place_in_queue > 1 else "all_held"
    if session.pause is not None and session.pause.phase is PausePhase.WANTED:
        code = "waits_for_gpu"
    return Reason(code, " ".join(said), tuple(params))


def overdrawn(state: BrokerState, session: Session, now: float) -> bool:
    """Whether the session's group has held more than its share lately, of what all groups in the queue have held."""
    rows = {s.group: None for s in in_order(state, now)}
    if len(rows) < 2:
        return False
    weights = {name: (group.weight if (group := state.policy.group(name)) else 1.0) for name in rows}
    held = {name: held_lately(state, f"g:{name}", now) for name in rows}
    total, all_weights = sum(held.values()), sum(weights.values())
    return total > 0 and held[session.group] / total > 1.05 * weights[session.group] / all_weights


def _sentences(
    state: BrokerState,
    session: Session,
    position: int,
    length: int,
    title: str,
    ends: list[float],
    reserved: str | None,
    now: float,
) -> list[str]:
    some = f"Some are set aside for {reserved}." if reserved is not None else ""
    if tied_to(session) is not None:
        out = ["Its own GPU is in use, and what was put aside can go on with no other."]
    elif position > 1:
        out = [f"{_ordinal(position)} of {length} in the queue for {title}."]
    elif reserved is not None:
        out, some = [f"All of {title} are in use or set aside for {reserved}; you are next."], ""
    else:
        out = [f"All of {title} are in use; you are next."]
    if ends and ends[0] - now <= PAUSING_S:
        out.append("One is about to come free.")
    elif ends:
        out.append(f"The next one is due back in {_minutes(ends[0] - now)}.")
    if some:
        out.append(some)
    if overdrawn(state, session, now):
        out.append(
            f"Group {session.group} has held more than its share lately."
            if session.group
            else "Others have held less than you lately, and go first."
        )
    return out


def _over_quota(limit: QuotaUse, title: str, position: int) -> Reason:
    whose = "You hold" if limit.whose == "you" else f"Group {limit.whose} holds"
    unit = "devices" if limit.quota.flavor == "*" else title
    text = f"{whose} {limit.held:.3g} of at most {limit.quota.limit:.3g} {unit}: the next comes when one goes back."
    params = (("whose", limit.whose), ("held", limit.held), ("limit", limit.quota.limit), ("position", position))
    return Reason("over_quota", text, params)


def _reserved_for(state: BrokerState, session: Session, now: float) -> str | None:
    """The title of a reservation that keeps from this session now what it waits for."""
    if not state.policy.reservations:
        return None
    found = (barring(state, session, option.pool, option.flavor.name, now) for option in options_of(state, session))
    return next((one.title for one in found if one is not None), None)


def _meets(state: BrokerState, one: Session, other: Session) -> bool:
    mine = {(c.pool, c.flavor.name) for c in options_of(state, one)}
    return bool(mine & {(c.pool, c.flavor.name) for c in options_of(state, other)})


def _minutes(seconds: float) -> str:
    """Coarse, so that the sentence does not change with every look."""
    minutes = max(1, round(seconds / 60))
    if minutes > 90:
        return f"{round(minutes / 60)} h"
    return f"{minutes if minutes <= 5 else 5 * round(minutes / 5)} min"


def _ordinal(n: int) -> str:
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"
