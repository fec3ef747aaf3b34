"""What can happen. Each is one frozen dataclass, journalled as it is."""

from __future__ import annotations

from dataclasses import dataclass

from ..domain.devices import PoolInventory
from ..domain.sessions import ComesBack, Request
from .policy import Policy

__all__ = [
    "ActivityReported",
    "AttachFailed",
    "Claimed",
    "Configured",
    "Event",
    "Extended",
    "InventoryReported",
    "KernelAttached",
    "KernelGone",
    "Looked",
    "MemoryShort",
    "PauseFailed",
    "PauseSaved",
    "Paused",
    "Recovered",
    "Released",
    "Requested",
    "ResumeDone",
    "ResumeFailed",
    "Resumed",
    "Ticked",
    "Undone",
    "WorkCheckpointed",
    "WorkFailed",
    "WorkStarted",
    "WorkStopped",
    "WorkVanished",
]


@dataclass(frozen=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True)
class Configured(Event):
    """The operator's rules have changed."""

    policy: Policy


@dataclass(frozen=True)
class InventoryReported(Event):
    """A backend has said what it has."""

    inventory: PoolInventory


@dataclass(frozen=True)
class Looked(Event):
    """Somebody looked at offers without taking one; recorded as demand."""

    user: str
    kind: str
    flavor: str | None
    memory_bytes: int | None
    count: int
    duration_s: float | None


@dataclass(frozen=True)
class Requested(Event):
    """Somebody asks for shares. ``session_id`` is made by the shell: the core draws no random numbers."""

    session_id: str
    user: str
    request: Request
    idempotency_key: str | None = None
    #: to which group it counts; None: to the one that the policy has for the user
    group: str | None = None


@dataclass(frozen=True)
class SessionEvent(Event):
    session_id: str


@dataclass(frozen=True)
class Claimed(SessionEvent):
    """The owner takes the shares that are held for them; the lease starts when the work has started."""


@dataclass(frozen=True)
class Extended(SessionEvent):
    duration_s: float


@dataclass(frozen=True)
class Released(SessionEvent):
    """The owner (or an operator) gives a session back. ``undoable`` false: at once."""

    undoable: bool = True


@dataclass(frozen=True)
class Undone(SessionEvent):
    """A release is taken back."""


@dataclass(frozen=True)
class Paused(SessionEvent):
    """The owner (or an operator) has it put aside."""


@dataclass(frozen=True)
class Resumed(SessionEvent):
    """A cell waits for its GPU, or the owner wants it back."""


@dataclass(frozen=True)
class PauseSaved(SessionEvent):
    """Its kernels are idle behind closed gates, and what they had on the device is safe.

    Attributes
    ----------
    frees : bool
        Whether its shares can be given to somebody else now.
    comes_back : ComesBack
        Where it can go on.
    code, text : str
        Why its shares can't be given away, where it was tried to put aside what is on them; or what is there still.
    resident_bytes : int
        What has stayed on the device: it was no more than what may. Nothing was moved then, and it goes on there.
    """

    method: str
    saved_bytes: int = 0
    frees: bool = True
    comes_back: ComesBack = ComesBack.DEVICE
    code: str = ""
    text: str = ""
    resident_bytes: int = 0


@dataclass(frozen=True)
class PauseFailed(SessionEvent):
    """It could not be put aside and goes on as before; ``lost``: its kernel did not survive the attempt.

    ``doubtful``: its kernel was touched and goes on, and nobody promises that all in it works as before.
    """

    code: str
    text: str
    lost: bool = False
    doubtful: bool = False


@dataclass(frozen=True)
class ResumeDone(SessionEvent):
    """It is on its shares again, its gates are open; ``busy``: a cell that had waited runs now.

    ``code``, ``text``: what its person should know all the same.
    """

    busy: bool = False
    code: str = ""
    text: str = ""


@dataclass(frozen=True)
class ResumeFailed(SessionEvent):
    """It could not be brought back onto its shares; ``lost``: and what was saved is gone.

    ``own_device``: it can be on the device that it was on, and on no other.
    """

    code: str
    text: str
    lost: bool = False
    own_device: bool = False


@dataclass(frozen=True)
class WorkCheckpointed(SessionEvent):
    """The backend is about to have a side effect; ``checkpoint`` is enough to stop it."""

    checkpoint: str


@dataclass(frozen=True)
class WorkStarted(SessionEvent):
    pass


@dataclass(frozen=True)
class WorkFailed(SessionEvent):
    """The backend could not start the work."""

    code: str
    text: str


@dataclass(frozen=True)
class WorkVanished(SessionEvent):
    """The backend no longer knows of work that should be running."""

    text: str = "The work has ended without our doing."


@dataclass(frozen=True)
class WorkStopped(SessionEvent):
    """The backend confirms that nothing of the session runs any more: only now are its shares free."""


@dataclass(frozen=True)
class KernelAttached(SessionEvent):
    kernel_id: str
    path: str | None = None
    #: how it can be put aside; none where it has no gate
    pause_methods: tuple[str, ...] = ()


@dataclass(frozen=True)
class KernelGone(SessionEvent):
    """A kernel was shut down or detached."""

    kernel_id: str


@dataclass(frozen=True)
class AttachFailed(SessionEvent):
    code: str
    text: str


@dataclass(frozen=True)
class ActivityReported(SessionEvent):
    """Whether a cell of the session runs now, or its GPU computes without one."""

    busy: bool


@dataclass(frozen=True)
class MemoryShort(Event):
    """There is little free memory left on a device or MIG device: who holds it has grown, or somebody else is there."""

    uuid: str


@dataclass(frozen=True)
class Ticked(Event):
    """Time has passed."""


@dataclass(frozen=True)
class Recovered(Event):
    """The shell has restarted: what was commanded may or may not have been done, so say it again."""
