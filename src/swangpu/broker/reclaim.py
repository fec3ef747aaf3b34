"""What time alone brings about: warnings, expiry, unclaimed shares, lost devices, retries."""

from __future__ import annotations

from dataclasses import replace

from ..domain.sessions import EndReason, Reason, Session, SessionKind, SessionState
from .commands import Command, StartWork, StopWork
from .lifecycle import begin_end, finish, notify, stop, title_of
from .queue import candidates, queued
from .state import BrokerState

__all__ = ["deadlines", "due"]

HOLDING = (SessionState.ACTIVE, SessionState.PAUSED)


def due(state: BrokerState, now: float) -> list[Command]:
    """Carry out everything whose time has come."""
    out: list[Command] = []
    for session in list(state.sessions.values()):
        out += _session_due(state, session, now)
    policy = state.policy
    for key, (_, at) in list(state.keys.items()):
        if at + policy.keep_key_s <= now:
            state.drop("keys", key)
    for user, look in list(state.looks.items()):
        if look.at + policy.keep_look_s <= now:
            state.drop("looks", user)
    return out


def deadlines(state: BrokerState) -> float | None:
    """When something will be due next (Unix seconds), or None."""
    times: list[float] = []
    policy = state.policy
    for s in state.sessions.values():
        if s.state is SessionState.ENDED:
            times.append((s.ended_at or 0.0) + policy.keep_ended_s)
        elif s.state is SessionState.READY:
            if s.claimed_at is None:
                times.append(s.claim_by or 0.0)
            else:
                times.append((s.start_sent_at or 0.0) + policy.start_retry_s)
        elif s.state is SessionState.ENDING:
            times.append(s.undo_until if s.undo_until is not None else (s.stop_sent_at or 0.0) + policy.stop_retry_s)
        elif s.state in HOLDING and s.lease_until is not None:
            times.append(s.lease_until)
            times += [s.lease_until - w for w in policy.warn_s if _will_warn(s, w)]
            if s.empty_since is not None and _lingers(s):
                times.append(s.empty_since + policy.linger_s)
        if s.lost_since is not None and s.state in HOLDING:
            times.append(s.lost_since + policy.lost_grace_s)
    return min(times, default=None)


def somebody_waits_for(state: BrokerState, session: Session) -> bool:
    """Whether a queued session could use what this one holds."""
    return any(
        (session.pool, session.flavor) in {(c.pool, c.flavor.name) for c in candidates(state, other.request)}
        for other in queued(state)
    )


def _session_due(state: BrokerState, s: Session, now: float) -> list[Command]:
    policy = state.policy
    if s.state is SessionState.ENDED:
        if (s.ended_at or 0.0) + policy.keep_ended_s <= now:
            state.drop("sessions", s.id)
        return []
    if s.state is SessionState.READY:
        return _ready_due(state, s, now)
    if s.state is SessionState.ENDING:
        return _ending_due(state, s, now)
    if s.state in HOLDING:
        return _holding_due(state, s, now)
    return []


def _ready_due(state: BrokerState, s: Session, now: float) -> list[Command]:
    if s.claimed_at is not None:
        if (s.start_sent_at or 0.0) + state.policy.start_retry_s <= now:
            state.put_session(replace(s, start_sent_at=now))
            return [StartWork(s.id)]
        return []
    if s.claim_by is None or s.claim_by > now:
        return []
    text = "It was not claimed in time and went to the next in the queue."
    ended = replace(s, end_reason=EndReason.UNCLAIMED, reason=Reason("unclaimed", text))
    title = title_of(state, s)
    return [*finish(state, ended, now), notify(s, "unclaimed", "warning", f"{title}: {text}", title=title)]


def _ending_due(state: BrokerState, s: Session, now: float) -> list[Command]:
    if s.undo_until is not None:
        return stop(state, s, now) if s.undo_until <= now else []
    if (s.stop_sent_at or 0.0) + state.policy.stop_retry_s <= now:
        state.put_session(replace(s, stop_sent_at=now))
        return [StopWork(s.id)]
    return []


def _holding_due(state: BrokerState, s: Session, now: float) -> list[Command]:
    policy = state.policy
    title = title_of(state, s)
    if s.lost_since is not None and s.lost_since + policy.lost_grace_s <= now:
        reason = Reason("device_lost", "The device stopped answering and did not come back.")
        lost = notify(s, "device_lost", "error", f"{title}: {reason.text}", title=title)
        return [*begin_end(state, s, EndReason.LOST, now, reason=reason), lost]
    lingered = s.empty_since is not None and s.empty_since + policy.linger_s <= now
    if lingered and _lingers(s):
        reason = Reason("no_kernel", "Its kernel was shut down, so the GPU went back.")
        return begin_end(state, s, EndReason.RELEASED, now, reason=reason)
    if s.lease_until is None:
        return []
    if s.lease_until <= now:
        return _expire(state, s, now)
    warnings = [w for w in policy.warn_s if _will_warn(s, w) and s.lease_until - w <= now]
    if not warnings:
        return []
    state.put_session(replace(s, warned_s=min(warnings)))
    minutes = max(1, round((s.lease_until - now) / 60))
    return [
        notify(
            s,
            "lease_ends",
            "warning",
            f"{title} goes back in {minutes} min. Your notebook has been saved.",
            "extend",
            "release",
            title=title,
            minutes=minutes,
        )
    ]


def _expire(state: BrokerState, s: Session, now: float) -> list[Command]:
    policy = state.policy
    limit = s.lease_max_until or now
    # Only what really computes is carried on: a session whose cell runs, while nobody is kept waiting by it.
    if s.busy and now < limit and not somebody_waits_for(state, s):
        state.put_session(
            replace(s, lease_until=min(limit, now + policy.auto_extend_s), warned_s=min(policy.warn_s, default=0.0))
        )
        return []
    title = title_of(state, s)
    reason = Reason("lease_ended", "Its lease has ended.")
    told = notify(s, "lease_ended", "warning", f"{title}: the lease has ended and the GPU goes back.", title=title)
    return [*begin_end(state, s, EndReason.EXPIRED, now, reason=reason), told]


def _lingers(s: Session) -> bool:
    """Whether a session is waiting for a kernel: a command's or a cluster's never is."""
    return s.request.kind is SessionKind.KERNEL and not s.kernel_ids


def _will_warn(s: Session, warning_s: float) -> bool:
    if s.lease_until is None or s.started_at is None:
        return False
    if s.warned_s is not None and s.warned_s <= warning_s:
        return False
    # A lease not much longer than the warning would be warned about as it starts.
    return s.lease_until - s.started_at > 1.5 * warning_s
