"""The rules that an operator sets. A change is an event, so the journal knows which rule was in force."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Policy"]


@dataclass(frozen=True)
class Policy:
    """Every limit and window, in seconds unless the name says otherwise.

    Attributes
    ----------
    default_lease_s, max_lease_s : float
        A lease when none is named, and what extending cannot pass, counted from the start of the session.
    claim_window_s : float
        How long a session whose turn has come keeps its shares unclaimed.
    undo_s : float
        How long a release can be undone while nobody waits for the shares.
    linger_s : float
        How long a kernel session without a kernel keeps its share (a restart by hand takes seconds).
    lost_grace_s : float
        How long a device may be away before its sessions end as ``lost``.
    warn_s : tuple of float
        How long before the end of a lease its owner is warned, longest first.
    auto_extend_s : float
        The step by which a busy session is carried past its lease while nobody waits.
    hosted_kinds : tuple of str
        The session kinds that managed pools host.
    """

    version: int = 1
    default_lease_s: float = 7200.0
    max_lease_s: float = 43200.0
    claim_window_s: float = 600.0
    undo_s: float = 10.0
    linger_s: float = 60.0
    lost_grace_s: float = 120.0
    start_retry_s: float = 30.0
    stop_retry_s: float = 10.0
    warn_s: tuple[float, ...] = (600.0, 120.0)
    auto_extend_s: float = 300.0
    keep_ended_s: float = 900.0
    keep_key_s: float = 86400.0
    keep_look_s: float = 600.0
    max_sessions_per_user: int = 64
    hosted_kinds: tuple[str, ...] = ("kernel", "job")
