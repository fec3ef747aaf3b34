"""One session's life: ``queued → ready → active ⇄ paused → ending → ended``.

Every function takes the state, changes it through ``put_session`` and returns the commands that follow. Shares leave a
session at one place only, `let_go`, and only when nothing can be running on them any more.
"""

from __future__ import annotations

from ..domain.devices import Share
from ..domain.records import DemandRecord, UsageRecord
from ..domain.rows import replace
from ..domain.sessions import EndReason, Reason, Session, SessionKind, SessionState
from .commands import AttachKernel, Command, Level, Notify, RecordDemand, RecordUsage, StartWork, StopWork
from .estimate import remember_wait
from .fairness import settle
from .queue import Grant
from .reservations import first_end
from .state import BrokerState
from .words import span

__all__ = [
    "begin_end",
    "capped",
    "cause_of_end",
    "claim",
    "cut_off",
    "finish",
    "grant",
    "let_go",
    "settle_advice",
    "started",
    "take",
    "uncut",
]

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


def take(session: Session, shares: tuple[Share, ...], now: float) -> Session:
    """The session with shares that it holds from now on."""
    return replace(session, shares=shares, held_from=now)


def let_go(state: BrokerState, session: Session, now: float) -> Session:
    """The session without its shares, and without trouble with them; what it has held is written down."""
    if session.held_from is None:
        return replace(session, shares=(), lost_since=None)
    settle(state, session, now)
    held_s = session.held_s
    if session.claimed_at is not None:
        held_s += max(0.0, now - max(session.held_from, session.claimed_at)) * len(session.shares)
    return replace(session, shares=(), held_from=None, held_s=held_s, lost_since=None)


def capped(state: BrokerState, session: Session, now: float) -> Session:
    """The session with its lease cut where a reservation needs its shares, and whole again where none does any more."""
    if session.lease_until is None:
        return session
    whole = uncut(session) if session.lease_cause == "reservation" else session
    end = first_end(state, session, now)
    if end is None or whole.lease_until is None:
        return whole
    end = max(end, now)
    limit = min(end, whole.lease_max_until or end)
    if whole.lease_until <= end and whole.lease_max_until == limit:
        return whole
    cause = "reservation" if whole.lease_until > end or whole.lease_cause is None else whole.lease_cause
    cut = replace(cut_off(whole, limit, cause), lease_until=min(whole.lease_until, end))
    return session if cut == replace(session, warned_s=cut.warned_s) else cut


def cut_off(session: Session, end: float, cause: str) -> Session:
    """The session with a lease that ends then, whatever its owner does; what it was is kept."""
    until = session.lease_until if session.lease_until is not None else end
    before = session.lease_before or (until, session.lease_max_until or until)
    return replace(session, lease_until=end, lease_max_until=end, lease_cause=cause, lease_before=before)


def uncut(session: Session) -> Session:
    """The session with its lease as it was before something else needed its shares; what was extended since stays."""
    if session.lease_before is None or session.lease_until is None:
        return session
    until, limit = session.lease_before
    longer = replace(session, lease_until=max(until, session.lease_until), lease_max_until=limit)
    return replace(longer, lease_cause=None, lease_before=None, warned_s=None)


def cause_of_end(session: Session) -> str | None:
    """What beside its owner's wish ends the lease when it ends: ``reservation``, ``quota``, or None."""
    at_limit = (session.lease_until or 0.0) >= (session.lease_max_until or 0.0) - 1.0
    return session.lease_cause if at_limit else None


def grant(state: BrokerState, given: Grant, now: float) -> list[Command]:
    """A session's turn has come: its shares are held from here on."""
    remember_wait(state, given.session, now)
    session = take(
        replace(
            given.session,
            state=SessionState.READY,
            pool=given.candidate.pool,
            flavor=given.candidate.flavor.name,
            ready_at=now,
            claim_by=now + state.policy.claim_window_s,
            reason=None,
        ),
        given.shares,
        now,
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
            f"{title} is ready for you. It is held for {span(state.policy.claim_window_s)}.",
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
    active = capped(state, active, now)
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
    shares = session.shares
    session = let_go(state, settle_advice(settle_pause(session, now), now), now)
    if session.claimed_at is not None:
        out.append(RecordUsage(_usage(state, session, shares, why, now)))
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
            kernel_ids=(),
            idle_ends_at=None,
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


def settle_advice(session: Session, now: float) -> Session:
    """Nothing would be taken from it any more: how long it could have been is added up."""
    if session.advised_from is None:
        return session
    return replace(
        session, advised_from=None, recoverable_s=session.recoverable_s + max(0.0, now - session.advised_from)
    )


def settle_pause(session: Session, now: float) -> Session:
    """Its pause is over: how long it was is added up."""
    if session.pause is None:
        return session
    return replace(session, pause=None, paused_s=session.paused_s + max(0.0, now - session.pause.since))


def busy_seconds(session: Session, now: float) -> float:
    """How long cells have run in a session so far, in seconds."""
    running = now - session.busy_from if session.busy_from is not None else 0.0
    return session.busy_s + max(0.0, running)


def _usage(state: BrokerState, session: Session, shares: tuple[Share, ...], why: EndReason, now: float) -> UsageRecord:
    claimed_at = session.claimed_at if session.claimed_at is not None else now
    inventory = state.pools.get(session.pool or "")
    return UsageRecord(
        session_id=session.id,
        user=session.user,
        project=session.request.project,
        kind=session.request.kind.value,
        pool=session.pool or "",
        flavor=session.flavor or "",
        count=len(shares) or session.request.count,
        memory_bytes=sum(s.memory_bytes for s in shares) or session.request.memory_bytes or 0,
        created_at=session.created_at,
        started_at=session.started_at if session.started_at is not None else claimed_at,
        ended_at=now,
        held_s=session.held_s,
        # of a command nobody counts how long it computed
        busy_s=busy_seconds(session, now) if session.request.kind is SessionKind.KERNEL else None,
        end_reason=why.value,
        simulated=bool(inventory and inventory.simulated),
        pauses=session.pauses,
        paused_s=session.paused_s,
        recoverable_s=session.recoverable_s,
        end_code=session.reason.code if session.reason is not None else "",
    )
