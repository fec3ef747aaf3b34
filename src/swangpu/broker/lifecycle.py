"""One session's life: ``queued → ready → active ⇄ paused → ending → ended``.

Every function takes the state, changes it through ``put_session`` and returns the commands that follow. Shares
leave a session at one place only, `finish`, and only when nothing can be running on them any more.
"""

from __future__ import annotations

from dataclasses import replace

from ..domain.records import DemandRecord, UsageRecord
from ..domain.sessions import EndReason, Reason, Session, SessionState
from .commands import AttachKernel, Command, Level, Notify, RecordDemand, RecordUsage, StartWork, StopWork
from .queue import Grant
from .state import BrokerState

__all__ = ["begin_end", "claim", "finish", "grant", "started"]

#: how many ended sessions the estimates remember
HISTORY = 200


def title_of(state: BrokerState, session: Session) -> str:
    """The plain words for what a session has or wants."""
    for inventory in state.pools.values():
        if session.pool not in (None, inventory.pool):
            continue
        for flavor in inventory.flavors:
            if flavor.name == (session.flavor or session.request.flavor):
                return flavor.title
    return session.flavor or session.request.flavor or "GPU"


def demand(state: BrokerState, session: Session, outcome: str, now: float, code: str | None = None) -> RecordDemand:
    """The record of what became of a request."""
    request = session.request
    return RecordDemand(
        DemandRecord(
            at=now,
            user=session.user,
            outcome=outcome,
            kind=request.kind.value,
            pool=session.pool,
            flavor=session.flavor or request.flavor,
            memory_bytes=request.memory_bytes,
            count=request.count,
            duration_s=request.duration_s,
            waited_s=(session.ready_at or now) - session.created_at,
            project=request.project,
            session_id=session.id,
            reason_code=code,
        )
    )


def notify(session: Session, code: str, level: Level, text: str, *actions: str, **params: float | str) -> Notify:
    return Notify(session.user, session.id, code, level, text, tuple(sorted(params.items())), actions)


def grant(state: BrokerState, given: Grant, now: float) -> list[Command]:
    """A session's turn has come: its shares are held from here on."""
    session = replace(
        given.session,
        state=SessionState.READY,
        pool=given.candidate.pool,
        flavor=given.candidate.flavor.name,
        shares=given.shares,
        ready_at=now,
        claim_by=now + state.policy.claim_window_s,
        reason=None,
    )
    state.put_session(session)
    request = session.request
    attaches = request.attach_kernel_id is not None or request.attach_path is not None
    if attaches and request.on_ready == "hold":
        return claim(state, session, now)
    if now <= session.created_at:
        return []
    title = given.candidate.flavor.title
    return [
        notify(
            session,
            "ready",
            "success",
            f"{title} is ready for you. It is held for {state.policy.claim_window_s / 60:.0f} min.",
            "claim",
            "release",
            title=title,
            claim_by=session.claim_by or now,
        )
    ]


def claim(state: BrokerState, session: Session, now: float) -> list[Command]:
    """The owner takes what is held for them."""
    state.put_session(replace(session, claimed_at=now, start_sent_at=now))
    return [StartWork(session.id)]


def started(state: BrokerState, session: Session, now: float) -> list[Command]:
    """The backend has started the work: the lease begins."""
    policy = state.policy
    duration_s = session.request.duration_s
    active = replace(
        session,
        state=SessionState.ACTIVE,
        started_at=now,
        lease_until=now + duration_s,
        lease_max_until=now + max(policy.max_lease_s, duration_s),
        idle_since=now,
        claim_by=None,
        start_sent_at=None,
        reason=None,
    )
    state.put_session(active)
    out: list[Command] = [demand(state, active, "granted", now)]
    if active.request.attach_kernel_id is not None or active.request.attach_path is not None:
        out.append(AttachKernel(active.id))
    return out


def begin_end(
    state: BrokerState,
    session: Session,
    why: EndReason,
    now: float,
    *,
    reason: Reason | None = None,
    undo: bool = False,
) -> list[Command]:
    """Start to end a session; its shares stay held until `finish`."""
    may_undo = undo and state.policy.undo_s > 0
    ending = replace(
        session,
        state=SessionState.ENDING,
        end_reason=why,
        reason=reason,
        undo_until=now + state.policy.undo_s if may_undo else None,
        undo_state=session.state if may_undo else None,
        stop_sent_at=None,
    )
    if may_undo:
        state.put_session(ending)
        return []
    return stop(state, ending, now)


def stop(state: BrokerState, session: Session, now: float) -> list[Command]:
    """Past the point of undo: tell the backend, or finish at once what never started."""
    final = replace(session, undo_until=None, undo_state=None)
    if final.claimed_at is None:
        return finish(state, final, now)
    state.put_session(replace(final, stop_sent_at=now))
    return [StopWork(final.id)]


def finish(state: BrokerState, session: Session, now: float) -> list[Command]:
    """Nothing of the session runs any more: let go of its shares and write down what it was."""
    why = session.end_reason or EndReason.RELEASED
    out: list[Command] = []
    if session.claimed_at is not None:
        out.append(RecordUsage(_usage(state, session, why, now)))
        if session.started_at is None:
            out.append(demand(state, session, "failed" if why is EndReason.FAILED else "given_up", now))
    elif why is EndReason.UNCLAIMED:
        out.append(demand(state, session, "unclaimed", now))
    else:
        out.append(demand(state, session, "failed" if why is EndReason.FAILED else "given_up", now))
    if session.started_at is not None and session.request.duration_s > 0:
        part = min(1.0, (now - session.started_at) / session.request.duration_s)
        state.held_fractions = (*state.held_fractions, part)[-HISTORY:]
    state.put_session(
        replace(
            session,
            state=SessionState.ENDED,
            shares=(),
            kernel_ids=(),
            ended_at=now,
            end_reason=why,
            busy=False,
            busy_s=busy_seconds(session, now),
            busy_from=None,
            idle_since=None,
            claim_by=None,
            undo_until=None,
            undo_state=None,
        )
    )
    return out


def busy_seconds(session: Session, now: float) -> float:
    """How long cells have run in a session so far, in seconds."""
    running = now - session.busy_from if session.busy_from is not None else 0.0
    return session.busy_s + max(0.0, running)


def _usage(state: BrokerState, session: Session, why: EndReason, now: float) -> UsageRecord:
    claimed_at = session.claimed_at if session.claimed_at is not None else now
    inventory = state.pools.get(session.pool or "")
    return UsageRecord(
        session_id=session.id,
        user=session.user,
        project=session.request.project,
        kind=session.request.kind.value,
        pool=session.pool or "",
        flavor=session.flavor or "",
        count=len(session.shares),
        memory_bytes=sum(s.memory_bytes for s in session.shares),
        created_at=session.created_at,
        started_at=session.started_at if session.started_at is not None else claimed_at,
        ended_at=now,
        held_s=max(0.0, now - claimed_at) * len(session.shares),
        busy_s=busy_seconds(session, now),
        end_reason=why.value,
        simulated=bool(inventory and inventory.simulated),
    )
