"""When time alone brings something about for a session."""

from __future__ import annotations

from ..domain.sessions import PausePhase, Session, SessionKind, SessionState
from .policy import Policy

__all__ = [
    "HOLDING",
    "computes",
    "deadline_of",
    "gives_way_at",
    "is_idle",
    "is_kept",
    "lingers",
    "may_pause_at",
    "may_release_at",
    "will_warn",
]

HOLDING = (SessionState.ACTIVE, SessionState.PAUSED)


def deadline_of(policy: Policy, s: Session, now: float) -> float | None:
    """When the session is worth looking at next (Unix seconds), or None.

    Parameters
    ----------
    now : float
        Thresholds of idleness that are past are not told again: they matter when somebody comes to wait.
    """
    if s.state is SessionState.ENDED:
        return (s.ended_at or 0.0) + policy.keep_ended_s
    if s.state is SessionState.READY:
        return (s.claim_by or 0.0) if s.claimed_at is None else (s.start_sent_at or 0.0) + policy.start_retry_s
    if s.state is SessionState.ENDING:
        return s.undo_until if s.undo_until is not None else (s.stop_sent_at or 0.0) + policy.stop_retry_s
    if s.state is SessionState.QUEUED:
        return None
    return min(_while_holding(policy, s, now), default=None)


def _while_holding(policy: Policy, s: Session, now: float) -> list[float]:
    times: list[float] = []
    # While its shares are somebody else's, its lease stands still.
    if s.lease_until is not None and s.shares:
        times.append(s.lease_until)
        times += [s.lease_until - w for w in policy.warn_s if will_warn(s, w)]
    if s.empty_since is not None and lingers(s):
        times.append(s.empty_since + policy.linger_s)
    if s.lost_since is not None:
        times.append(s.lost_since + policy.lost_grace_s)
    if s.pause is not None:
        if s.pause.phase in (PausePhase.SAVING, PausePhase.RESTORING):
            times.append((s.pause.sent_at or 0.0) + policy.move_retry_s)
        elif not s.shares:
            times.append(s.pause.since + policy.keep_paused_s)
        if s.pause.again_at is not None:
            times.append(s.pause.again_at)
        if not is_kept(s):
            return times
    if s.idle_ends_at is not None:
        times.append(s.idle_ends_at)
    elif s.idle_since is not None and s.started_at is not None:
        times += [t for t in (may_pause_at(policy, s), may_release_at(policy, s)) if t is not None and t > now]
    return times


def is_idle(s: Session) -> bool:
    """Whether it is known that nobody computes on it: a command, or a cluster, works as long as it runs."""
    return s.idle_since is not None and s.request.kind is SessionKind.KERNEL


def is_kept(s: Session) -> bool:
    """Whether it is paused and has kept what it holds: nobody computes there, and somebody may wait for it."""
    return s.state is SessionState.PAUSED and s.pause is not None and s.pause.kept and s.pause.phase is PausePhase.SAVED


def computes(s: Session) -> bool:
    """Whether a cell, or a command, runs on what it holds now."""
    return s.busy or (s.state is SessionState.ACTIVE and s.request.kind is not SessionKind.KERNEL)


def may_pause_at(policy: Policy, s: Session) -> float | None:
    """From when on an idle session is paused for somebody who waits, or None while it can't be."""
    rule = policy.reclaim_of(s.pool or "")
    if not is_idle(s) or len(s.shares) > 1 or not set(s.pause_methods) & set(rule.methods):
        return None
    group = policy.group(s.group)
    idle_s = rule.idle_pause_s if group is None or group.idle_pause_s is None else group.idle_pause_s
    return max((s.idle_since or 0.0) + idle_s, (s.held_from or 0.0) + rule.residency_s, s.pause_again_at or 0.0)


def may_release_at(policy: Policy, s: Session) -> float | None:
    """From when on the owner of an idle session is warned that it goes to somebody who waits."""
    if not is_idle(s):
        return None
    rule, group = policy.reclaim_of(s.pool or ""), policy.group(s.group)
    idle_s = rule.idle_release_s if group is None or group.idle_release_s is None else group.idle_release_s
    return max((s.idle_since or 0.0) + idle_s, (s.held_from or 0.0) + rule.residency_s)


def gives_way_at(policy: Policy, s: Session) -> float | None:
    """From when on an idle session is asked to give way: by a pause where it can be paused, else by a warning.

    One that could not be put aside when that was tried is warned like those that never can be, being idle for so long.
    """
    pause_at, release_at = may_pause_at(policy, s), may_release_at(policy, s)
    if pause_at is None or release_at is None:
        return release_at
    return pause_at if s.pause_again_at is None else min(pause_at, release_at)


def lingers(s: Session) -> bool:
    """Whether a session is waiting for a kernel: a command's or a cluster's never is."""
    return s.request.kind is SessionKind.KERNEL and not s.kernel_ids


def at_longest(s: Session) -> bool:
    """Whether its lease can't be extended any more."""
    return s.lease_until is not None and s.lease_until >= (s.lease_max_until or 0.0) - 1.0


def will_warn(s: Session, warning_s: float) -> bool:
    if s.lease_until is None or s.started_at is None:
        return False
    if s.warned_s is not None and s.warned_s <= warning_s:
        return False
    # A lease not much longer than the warning would be warned about as it starts.
    return s.lease_until - s.started_at > 1.5 * warning_s
