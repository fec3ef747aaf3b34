"""`Broker.handle(event, now) -> list[Command]`: the one place where GPUs are given and taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..domain.records import DemandRecord
from ..domain.rows import replace
from ..domain.sessions import EndReason, Session, SessionState
from ..errors import Conflict, NotFound
from . import events as ev
from . import heard, pausing, pools
from .admission import refusal, taken_kernel
from .commands import Accept, Command, RecordDemand
from .deadline import HOLDING
from .due import RECONSIDER_S, deadlines, due
from .estimate import foresee
from .lifecycle import begin_end, capped, claim, demand, grant, settle_advice, stop
from .queue import Round, undoable_in_the_way
from .reasons import waiting_reason
from .reclaim import make_room, memory_short
from .reservations import edge_between
from .state import BrokerState, Look

__all__ = ["Broker"]


class Broker:
    """A deterministic state machine without I/O, threads or clock.

    Parameters
    ----------
    state : BrokerState, optional
        Where to go on from; a new one by default.

    Notes
    -----
    The same events at the same times give the same commands and the same state, in any process. An event that
    cannot be obeyed raises an error of `swangpu.errors` and changes nothing; a report that comes twice, late or
    out of order changes nothing and raises nothing.
    """

    def __init__(self, state: BrokerState | None = None) -> None:
        self.state = state if state is not None else BrokerState()
        self._handlers: dict[type[ev.Event], Callable[[Any, float], list[Command]]] = {
            ev.Configured: self._configured,
            ev.InventoryReported: lambda event, now: pools.reported(self.state, event.inventory, now),
            ev.Looked: self._looked,
            ev.Requested: self._requested,
            ev.Claimed: self._claimed,
            ev.Extended: self._extended,
            ev.Released: self._released,
            ev.Undone: self._undone,
            ev.Paused: self._paused,
            ev.Resumed: self._resumed,
            ev.PauseSaved: self._about(pausing.saved),
            ev.PauseFailed: self._about(pausing.failed),
            ev.ResumeDone: self._about(pausing.resumed),
            ev.ResumeFailed: self._about(pausing.resumed_not),
            ev.WorkCheckpointed: self._about(heard.work_checkpointed),
            ev.WorkStarted: self._about(heard.work_started),
            ev.WorkFailed: self._about(heard.work_failed),
            ev.WorkVanished: self._about(heard.work_vanished),
            ev.WorkStopped: self._about(heard.work_stopped),
            ev.KernelAttached: self._about(heard.kernel_attached),
            ev.KernelGone: self._about(heard.kernel_gone),
            ev.AttachFailed: self._about(heard.attach_failed),
            ev.ActivityReported: self._about(heard.activity),
            ev.MemoryShort: lambda event, now: memory_short(self.state, event.uuid, now),
            ev.Ticked: lambda event, now: [],
            ev.Recovered: self._recovered,
        }

    def handle(self, event: ev.Event, now: float) -> list[Command]:
        """Decide.

        Parameters
        ----------
        event : Event
        now : float
            Unix seconds. A clock that goes back is held at the latest time seen.

        Raises
        ------
        NotFound, Conflict
            The event cannot be obeyed; the state is as before.
        """
        now = max(now, self.state.now)
        out = self._handlers[type(event)](event, now)
        self.state.now = now
        out += due(self.state, now)
        out += self._schedule(now)
        return out

    def next_deadline(self) -> float | None:
        """When `Ticked` is worth handling next (Unix seconds)."""
        return deadlines(self.state)

    def session(self, session_id: str) -> Session:
        """The session of this id.

        Raises
        ------
        NotFound
        """
        found = self.state.sessions.get(session_id)
        if found is None:
            raise NotFound("There is no such session.", hint="It may have ended some time ago.", code="no_such_session")
        return found

    # -- scheduling -------------------------------------------------------------------------------

    def _schedule(self, now: float) -> list[Command]:
        """Serve who can be served, and have idle sessions give way to who can't.

        Only when something has changed that may matter, or after a while: the order of the queue changes with time.
        """
        out: list[Command] = []
        index = self.state.index
        while index.dirty or (index.waiting and self._time_to_reconsider(now)):
            index.dirty, index.freed, index.considered_at = False, False, now
            turn = Round(self.state, now)
            for session in turn.order() if index.waiting else ():
                given = turn.serve(session)
                if given is not None:
                    out += (
                        grant(self.state, given, now)
                        if session.pause is None
                        else pausing.regrant(self.state, given, now)
                    )
            if index.coming:
                for session in undoable_in_the_way(self.state, now):
                    out += stop(self.state, session, now)
            out += make_room(self.state, turn.unserved, now)
            # What was granted made the queue shorter, nothing else: only what came free is worth another look.
            index.dirty = index.freed and bool(turn.unserved)
        return out

    def _time_to_reconsider(self, now: float) -> bool:
        since = self.state.index.considered_at
        return now >= since + RECONSIDER_S or edge_between(self.state, since, now)

    # -- requests ---------------------------------------------------------------------------------

    def _configured(self, event: ev.Configured, now: float) -> list[Command]:
        self.state.set_policy(event.policy)
        for session in list(self.state.live()):
            if session.state in HOLDING and session.shares:
                cut = capped(self.state, session, now)
                if cut is not session:
                    self.state.put_session(cut)
        return []

    def _looked(self, event: ev.Looked, now: float) -> list[Command]:
        if event.memory_bytes is not None:
            before = self.state.looks.get(event.user)
            largest = max(event.memory_bytes, before.memory_bytes if before else 0)
            self.state.put("looks", event.user, Look(now, largest))
        record = DemandRecord(
            at=now,
            user=event.user,
            outcome="looked",
            kind=event.kind,
            flavor=event.flavor,
            memory_bytes=event.memory_bytes,
            count=event.count,
            duration_s=event.duration_s,
        )
        return [RecordDemand(record)]

    def _requested(self, event: ev.Requested, now: float) -> list[Command]:
        state, request = self.state, event.request
        key = f"{event.user}\x00{event.idempotency_key}" if event.idempotency_key is not None else None
        if key is not None and key in state.keys:
            known = state.sessions.get(state.keys[key][0])
            if known is None or known.request != request:
                raise Conflict(
                    "This Idempotency-Key was used for another request.",
                    hint="Use a new key for a new request.",
                    code="idempotency_key_reused",
                )
            return [Accept(state.keys[key][0])]
        holder = taken_kernel(state, request)
        if holder is not None:
            raise Conflict(
                "This kernel is on a GPU already, or waits for one.",
                hint="Release that session first.",
                code="kernel_attached",
                session_id=holder,
            )
        session = Session(
            id=event.session_id,
            user=event.user,
            request=request,
            state=SessionState.QUEUED,
            created_at=now,
            number=state.next_number,
            idempotency_key=event.idempotency_key,
            group=event.group if event.group is not None else state.policy.group_of(event.user),
        )
        rejected = refusal(state, event.user, session.group, request)
        if rejected is not None:
            return [demand(state, session, "refused", now, rejected.code), rejected]
        state.next_number += 1
        state.put_session(session)
        state.put_session(replace(session, foreseen_s=foresee(state, session, now)))
        if key is not None:
            state.put("keys", key, (session.id, now))
        out: list[Command] = [Accept(session.id)]
        look = state.looks.get(event.user)
        if look is not None and request.memory_bytes is not None and request.memory_bytes < look.memory_bytes:
            out.append(demand(state, session, "settled", now))
        return out

    def _claimed(self, event: ev.Claimed, now: float) -> list[Command]:
        session = self.session(event.session_id)
        if session.claimed_at is not None and session.state in (SessionState.READY, *HOLDING):
            return []
        if session.state is not SessionState.READY:
            raise self._not_now(session, "started", code="cannot_be_claimed")
        return claim(self.state, session, now)

    def _extended(self, event: ev.Extended, now: float) -> list[Command]:
        session = self.session(event.session_id)
        if session.state not in HOLDING or session.lease_until is None:
            raise self._not_now(session, "extended")
        limit = session.lease_max_until or session.lease_until
        # while a pause has given its shares away, its lease stands still
        wanted = (max(session.lease_until, now) if session.shares else session.lease_until) + event.duration_s
        if wanted > limit + 1.0 and session.lease_until >= limit - 1.0 and session.lease_cause is not None:
            raise Conflict(
                "What it is on is set aside from then on."
                if session.lease_cause == "reservation"
                else "It was lent to your group and is wanted back.",
                hint="Save your work; ask for another one.",
                code="cannot_be_extended",
                lease_max_until=limit,
            )
        if wanted > limit + 1.0 and session.lease_until >= limit - 1.0:
            raise Conflict(
                "This session is at the longest lease allowed here.",
                hint="Save your work; ask again when it has ended.",
                code="lease_at_maximum",
                lease_max_until=limit,
            )
        longer = replace(session, lease_until=min(wanted, limit), warned_s=None)
        if session.idle_since is not None:
            # who extends is there: idleness begins anew
            longer = replace(settle_advice(longer, now), idle_since=now, idle_ends_at=None)
        self.state.put_session(longer)
        return []

    def _released(self, event: ev.Released, now: float) -> list[Command]:
        session = self.session(event.session_id)
        if session.state in (SessionState.ENDING, SessionState.ENDED):
            return []
        # A claim that is on its way to the backend cannot be taken back half-way.
        undo = event.undoable and not (session.state is SessionState.READY and session.claimed_at is not None)
        return begin_end(self.state, session, EndReason.RELEASED, now, undo=undo)

    def _undone(self, event: ev.Undone, now: float) -> list[Command]:
        session = self.session(event.session_id)
        if session.state is not SessionState.ENDING or session.undo_until is None or session.undo_until <= now:
            raise Conflict(
                "It is too late to undo this.", hint="Get a new session; your place is gone.", code="too_late_to_undo"
            )
        back = session.undo_state or SessionState.QUEUED
        restored = replace(session, state=back, end_reason=None, reason=None, undo_until=None, undo_state=None)
        self.state.put_session(restored)
        return []

    def _paused(self, event: ev.Paused, now: float) -> list[Command]:
        session = self.session(event.session_id)
        if session.state is SessionState.PAUSED:
            return []
        if session.state is not SessionState.ACTIVE:
            raise self._not_now(session, "paused")
        return pausing.begin(self.state, session, "owner", now)

    def _resumed(self, event: ev.Resumed, now: float) -> list[Command]:
        session = self.session(event.session_id)
        if session.state is SessionState.ACTIVE:
            return []
        if session.state is not SessionState.PAUSED:
            raise self._not_now(session, "resumed")
        return pausing.want(self.state, session, now)

    # -- reports ----------------------------------------------------------------------------------

    def _recovered(self, event: ev.Recovered, now: float) -> list[Command]:
        """Say again everything that may not have been carried out."""
        for session in list(self.state.live()):
            pause = session.pause
            moving = pause is not None and pause.sent_at is not None
            if session.start_sent_at is not None or session.stop_sent_at is not None or moving:
                again = replace(
                    session,
                    start_sent_at=0.0 if session.start_sent_at is not None else None,
                    stop_sent_at=0.0 if session.stop_sent_at is not None else None,
                    pause=replace(pause, sent_at=0.0) if pause is not None and moving else pause,
                )
                self.state.put_session(again)
        return []

    def _about(
        self, act: Callable[[BrokerState, Session, Any, float], list[Command]]
    ) -> Callable[[Any, float], list[Command]]:
        """A report about a session, which may be gone by now."""

        def handle(event: Any, now: float) -> list[Command]:
            session = self.state.sessions.get(event.session_id)
            return act(self.state, session, event, now) if session is not None else []

        return handle

    # -- small things -----------------------------------------------------------------------------

    def _not_now(self, session: Session, verb: str, code: str | None = None) -> Conflict:
        text = f"This session is {session.state.value}, so it can't be {verb}."
        hint = waiting_reason(self.state, session).text if session.state is SessionState.QUEUED else ""
        return Conflict(text, hint=hint, code=code or f"cannot_be_{verb}", state=session.state.value)
