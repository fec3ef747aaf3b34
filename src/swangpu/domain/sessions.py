"""Requests, sessions and the words for their states."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from .devices import Share

__all__ = [
    "Carry",
    "ComesBack",
    "EndCause",
    "EndReason",
    "Pause",
    "PausePhase",
    "Priority",
    "Reason",
    "Request",
    "Session",
    "SessionKind",
    "SessionState",
]


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


class Priority(str, Enum):
    """Which queue a request waits in; a long wait lifts it into the one before."""

    INTERACTIVE = "interactive"
    JOB = "job"
    BACKFILL = "backfill"


class PausePhase(str, Enum):
    """``saving → saved → wanted → restoring``; only in the last are shares held for certain.

    Who is saved and has stayed on its device goes through the first again, without shares, to be moved out of it.
    """

    SAVING = "saving"
    SAVED = "saved"
    WANTED = "wanted"
    RESTORING = "restoring"


class ComesBack(str, Enum):
    """Where a session that was put aside can go on, the narrowest first.

    ``DEVICE``: where it was only; ``FLAVOR``: on any share of the same flavor in the same pool; ``ANYWHERE``.
    """

    DEVICE = "device"
    FLAVOR = "flavor"
    ANYWHERE = "anywhere"


#: what will end a session, as far as is known
EndCause = Literal[
    "lease", "claim_window", "server_idle_limit", "kernel_idle_limit", "reservation", "quota", "idle", "linger"
]


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
    #: by default what its kind has: a job waits behind people
    priority: Priority | None = None


#: ways of pausing that save to a disk, and not to host memory
ON_DISK = frozenset({"carry"})


@dataclass(frozen=True)
class Pause:
    """How far a pause has come.

    Attributes
    ----------
    why : str
        ``"idle"`` (somebody waits for what it held), ``"owner"``, or ``"quota"`` (what was lent is wanted back).
    device_uuid : str or None
        The device, or the MIG device, that it was on and has to come back to; None where any will do.
    wanted_at : float or None
        Since when a cell waits for the GPU.
    sent_at : float or None
        When the shell was last told to save or to restore.
    freed_at : float or None
        When its shares were let go: its lease stands still from then on.
    attempts : int
        How often bringing it back has failed.
    kept : bool
        Its shares stay its own all the time: what it has on them could not be moved, or was not to be.
    again_at : float or None
        When that is tried again.
    room_bytes : int or None
        While it is being saved: how much host memory is set aside for that; None where the site sets no limit.
    remaps : bool
        It can come back on any share of its flavor and pool, and not on ``device_uuid`` only.
    stays_bytes : int
        While it is being saved: what has no more than that on the device may stay there.
    resident_bytes : int
        What has stayed on the device, though its shares are free for others.
    resident_on : Share or None
        Where that is; None when nothing has stayed.
    """

    phase: PausePhase
    why: str
    since: float
    method: str | None = None
    saved_bytes: int = 0
    device_uuid: str | None = None
    wanted_at: float | None = None
    sent_at: float | None = None
    freed_at: float | None = None
    attempts: int = 0
    kept: bool = False
    again_at: float | None = None
    room_bytes: int | None = None
    remaps: bool = False
    stays_bytes: int = 0
    resident_bytes: int = 0
    resident_on: Share | None = None


@dataclass(frozen=True)
class Session:
    """An admitted or queued request and everything that becomes of it.

    Times are Unix seconds. ``shares`` is non-empty exactly while something is held: from ``ready`` until
    the backend has confirmed the stop, but for the time in which a pause has given them to somebody else.
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
    #: whose share of the site it counts to
    group: str = ""
    pause: Pause | None = None
    #: how its kernels can be put aside; none: only a release gives its GPU to somebody else
    pause_methods: tuple[str, ...] = ()
    #: a pause that failed is not tried again before
    pause_again_at: float | None = None
    #: how often it was paused, and for how long in all
    pauses: int = 0
    paused_s: float = 0.0
    #: since when its present shares are held, and share-seconds of those before
    held_from: float | None = None
    held_s: float = 0.0
    #: its owner was told that it goes back, being idle, at this time
    idle_ends_at: float | None = None
    #: since when a policy that only advises would have taken it, and for how long in all
    advised_from: float | None = None
    recoverable_s: float = 0.0
    #: the wait that was foreseen when it came, in seconds
    foreseen_s: float | None = None
    #: why its lease can't be longer: ``reservation`` or ``quota``
    lease_cause: str | None = None
    #: the end of its lease, and how far it could be extended, before that
    lease_before: tuple[float, float] | None = None
