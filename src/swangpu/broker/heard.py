"""What backends, kernels and agents report of a session. Late, doubled and reordered reports change nothing."""

from __future__ import annotations

from ..domain.rows import replace
from ..domain.sessions import EndReason, Reason, Session, SessionState
from . import events as ev
from . import pausing
from .commands import Command
from .deadline import HOLDING
from .lifecycle import begin_end, busy_seconds, finish, notify, settle_advice, started, title_of
from .state import BrokerState

__all__ = [
    "activity",
    "attach_failed",
    "kernel_attached",
    "kernel_gone",
    "work_checkpointed",
    "work_failed",
    "work_started",
    "work_stopped",
    "work_vanished",
]


def work_checkpointed(state: BrokerState, session: Session, event: ev.WorkCheckpointed, now: float) -> list[Command]:
    if session.state is not SessionState.ENDED:
        state.put_session(replace(session, checkpoint=event.checkpoint))
    return []


def work_started(state: BrokerState, session: Session, event: ev.WorkStarted, now: float) -> list[Command]:
    if session.state is not SessionState.READY or session.claimed_at is None:
        return []
    return started(state, session, now)


def work_failed(state: BrokerState, session: Session, event: ev.WorkFailed, now: float) -> list[Command]:
    if session.claimed_at is None or session.state in (SessionState.ENDING, SessionState.ENDED):
        return []
    reason = Reason(event.code, event.text)
    told = notify(session, "start_failed", "error", event.text, title=title_of(state, session))
    return [*begin_end(state, session, EndReason.FAILED, now, reason=reason), told]


def work_vanished(state: BrokerState, session: Session, event: ev.WorkVanished, now: float) -> list[Command]:
    if session.state not in HOLDING:
        return []
    reason = Reason("work_vanished", event.text)
    told = notify(session, "work_vanished", "warning", event.text, title=title_of(state, session))
    return [*begin_end(state, session, EndReason.LOST, now, reason=reason), told]


def work_stopped(state: BrokerState, session: Session, event: ev.WorkStopped, now: float) -> list[Command]:
    if session.state is not SessionState.ENDING or session.undo_until is not None:
        return []
    return finish(state, session, now)


def kernel_attached(state: BrokerState, session: Session, event: ev.KernelAttached, now: float) -> list[Command]:
    if session.state not in HOLDING or event.kernel_id in session.kernel_ids:
        return []
    state.put_session(
        replace(
            session,
            kernel_ids=(*session.kernel_ids, event.kernel_id),
            # all of its kernels have to be able to do it
            pause_methods=tuple(m for m in event.pause_methods if not session.kernel_ids or m in session.pause_methods),
            empty_since=None,
            reason=None,
        )
    )
    return []


def kernel_gone(state: BrokerState, session: Session, event: ev.KernelGone, now: float) -> list[Command]:
    if event.kernel_id not in session.kernel_ids or session.state is SessionState.ENDED:
        return []
    rest = tuple(k for k in session.kernel_ids if k != event.kernel_id)
    gone = _with_activity(replace(session, kernel_ids=rest), session.busy and bool(rest), now)
    state.put_session(replace(gone, empty_since=None if rest else now))
    return []


def attach_failed(state: BrokerState, session: Session, event: ev.AttachFailed, now: float) -> list[Command]:
    if session.state not in HOLDING:
        return []
    empty_since = session.empty_since if session.kernel_ids else now
    state.put_session(replace(session, reason=Reason(event.code, event.text), empty_since=empty_since))
    return [notify(session, "attach_failed", "error", event.text, "attach", "release")]


def activity(state: BrokerState, session: Session, event: ev.ActivityReported, now: float) -> list[Command]:
    # until it is too late to undo its release, a kernel goes on as before
    undoable = session.undo_until is not None and session.undo_state is SessionState.ACTIVE
    if session.state not in HOLDING and not undoable:
        return []
    if session.pause is not None and not session.busy:
        # Behind a closed gate nothing begins to run: a kernel that is busy there has a cell that waits.
        turn = pausing.want if event.busy else pausing.want_no_more
        return turn(state, session, now)
    if session.busy != event.busy:
        state.put_session(_with_activity(session, event.busy, now))
    return []


def _with_activity(session: Session, busy: bool, now: float) -> Session:
    if busy == session.busy:
        return session
    if busy:
        working = replace(settle_advice(session, now), busy=True, busy_from=now, idle_since=None)
        # that it could not be paused says nothing any more
        told = working.reason is not None and working.reason.code == pausing.NO_ROOM
        return replace(working, idle_ends_at=None, reason=None if told else working.reason)
    return replace(session, busy=False, busy_s=busy_seconds(session, now), busy_from=None, idle_since=now)
