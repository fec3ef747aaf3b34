"""`Broker.handle(event, now) -> list[Command]`: the one place where GPUs are given and taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..domain.devices import PoolInventory
from ..domain.records import DemandRecord
from ..domain.sessions import EndReason, Reason, Session, SessionState
from ..errors import Conflict, NotFound
from . import events as ev
from .admission import refusal, taken_kernel
from .commands import Accept, CloseGate, Command, OpenGate, RecordDemand
from .lifecycle import begin_end, busy_seconds, claim, demand, finish, grant, notify, started, stop, title_of
from .queue import next_grant, undoable_in_the_way, waiting_reason
from .reclaim import HOLDING, deadlines, due
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
            ev.InventoryReported: self._inventory,
            ev.Looked: self._looked,
            ev.Requested: self._requested,
            ev.Claimed: self._claimed,
            ev.Extended: self._extended,
            ev.Released: self._released,
            ev.Undone: self._undone,
            ev.Paused: self._paused,
            ev.Resumed: self._resumed,
            ev.WorkCheckpointed: self._checkpointed,
            ev.WorkStarted: self._work_started,
            ev.WorkFailed: self._work_failed,
            ev.WorkVanished: self._work_vanished,
            ev.WorkStopped: self._work_stopped,
            ev.KernelAttached: self._kernel_attached,
            ev.KernelGone: self._kernel_gone,
            ev.AttachFailed: self._attach_failed,
            ev.ActivityReported: self._activity,
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
        out: list[Command] = []
        if all(s.state is not SessionState.QUEUED for s in self.state.sessions.values()):
            return out
        while (given := next_grant(self.state)) is not None:
            out += grant(self.state, given, now)
        for session in undoable_in_the_way(self.state):
            out += stop(self.state, session, now)
            if self.state.sessions[session.id].state is SessionState.ENDED:
                return out + self._schedule(now)
        return out

    # -- requests ---------------------------------------------------------------------------------

    def _configured(self, event: ev.Configured, now: float) -> list[Command]:
        self.state.policy = event.policy
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
        )
        rejected = refusal(state, event.user, request)
        if rejected is not None:
            return [demand(state, session, "refused", now, rejected.code), rejected]
        state.next_number += 1
        state.put_session(session)
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
            raise self._not_now(session, "claimed")
        return claim(self.state, session, now)

    def _extended(self, event: ev.Extended, now: float) -> list[Command]:
        session = self.session(event.session_id)
        if session.state not in HOLDING or session.lease_until is None:
            raise self._not_now(session, "extended")
        limit = session.lease_max_until or session.lease_until
        wanted = max(session.lease_until, now) + event.duration_s
        if wanted > limit + 1.0 and session.lease_until >= limit - 1.0:
            raise Conflict(
                "This session is at the longest lease allowed here.",
                hint="Save your work; ask again when it has ended.",
                code="lease_at_maximum",
                lease_max_until=limit,
            )
        self.state.put_session(replace(session, lease_until=min(wanted, limit), warned_s=None))
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
        self.state.put_session(replace(session, state=SessionState.PAUSED))
        return [CloseGate(session.id)]

    def _resumed(self, event: ev.Resumed, now: float) -> list[Command]:
        session = self.session(event.session_id)
        if session.state is SessionState.ACTIVE:
            return []
        if session.state is not SessionState.PAUSED:
            raise self._not_now(session, "resumed")
        self.state.put_session(replace(session, state=SessionState.ACTIVE))
        return [OpenGate(session.id)]

    # -- reports of backends, kernels and agents: late, doubled and reordered ones are ignored --------------------

    def _checkpointed(self, event: ev.WorkCheckpointed, now: float) -> list[Command]:
        session = self.state.sessions.get(event.session_id)
        if session is not None and session.state is not SessionState.ENDED:
            self.state.put_session(replace(session, checkpoint=event.checkpoint))
        return []

    def _work_started(self, event: ev.WorkStarted, now: float) -> list[Command]:
        session = self.state.sessions.get(event.session_id)
        if session is None or session.state is not SessionState.READY or session.claimed_at is None:
            return []
        return started(self.state, session, now)

    def _work_failed(self, event: ev.WorkFailed, now: float) -> list[Command]:
        session = self.state.sessions.get(event.session_id)
        if session is None or session.claimed_at is None or session.state in (SessionState.ENDING, SessionState.ENDED):
            return []
        reason = Reason(event.code, event.text)
        told = notify(session, "start_failed", "error", event.text, title=title_of(self.state, session))
        return [*begin_end(self.state, session, EndReason.FAILED, now, reason=reason), told]

    def _work_vanished(self, event: ev.WorkVanished, now: float) -> list[Command]:
        session = self.state.sessions.get(event.session_id)
        if session is None or session.state not in HOLDING:
            return []
        reason = Reason("work_vanished", event.text)
        told = notify(session, "work_vanished", "warning", event.text, title=title_of(self.state, session))
        return [*begin_end(self.state, session, EndReason.LOST, now, reason=reason), told]

    def _work_stopped(self, event: ev.WorkStopped, now: float) -> list[Command]:
        session = self.state.sessions.get(event.session_id)
        if session is None or session.state is not SessionState.ENDING or session.undo_until is not None:
            return []
        return finish(self.state, session, now)

    def _kernel_attached(self, event: ev.KernelAttached, now: float) -> list[Command]:
        session = self.state.sessions.get(event.session_id)
        if session is None or session.state not in HOLDING or event.kernel_id in session.kernel_ids:
            return []
        self.state.put_session(
            replace(session, kernel_ids=(*session.kernel_ids, event.kernel_id), empty_since=None, reason=None)
        )
        return []

    def _kernel_gone(self, event: ev.KernelGone, now: float) -> list[Command]:
        session = self.state.sessions.get(event.session_id)
        if session is None or event.kernel_id not in session.kernel_ids or session.state is SessionState.ENDED:
            return []
        rest = tuple(k for k in session.kernel_ids if k != event.kernel_id)
        gone = self._with_activity(replace(session, kernel_ids=rest), session.busy and bool(rest), now)
        self.state.put_session(replace(gone, empty_since=None if rest else now))
        return []

    def _attach_failed(self, event: ev.AttachFailed, now: float) -> list[Command]:
        session = self.state.sessions.get(event.session_id)
        if session is None or session.state not in HOLDING:
            return []
        empty_since = session.empty_since if session.kernel_ids else now
        self.state.put_session(replace(session, reason=Reason(event.code, event.text), empty_since=empty_since))
        return [notify(session, "attach_failed", "error", event.text, "attach", "release")]

    def _activity(self, event: ev.ActivityReported, now: float) -> list[Command]:
        session = self.state.sessions.get(event.session_id)
        if session is None or session.state not in HOLDING or session.busy == event.busy:
            return []
        self.state.put_session(self._with_activity(session, event.busy, now))
        return []

    def _recovered(self, event: ev.Recovered, now: float) -> list[Command]:
        """Say again everything that may not have been carried out."""
        for session in list(self.state.live()):
            if session.start_sent_at is not None or session.stop_sent_at is not None:
                again = replace(
                    session,
                    start_sent_at=0.0 if session.start_sent_at is not None else None,
                    stop_sent_at=0.0 if session.stop_sent_at is not None else None,
                )
                self.state.put_session(again)
        return []

    def _inventory(self, event: ev.InventoryReported, now: float) -> list[Command]:
        new = event.inventory
        before = self.state.pools.get(new.pool)
        if before is not None and before.as_of > new.as_of:
            return []
        if not new.available and before is not None and not new.shares:
            # What a pool that does not answer has is what it had: its sessions still hold it.
            new = replace(new, shares=before.shares, flavors=before.flavors, lost=tuple(s.id for s in before.shares))
        self.state.put("pools", new.pool, new)
        return self._devices_lost_or_back(new, now)

    def _devices_lost_or_back(self, inventory: PoolInventory, now: float) -> list[Command]:
        out: list[Command] = []
        there = {s.id for s in inventory.shares} - set(inventory.lost)
        for session in list(self.state.live()):
            if session.pool != inventory.pool or not session.shares:
                continue
            missing = any(share.id not in there for share in session.shares)
            title = title_of(self.state, session)
            if missing and session.lost_since is None:
                self.state.put_session(replace(session, lost_since=now))
                text = f"{title} does not answer. Your session waits {self.state.policy.lost_grace_s:.0f} s for it."
                out.append(notify(session, "device_away", "warning", text, title=title))
            elif not missing and session.lost_since is not None:
                self.state.put_session(replace(session, lost_since=None))
                out.append(notify(session, "device_back", "success", f"{title} answers again.", title=title))
        return out

    # -- small things -----------------------------------------------------------------------------

    def _with_activity(self, session: Session, busy: bool, now: float) -> Session:
        if busy == session.busy:
            return session
        if busy:
            return replace(session, busy=True, busy_from=now, idle_since=None)
        return replace(session, busy=False, busy_s=busy_seconds(session, now), busy_from=None, idle_since=now)

    def _not_now(self, session: Session, verb: str) -> Conflict:
        text = f"This session is {session.state.value}, so it can't be {verb}."
        hint = waiting_reason(self.state, session).text if session.state is SessionState.QUEUED else ""
        return Conflict(text, hint=hint, code=f"cannot_be_{verb}", state=session.state.value)
