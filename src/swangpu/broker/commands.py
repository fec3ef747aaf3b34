"""What the shell is to do. Each is one frozen dataclass, carried out after its event is durable.

Every command may be carried out twice (a crash between doing and remembering): whoever does it is idempotent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..domain.records import DemandRecord, UsageRecord

__all__ = [
    "Accept",
    "AttachKernel",
    "Command",
    "Notify",
    "PauseWork",
    "RecordDemand",
    "RecordUsage",
    "Reject",
    "ResumeWork",
    "StartWork",
    "StopWork",
]


@dataclass(frozen=True)
class Command:
    """Base of all commands."""


@dataclass(frozen=True)
class Accept(Command):
    """Answer to a request: this is its session (an earlier one, for a repeated idempotency key)."""

    session_id: str


@dataclass(frozen=True)
class Reject(Command):
    """Answer to a request that can never be served."""

    code: str
    detail: str
    hint: str
    params: tuple[tuple[str, str | int | float | None], ...] = ()


@dataclass(frozen=True)
class StartWork(Command):
    session_id: str


@dataclass(frozen=True)
class StopWork(Command):
    """Detach the session's kernels, then stop the backend's work; answer with ``WorkStopped``."""

    session_id: str


@dataclass(frozen=True)
class AttachKernel(Command):
    """Put the kernel that the request named on the session."""

    session_id: str


@dataclass(frozen=True)
class PauseWork(Command):
    """Close the gates of its kernels, see that they are idle, put aside what they have on the device.

    Answer with ``PauseSaved`` or ``PauseFailed``; after the latter the gates are open. No more than ``budget_bytes`` of
    host memory may be taken for it; None: no limit but the system's. Where they have no more than ``stays_bytes`` on
    the device, it may stay there.

    ``leaves``: they have stayed on their device behind closed gates, and are to be moved out of it now. The gates stay
    closed, whatever comes of it.
    """

    session_id: str
    methods: tuple[str, ...] = ()
    budget_bytes: int | None = None
    stays_bytes: int = 0
    leaves: bool = False


@dataclass(frozen=True)
class ResumeWork(Command):
    """Bring it back onto the shares that it has now, and open the gates: ``ResumeDone`` or ``ResumeFailed``."""

    session_id: str


Level = Literal["info", "success", "warning", "error"]


@dataclass(frozen=True)
class Notify(Command):
    """Tell a person. ``level``: info, success, warning, error."""

    user: str
    session_id: str
    code: str
    level: Level
    text: str
    params: tuple[tuple[str, str | int | float | None], ...] = ()
    actions: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecordUsage(Command):
    record: UsageRecord


@dataclass(frozen=True)
class RecordDemand(Command):
    record: DemandRecord
