"""Who is paused and has stayed on its device: charged with what it has there, and moved out when that is needed.

A resident holds no share. What it has on one is kept free for it all the same: nobody gets that share, or one that
excludes it, whose promised memory does not fit beside it.
"""

from __future__ import annotations

from collections.abc import Container

from ..domain.devices import Share
from ..domain.sessions import PausePhase, Session, SessionState
from .exclusion import conflict
from .state import BrokerState

__all__ = [
    "beside",
    "bytes_of",
    "everybody",
    "fits",
    "is_leaving",
    "leaves_first",
    "may_move_out",
    "need_bytes",
    "place_of",
    "rests",
]


def rests(session: Session) -> bool:
    """Whether what it has is on its device still, though that is free for others."""
    return session.pause is not None and session.pause.resident_on is not None and not session.shares


def is_leaving(session: Session) -> bool:
    """Whether a resident is being moved out, or ends."""
    if not rests(session) or session.pause is None:
        return False
    return session.state is SessionState.ENDING or session.pause.phase is PausePhase.SAVING


def may_move_out(session: Session, now: float) -> bool:
    """Whether a resident can be told to leave its device now."""
    pause = session.pause
    if not rests(session) or pause is None or session.state is not SessionState.PAUSED:
        return False
    waits_still = session.pause_again_at is not None and session.pause_again_at > now
    can = bool(session.pause_methods) and session.lost_since is None and not waits_still
    return can and pause.phase in (PausePhase.SAVED, PausePhase.WANTED)


def leaves_first(session: Session) -> tuple[bool, float, int]:
    """The order in which residents are moved out: the longest idle first, those whose cell waits last."""
    pause = session.pause
    since = pause.since if pause is not None else 0.0
    idle_since = session.idle_since if session.idle_since is not None else since
    return (pause is not None and pause.wanted_at is not None, idle_since, session.number)


def need_bytes(session: Session, share: Share) -> int:
    """What a session is promised of a share's memory: what it asked for; all of it where it asked for the share.

    One that comes back needs what it had, however little it once asked for.
    """
    asked = session.request.memory_bytes
    if asked is None:
        return share.memory_bytes
    if session.pause is not None:
        asked = max(asked, session.pause.saved_bytes, session.pause.resident_bytes)
    return min(asked, share.memory_bytes)


def everybody(state: BrokerState) -> list[Session]:
    """All residents, in no particular order."""
    return [state.sessions[i] for there in state.index.residents.values() for i in there]


def beside(state: BrokerState, session: Session, share: Share) -> list[Session]:
    """The residents in the way of a session on a share, itself left out."""
    there = (state.sessions[i] for i in state.index.residents.get(share.device_uuid, ()))
    return [s for s in there if s.id != session.id and any(conflict(on, share) for on in place_of(s))]


def place_of(session: Session) -> tuple[Share, ...]:
    """Where a session has something: on what it holds, or where it has stayed."""
    stayed = session.pause.resident_on if session.pause is not None else None
    return session.shares or ((stayed,) if stayed is not None else ())


def bytes_of(session: Session) -> int:
    """What a resident has on its device."""
    return session.pause.resident_bytes if session.pause is not None else 0


def fits(state: BrokerState, session: Session, share: Share, through: Container[str] = ()) -> bool:
    """Whether what a session is promised fits beside the residents there; ``through``: ids of those who leave."""
    there = sum(bytes_of(one) for one in beside(state, session, share) if one.id not in through)
    return there + need_bytes(session, share) <= share.memory_bytes
