"""What time alone brings about: warnings, expiry, unclaimed shares, lost devices, retries."""

from __future__ import annotations

from ..domain.rows import replace
from ..domain.sessions import EndReason, PausePhase, Reason, Session, SessionState
from . import pausing
from .commands import Command, StartWork, StopWork
from .deadline import HOLDING, at_longest, lingers, will_warn
from .lifecycle import begin_end, capped, cause_of_end, finish, notify, stop, title_of, uncut
from .queue import can_use
from .reclaim import idle_over, wanted_back
from .reservations import first_wanting, next_edge
from .state import BrokerState
from .words import span

__all__ = ["RECONSIDER_S", "deadlines", "due", "somebody_waits_for"]

#: while somebody waits, the order of the queue is looked at again after so many seconds
RECONSIDER_S = 60.0
#: how often keys, looks and accounts that have faded are forgotten, in seconds
SWEEP_S = 60.0
#: what was held so many half-lives ago is less than a ten-thousandth of what it was
FORGET_HALF_LIVES = 14.0


def due(state: BrokerState, now: float) -> list[Command]:
    """Carry out everything whose time has come."""
    out: list[Command] = []
    index = state.index
    for session_id in index.take_due(now):
        session = state.sessions.get(session_id)
        if session is not None:
            out += _session_due(state, session, now)
            index.reschedule(session_id)
            # an idle session may be wanted now
            index.dirty = True
    if now >= index.swept_at + SWEEP_S:
        index.swept_at = now
        _sweep(state, now)
    return out


def _sweep(state: BrokerState, now: float) -> None:
    """Forget what nobody will ask for again."""
    policy = state.policy
    for key, (_, at) in list(state.keys.items()):
        if at + policy.keep_key_s <= now:
            state.drop("keys", key)
    for user, look in list(state.looks.items()):
        if look.at + policy.keep_look_s <= now:
            state.drop("looks", user)
    for key, account in list(state.accounts.items()):
        if now - account.at > FORGET_HALF_LIVES * policy.half_life_s:
            state.drop("accounts", key)


def deadlines(state: BrokerState) -> float | None:
    """When something will be due next (Unix seconds), or None."""
    times = [t for t in (state.index.next_due(), next_edge(state, state.now)) if t is not None]
    if state.index.waiting:
        # who goes before whom changes with time alone
        times.append(state.index.considered_at + RECONSIDER_S)
    return min(times, default=None)


def somebody_waits_for(state: BrokerState, session: Session) -> bool:
    """Whether somebody in the queue could use what this one holds."""
    return any(can_use(state, state.sessions[i], session) for i in state.index.waiting)


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
    wanted = somebody_waits_for(state, s)
    text = f"It was not started in time and went {'to the next in the queue' if wanted else 'back'}."
    ended = replace(s, end_reason=EndReason.UNCLAIMED, reason=Reason("unclaimed", text, (("wanted", int(wanted)),)))
    title = title_of(state, s)
    told = notify(s, "unclaimed", "warning", f"{title}: {text}", title=title, wanted=int(wanted))
    return [*finish(state, ended, now), told]


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
    if lingered and lingers(s):
        reason = Reason("no_kernel", "Its kernel was shut down, so the GPU went back.")
        return begin_end(state, s, EndReason.RELEASED, now, reason=reason)
    if s.pause is not None:
        if s.pause.phase in (PausePhase.SAVING, PausePhase.RESTORING):
            if (s.pause.sent_at or 0.0) + policy.move_retry_s <= now:
                return pausing.retry(state, s, now)
        elif not s.shares and s.pause.since + policy.keep_paused_s <= now:
            reason = Reason("paused_too_long", "It was paused for as long as that is possible here.")
            return begin_end(state, s, EndReason.EXPIRED, now, reason=reason)
        if s.pause.again_at is not None and s.pause.again_at <= now:
            return pausing.want(state, s, now)
    if s.shares and s.lease_until is not None and s.lease_until <= now:
        # first: that an idle one may stay after all, since nobody waits, makes no lease longer
        return _expire(state, s, now)
    if s.idle_ends_at is not None and s.idle_ends_at <= now:
        return idle_over(state, s, somebody_waits_for(state, s), now)
    if s.lease_until is None or not s.shares:
        return []
    warnings = [w for w in policy.warn_s if will_warn(s, w) and s.lease_until - w <= now]
    if not warnings:
        return []
    state.put_session(replace(s, warned_s=min(warnings)))
    left_s = float(round(s.lease_until - now))
    event = _event(state, s, now)
    because = {
        "reservation": f": it is set aside for {event} from then on",
        "quota": ": it was lent, and is wanted back",
    }.get(cause_of_end(s) or "", "")
    # what would be refused is not offered
    longer = () if at_longest(s) else ("extend",)
    return [
        notify(
            s,
            "lease_ends",
            "warning",
            f"{title} goes back in {span(left_s)}{because}. Your notebook has been saved.",
            *longer,
            "release",
            title=title,
            left_s=left_s,
            cause=cause_of_end(s) or "lease",
            event=event,
        )
    ]


def _expire(state: BrokerState, s: Session, now: float) -> list[Command]:
    policy = state.policy
    if s.lease_cause == "quota" and not wanted_back(state, s):
        kept = capped(state, uncut(s), now)
        if kept.lease_until is not None and kept.lease_until > now:
            state.put_session(kept)
            return []
    limit = s.lease_max_until or now
    # Only what really computes is carried on: a session whose cell runs, while nobody is kept waiting by it.
    if s.busy and now < limit and not somebody_waits_for(state, s):
        state.put_session(
            replace(s, lease_until=min(limit, now + policy.auto_extend_s), warned_s=min(policy.warn_s, default=0.0))
        )
        return []
    title = title_of(state, s)
    reason, cause, event = Reason("lease_ended", "Its lease has ended."), cause_of_end(s) or "lease", ""
    if cause == "reservation":
        event = _event(state, s, now)
        reason = Reason("reserved", f"It is set aside for {event} from now on.", (("event", event),))
    elif cause == "quota":
        reason = Reason("called_back", "It was lent to your group and was wanted back.")
    told = notify(
        s, "lease_ended", "warning", f"{title} goes back. {reason.text}", title=title, cause=cause, event=event
    )
    return [*begin_end(state, s, EndReason.EXPIRED, now, reason=reason), told]


def _event(state: BrokerState, s: Session, now: float) -> str:
    """What the session's shares are set aside for next, in the operator's words."""
    wanted = first_wanting(state, s, now)
    return wanted.title if wanted is not None else "an event or for maintenance"
