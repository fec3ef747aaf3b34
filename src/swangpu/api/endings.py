"""What will end a session, and what its person should know of that. Pure."""

from __future__ import annotations

from collections.abc import Callable

from .. import wire
from ..broker.lifecycle import cause_of_end, title_of
from ..broker.reservations import first_wanting
from ..broker.state import BrokerState
from ..domain.sessions import EndCause, Session, SessionState
from ..kernel_side import words

__all__ = ["about_to_end", "ends"]

HOLDING = (SessionState.ACTIVE, SessionState.PAUSED)


def ends(
    state: BrokerState, session: Session, now: float, others: Callable[[Session], list[tuple[float, EndCause]]]
) -> wire.Ends | None:
    """The first thing that will end it.

    Parameters
    ----------
    others : callable
        What beside the broker's own will, as ``(at, cause)``.
    """
    causes: list[tuple[float, EndCause]] = []
    if session.state is SessionState.READY and session.claim_by is not None and session.claimed_at is None:
        causes.append((session.claim_by, "claim_window"))
    if session.state in HOLDING:
        if session.lease_until is not None and session.shares:
            why = cause_of_end(session)
            causes.append((session.lease_until, "reservation" if why == "reservation" else "quota" if why else "lease"))
        if session.idle_ends_at is not None:
            causes.append((session.idle_ends_at, "idle"))
        causes += others(session)
    if not causes:
        return None
    at, cause = min(causes)
    wanted = first_wanting(state, session, now) if cause == "reservation" else None
    return wire.Ends(at=at, cause=cause, title=wanted.title if wanted is not None else None)


def about_to_end(state: BrokerState, session: Session, now: float) -> wire.ReasonView | None:
    """Its device is away, or it is idle and goes to somebody who waits."""
    return _lost(session, now) or _idle(state, session, now)


def _idle(state: BrokerState, session: Session, now: float) -> wire.ReasonView | None:
    if session.idle_ends_at is None or session.idle_since is None or session.state not in HOLDING:
        return None
    title, minutes = title_of(state, session), max(1, round((now - session.idle_since) / 60))
    at = words.clock(session.idle_ends_at, now)
    text = f"{title} has been idle for {minutes} min, and somebody waits for it. It goes back at {at}."
    params: dict[str, str | int | float | None] = {"title": title, "minutes": minutes, "ends_at": session.idle_ends_at}
    return wire.ReasonView(code="idle_ends", params=params, text=text)


def _lost(session: Session, now: float) -> wire.ReasonView | None:
    if session.lost_since is None or session.state not in (SessionState.READY, *HOLDING):
        return None
    text = "Its device does not answer. If it does not come back soon, the session ends."
    return wire.ReasonView(code="device_away", params={"since_s": round(now - session.lost_since)}, text=text)
