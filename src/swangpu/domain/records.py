"""What the ledger keeps beside the journal: usage, demand that was or was not served, and profiles of cells."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DemandRecord", "JournalEntry", "ProfileRecord", "RunPeak", "UsageRecord"]


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
    """One ended session that held something.

    Attributes
    ----------
    held_s : float
        From claim to confirmed stop, without the time in which a pause had given its shares away; per share.
    pauses, paused_s : int, float
        How often it was paused, and how long in all.
    recoverable_s : float
        How long somebody waited for what it held while nobody computed there, where the policy only advises.
    end_code : str
        What took it from its owner: ``lease_ended``, ``reserved``, ``called_back`` (lent, and wanted back), ``idle``
        and so on; empty where the owner gave it back, and in ledgers of before.
    """

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
    pauses: int = 0
    paused_s: float = 0.0
    recoverable_s: float = 0.0
    end_code: str = ""


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


@dataclass(frozen=True)
class ProfileRecord:
    """What one cell did on a GPU.

    Attributes
    ----------
    path : str or None
        The notebook, where the kernel has one.
    run_id : str
        The same for all cells of one process of a kernel.
    every_cell : bool
        Whether all cells of this run since then were profiled, not this one alone.
    share_memory_bytes : int
        What the session held.
    busy_percent_min, busy_percent_max : float or None
        What is certain; see `swangpu.telemetry.profile`.
    memory_source : str or None
        ``allocator`` (of what ``allocators`` names), ``allocator_at_most``, ``device``, or ``processes`` (on a device
        that others use too).
    run_peak_bytes : int or None
        The allocators' highest peak of the run so far.
    missing : tuple of (str, str)
        Why a figure is None.
    """

    session_id: str
    user: str
    path: str | None
    kernel_id: str
    run_id: str
    every_cell: bool
    pool: str
    flavor: str
    share_memory_bytes: int
    started_at: float
    ended_at: float
    busy_percent: float | None
    busy_percent_min: float | None
    busy_percent_max: float | None
    memory_peak_bytes: int | None
    memory_source: str | None
    allocators: tuple[str, ...]
    run_peak_bytes: int | None
    energy_mj: int | None
    samples: int
    missing: tuple[tuple[str, str], ...] = ()
    simulated: bool = False


@dataclass(frozen=True)
class RunPeak:
    """The memory that one run of a notebook needed, of ``share_memory_bytes`` that it had."""

    run_id: str
    ended_at: float
    peak_bytes: int
    share_memory_bytes: int
