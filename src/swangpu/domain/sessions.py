"""Requests, sessions and the words for their states."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from .devices import Share

__all__ = ["Carry", "EndCause", "EndReason", "Reason", "Request", "Session", "SessionKind", "SessionState"]


class SessionKind(str, Enum):
    KERNEL = "kernel"
    CLUSTER = "cluster"
    JOB = "job"
    SERVER = "server"


class SessionState(str, Enum):
    """``queued → ready → active ⇄ paused → ending → ended``."""

    QUEUED = "queued"
    READY = "ready"
    ACTIVE = "active"
    PAUSED = "paused"
    ENDING = "ending"
    ENDED = "ended"


class EndReason(str, Enum):
    RELEASED = "released"
    EXPIRED = "expired"
    RECLAIMED = "reclaimed"
    UNCLAIMED = "unclaimed"
    FAILED = "failed"
    REFUSED = "refused"
    LOST = "lost"


#: what will end a session, as far as is known
EndCause = Literal["lease", "claim_window", "server_idle_limit", "kernel_idle_limit", "reservation", "linger"]


class Carry(str, Enum):
    """What happens to a kernel's variables when attaching restarts it."""

    ALL = "all"
    NONE = "none"


@dataclass(frozen=True)
class Reason:
    """Why a session is where it is: a stable code, the numbers, and a sentence."""

    code: str
    text: str
    params: tuple[tuple[str, str | int | float | None], ...] = ()


@dataclass(frozen=True)
class Request:
    """What somebody asks for: a flavor or a minimum memory, never both.

    ``attach_path`` and ``attach_kernel_id`` name the notebook or kernel to put on the session;
    ``on_ready`` is ``"hold"`` (attach by itself when its turn comes) or ``"notify"`` (tell me; I claim it).
    """

    kind: SessionKind = SessionKind.KERNEL
    flavor: str | None = None
    memory_bytes: int | None = None
    count: int = 1
    duration_s: float = 7200.0
    pools: tuple[str, ...] = ()
    project: str | None = None
    purpose: str | None = None
    attach_path: str | None = None
    attach_kernel_id: str | None = None
    carry: Carry = Carry.NONE
    on_ready: str = "hold"
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Session:
    """An admitted or queued request and everything that becomes of it.

    Times are Unix seconds. ``shares`` is non-empty exactly while something is held: from ``ready`` until
    the backend has confirmed the stop.
    """

    id: str
    user: str
    request: Request
    state: SessionState
    created_at: float
    #: place in the order of arrival; never reused
    number: int
    idempotency_key: str | None = None
    pool: str | None = None
    flavor: str | None = None
    shares: tuple[Share, ...] = ()
    ready_at: float | None = None
    claim_by: float | None = None
    #: a claim was accepted and the backend was told to start
    claimed_at: float | None = None
    started_at: float | None = None
    lease_until: float | None = None
    #: extending goes no further than this
    lease_max_until: float | None = None
    warned_s: float | None = None
    idle_since: float | None = None
    busy: bool = False
    #: seconds of cells running so far, and since when the present one runs
    busy_s: float = 0.0
    busy_from: float | None = None
    kernel_ids: tuple[str, ...] = ()
    #: when the last kernel went away; a session without work is released after a linger
    empty_since: float | None = None
    undo_until: float | None = None
    #: the state to go back to on undo
    undo_state: SessionState | None = None
    stop_sent_at: float | None = None
    start_sent_at: float | None = None
    lost_since: float | None = None
    ended_at: float | None = None
    end_reason: EndReason | None = None
    reason: Reason | None = None
    #: the backend's last checkpoint, opaque to the broker
    checkpoint: str | None = None
    host: str | None = None
