"""What the ledger keeps beside the journal: usage, and demand that was or was not served."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DemandRecord", "JournalEntry", "UsageRecord"]


@dataclass(frozen=True)
class JournalEntry:
    """One decision: the event, when it was handled, and the commands that followed (JSON text)."""

    seq: int
    now: float
    policy_version: int
    event: str
    commands: str


@dataclass(frozen=True)
class UsageRecord:
    """One ended session that held something. ``held_s`` counts from claim to confirmed stop, per share."""

    session_id: str
    user: str
    project: str | None
    kind: str
    pool: str
    flavor: str
    count: int
    memory_bytes: int
    created_at: float
    started_at: float
    ended_at: float
    held_s: float
    busy_s: float | None
    end_reason: str
    simulated: bool = False


@dataclass(frozen=True)
class DemandRecord:
    """Somebody wanted a GPU, and this is what became of it.

    ``outcome``: ``looked``, ``granted``, ``refused``, ``given_up``, ``unclaimed``, ``settled`` (for less
    memory than was looked for), ``failed``.
    """

    at: float
    user: str
    outcome: str
    kind: str
    pool: str | None = None
    flavor: str | None = None
    memory_bytes: int | None = None
    count: int = 1
    duration_s: float | None = None
    waited_s: float | None = None
    project: str | None = None
    session_id: str | None = None
    reason_code: str | None = None
