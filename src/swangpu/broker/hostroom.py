"""How much host memory paused sessions may have, all together: what is left of it is set aside before anything moves.

A session that is being saved counts with what was set aside for it, which is never less than what it may save; once it
is saved it counts with what it is. One that has stayed on its device counts nothing, until it is moved out.
"""

from __future__ import annotations

from ..domain.devices import ShareKind
from ..domain.sessions import ON_DISK, PausePhase, Session
from .residents import place_of
from .state import BrokerState

__all__ = ["room_for", "worth_a_wait"]


def room_for(state: BrokerState, session: Session) -> int | None:
    """How much host memory a session may take to be put aside; None where the site sets no limit."""
    left = _left(state, session)
    return None if left is None else min(left, _at_most(session))


def worth_a_wait(state: BrokerState, session: Session) -> bool:
    """Whether more may be left in a moment: others are being saved, and may take less than was set aside for them."""
    left = _left(state, session)
    if left is None or left >= _at_most(session):
        return False
    return any(_is_saving(state.sessions[i]) for i in state.index.moving if i != session.id)


def _left(state: BrokerState, session: Session) -> int | None:
    budget = state.policy.paused_memory_bytes
    if budget is None:
        return None
    return max(0, budget - sum(_counts(other) for other in state.live() if other.id != session.id))


def _counts(session: Session) -> int:
    pause = session.pause
    if pause is None:
        return 0
    if not _is_saving(session):
        # what is on its way back is in host memory too, until all of it is back
        return 0 if pause.method in ON_DISK else pause.saved_bytes
    # one that was begun before there was a limit
    return pause.room_bytes if pause.room_bytes is not None else _at_most(session)


def _is_saving(session: Session) -> bool:
    return session.pause is not None and session.pause.phase is PausePhase.SAVING


def _at_most(session: Session) -> int:
    """What it can have on its devices: a time-slice is advice, so all of its device."""
    shares = place_of(session)
    parts = [s.fraction if s.kind is ShareKind.TIME_SLICE and s.fraction > 0 else 1.0 for s in shares]
    return sum(round(s.memory_bytes / part) for s, part in zip(shares, parts, strict=True))
