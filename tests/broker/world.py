"""A world around the broker for property tests: a journal that can fail, a backend that can do anything.

The broker is believed in nothing: what really runs where is kept here, and the invariants compare the two.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from broker.fleet import GB, inventory
from broker.world_asks import DEVICE_BYTES, PAUSED_BYTES, USERS, policy
from swangpu.broker import commands as cmd
from swangpu.broker import events as ev
from swangpu.broker import exclusion, reservations
from swangpu.broker.broker import Broker
from swangpu.broker.policy import Reservation
from swangpu.broker.state import BrokerState, Changes
from swangpu.domain.devices import Share, ShareKind
from swangpu.domain.sessions import ComesBack, PausePhase, Request, Session, SessionState
from swangpu.errors import SwanGpuError
from swangpu.ledger.codec import decode, encode

#: bound once: a test that breaks the broker's own idea of a conflict must not break ours
_CONFLICT = exclusion.conflict


@dataclass
class World:
    """``running`` is what really runs: session id to shares. ``undelivered`` are reports on their way."""

    seed: int = 0
    now: float = 1000.0
    steps: int = 0
    broker: Broker = field(default_factory=Broker)
    durable: BrokerState = field(default_factory=BrokerState)
    snapshot: str = ""
    journal: list[str] = field(default_factory=list)
    running: dict[str, tuple[Share, ...]] = field(default_factory=dict)
    #: where those that are put aside can go on, and where they were
    bound: dict[str, tuple[ComesBack, tuple[Share, ...]]] = field(default_factory=dict)
    #: what is really in host memory
    aside: dict[str, int] = field(default_factory=dict)
    #: who has stayed on a device though it does not run: the share on which it is, and how much it has there
    resident: dict[str, tuple[Share, int]] = field(default_factory=dict)
    todo: list[cmd.Command] = field(default_factory=list)
    undelivered: list[ev.Event] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    granted_until: dict[str, float] = field(default_factory=dict)
    inventory_at: float = 0.0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.snapshot = encode(self.broker.state)
        self.send(ev.Configured(policy()))
        self.report_inventory()

    # -- events -----------------------------------------------------------------------------------

    def send(self, event: ev.Event, *, commit: bool = True) -> list[cmd.Command]:
        """Handle one event; a commit that fails leaves nothing behind."""
        self.steps += 1
        try:
            commands = self.broker.handle(event, self.now)
        except SwanGpuError:
            assert not self.broker.state.changed, "an event that was not obeyed has changed something"
            return []
        changes = self.broker.state.take_changes()
        if not commit:
            self.broker.state = self.durable.copy()
            return []
        self.journal.append(encode(changes))
        self.durable = self.broker.state.copy()
        self.todo += commands
        return commands

    def request(self, user: str, request: Request, *, key: str | None = None, commit: bool = True) -> str:
        session_id = f"s{len(self.ids)}"
        self.ids.append(session_id)
        self.send(ev.Requested(session_id, user, request, key), commit=commit)
        return session_id

    def report_inventory(self, **kwargs: object) -> None:
        self.inventory_at += 1.0
        self.send(ev.InventoryReported(inventory(self.inventory_at, **kwargs)))  # type: ignore[arg-type]

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.send(ev.Ticked())

    def reserve(self, flavor: str, in_s: float, for_s: float, count: int, users: tuple[str, ...]) -> None:
        """An event, or maintenance when it is for nobody."""
        start = self.now + in_s
        one = Reservation(f"r{self.steps}", "Tutorial", start, start + for_s, "local", flavor, count, users)
        kept = [r for r in self.broker.state.policy.reservations if r.end > self.now][-2:]
        self.send(ev.Configured(policy(self.broker.state.policy.version + 1, reservations=(*kept, one))))

    # -- the world does what it is told, in its own way -------------------------------------------

    def carry_out(self, *, fail: bool = False) -> None:
        """Carry out the oldest command."""
        if not self.todo:
            return
        command = self.todo.pop(0)
        session_id = getattr(command, "session_id", "")
        session = self.broker.state.sessions.get(session_id)
        if isinstance(command, cmd.StartWork) and session is not None:
            # What the real shell checks too: a start that is overtaken by a stop is not carried out.
            if session.state is not SessionState.READY or session.claimed_at is None:
                return
            if fail:
                self.undelivered.append(ev.WorkFailed(session_id, "start_failed", "It failed."))
                return
            self._run(session_id, session.shares)
            self.undelivered.append(ev.WorkStarted(session_id))
        elif isinstance(command, cmd.StopWork) and session is not None:
            if fail or session.state is not SessionState.ENDING:
                return
            self.running.pop(session_id, None)
            self.resident.pop(session_id, None)
            self._forget(session_id)
            self.undelivered.append(ev.WorkStopped(session_id))
        elif isinstance(command, cmd.PauseWork | cmd.ResumeWork) and session is not None:
            self._move(command, session, fail)

    def _move(self, command: cmd.Command, session: Session, fail: bool) -> None:
        pause = session.pause
        if session.state is not SessionState.PAUSED or pause is None:
            return
        if isinstance(command, cmd.PauseWork) and pause.phase is PausePhase.SAVING:
            if fail:
                lost = self.random.random() < 0.2
                if session.id in self.resident and not command.leaves:
                    # it goes on, as the shell has it
                    self._run(session.id, session.shares)
                if lost or not command.leaves:
                    self.resident.pop(session.id, None)
                    self._forget(session.id)
                self.undelivered.append(ev.PauseFailed(session.id, "busy", "A cell runs.", lost=lost))
                return
            if session.id in self.resident and not command.leaves:
                self._say_resident(session.id)
                return
            _, there = self.resident.get(session.id, (None, self.random.choice([0, GB, 4 * GB])))
            size = self.aside.get(session.id, there)
            if session.id not in self.aside and 0 < size <= command.stays_bytes:
                self.running.pop(session.id, None)
                self.resident[session.id] = (session.shares[0], size)
                self._say_resident(session.id)
                return
            if session.id not in self.aside and size > (command.budget_bytes or 0):
                self.undelivered.append(ev.PauseFailed(session.id, "no_room", "There is no room for it."))
                return
            frees = command.leaves or self.random.random() < 0.8
            if frees:
                self.running.pop(session.id, None)
                self.resident.pop(session.id, None)
            self.aside[session.id] = size
            # asked again it says the same
            was = session.shares or ((pause.resident_on,) if pause.resident_on is not None else ())
            where, _ = self.bound.setdefault(session.id, (self.random.choice(list(ComesBack)), was))
            self.undelivered.append(ev.PauseSaved(session.id, "offload", size, frees, where))
        elif isinstance(command, cmd.ResumeWork) and pause.phase is PausePhase.RESTORING:
            self._check_comes_back(session)
            if session.id in self.resident:
                # a slice of its device is as good to it as another
                self.resident[session.id] = (session.shares[0], self.resident[session.id][1])
            if fail:
                lost = self.random.random() < 0.2
                own = self.random.random() < 0.5
                self.running.pop(session.id, None)
                if lost:
                    self.resident.pop(session.id, None)
                    self._forget(session.id)
                self.undelivered.append(ev.ResumeFailed(session.id, "no_memory", "It does not fit.", lost, own))
                return
            self._run(session.id, session.shares)
            self.resident.pop(session.id, None)
            self._forget(session.id)
            self.undelivered.append(ev.ResumeDone(session.id, busy=self.random.random() < 0.5))

    def _say_resident(self, session_id: str) -> None:
        share, size = self.resident[session_id]
        self.bound[session_id] = (ComesBack.DEVICE, (share,))
        self.undelivered.append(ev.PauseSaved(session_id, "resident", resident_bytes=size))

    def _forget(self, session_id: str) -> None:
        """Nothing of it is put aside any more, and what was said of that is not said of the next pause."""
        self.aside.pop(session_id, None)
        self.bound.pop(session_id, None)
        self.undelivered = [
            one for one in self.undelivered if not (isinstance(one, ev.PauseSaved) and one.session_id == session_id)
        ]

    def deliver(self, index: int, *, twice: bool = False, lose: bool = False) -> None:
        """Deliver one report, in any order."""
        if not self.undelivered:
            return
        report = self.undelivered.pop(index % len(self.undelivered))
        if lose and not isinstance(report, ev.WorkStarted):
            return
        self.send(report)
        if twice:
            self.send(report)

    def crash(self) -> None:
        """The process dies: what was commanded and not done is forgotten, reports on their way are lost."""
        self.todo.clear()
        self.undelivered.clear()
        self.broker = Broker(self.reload())
        assert self.broker.state == self.durable, "the reloaded state differs"
        self.durable = self.broker.state.copy()
        for session_id in list(self.running):
            # Reconcile: the backend says what runs, and the shell reports it.
            self.undelivered.append(ev.WorkStarted(session_id))
        self.send(ev.Recovered())

    def reload(self) -> BrokerState:
        state = decode(self.snapshot, {"BrokerState": BrokerState})
        for line in self.journal:
            state.apply(decode(line, {"Changes": Changes}))
        return state

    def keep_snapshot(self) -> None:
        self.snapshot = encode(self.durable)
        self.journal.clear()

    def settle(self) -> None:
        """Everything works, for a while."""
        for _ in range(200):
            while self.todo:
                self.carry_out()
            while self.undelivered:
                self.deliver(0)
            if not self.todo:
                return

    # -- what must hold ---------------------------------------------------------------------------

    def check(self) -> None:
        self._check_no_share_twice()
        self._check_states()
        self._check_quotas()
        self._check_host_memory()
        self._check_device_memory()

    def check_drains(self) -> None:
        """When all is well again and all leases have run out, nothing is held and nobody is forgotten."""
        self.send(ev.Configured(policy(self.broker.state.policy.version + 1)))
        self.report_inventory()
        self.settle()
        waiting = [s.id for s in self.broker.state.sessions.values() if s.state is SessionState.QUEUED]
        served: set[str] = set()
        for _ in range(600):
            self.report_inventory()
            self.settle()
            self.check()
            for session in list(self.broker.state.live()):
                if session.state is not SessionState.QUEUED:
                    served.add(session.id)
                if session.state is SessionState.READY and session.claimed_at is None:
                    self.send(ev.Claimed(session.id))
                if session.busy:
                    self.send(ev.ActivityReported(session.id, False))
            if next(iter(self.broker.state.live()), None) is None:
                break
            deadline = self.broker.next_deadline()
            self.now = max(self.now + 200.0, deadline if deadline is not None else self.now)
            self.send(ev.Ticked())
        left = [(s.id, s.state.value) for s in self.broker.state.live()]
        assert not left, f"forgotten: {left}"
        assert set(waiting) <= served, "somebody waited and was never served"
        assert not self.running, f"leaked: {self.running}"
        assert not self.resident, f"stayed for ever: {self.resident}"

    def _check_no_share_twice(self) -> None:
        held = [(share, s.id) for s in self.broker.state.sessions.values() for share in s.shares]
        for i, (a, first) in enumerate(held):
            for b, second in held[i + 1 :]:
                assert not _CONFLICT(a, b), f"{first} and {second} hold {a.id} and {b.id}"

    def _check_states(self) -> None:
        for s in self.broker.state.sessions.values():
            assert (s.held_from is not None) == bool(s.shares), f"{s.id} holds {s.shares} since {s.held_from}"
            away = s.pause is not None and s.pause.phase in (PausePhase.SAVED, PausePhase.WANTED)
            # who has stayed on a device and is moved out of it has given its shares away before
            away = away or (s.pause is not None and s.pause.resident_on is not None)
            holds = s.state in (SessionState.READY, SessionState.ACTIVE, SessionState.PAUSED)
            if holds and not (away and not s.shares):
                assert len(s.shares) == s.request.count, f"{s.id} is {s.state.value} with {len(s.shares)} shares"
            if s.state is SessionState.PAUSED:
                assert s.pause is not None
                assert not s.busy or s.pause.phase is PausePhase.SAVING, f"{s.id} computes while it is paused"
            elif s.state is not SessionState.ENDING:
                assert s.pause is None, f"{s.id} is {s.state.value} and has a pause"
            assert s.state is not SessionState.ENDED or s.id not in self.resident, f"{s.id} ended and has stayed"
            if s.state in (SessionState.QUEUED, SessionState.ENDED):
                assert not s.shares, f"{s.id} is {s.state.value} and holds shares"
                assert s.id not in self.running or s.state is SessionState.QUEUED, f"{s.id} ended and still runs"
            if s.state is SessionState.ACTIVE:
                assert s.lease_until is not None
                assert s.lease_until > self.broker.state.now, f"{s.id} outlived its lease"
                assert s.lease_max_until is not None
                assert s.lease_until <= s.lease_max_until
            assert (s.end_reason is not None) == (s.state in (SessionState.ENDING, SessionState.ENDED))

    def _check_quotas(self) -> None:
        """Nobody is given more than the limits allow; limits that became smaller take nothing away."""
        state = self.broker.state
        for user in USERS:
            held = sum(s.fraction for x in state.sessions.values() if x.user == user for s in x.shares)
            assert held <= 2.5 + 1e-9, f"{user} holds {held} devices"
        for session in state.sessions.values():
            for one in state.policy.reservations:
                if session.state is not SessionState.ACTIVE or not one.start <= state.now < one.end:
                    continue
                if session.user in one.users or not session.shares:
                    continue
                taken = reservations.reserved_shares(state, one.pool)
                mine = [s.id for s in session.shares if s.id in taken]
                number = state.policy.reservations.index(one)
                assert not any(number in taken[i] for i in mine), f"{session.id} is on what is set aside"

    def _check_comes_back(self, session: Session) -> None:
        where, before = self.bound.get(session.id, (ComesBack.ANYWHERE, ()))
        was, now = before[:1], session.shares[:1]
        if where is ComesBack.ANYWHERE or not was:
            return
        assert [s.flavor for s in was] == [s.flavor for s in now], f"{session.id} was on {was} and comes back on {now}"
        if where is ComesBack.DEVICE or was[0].kind is not ShareKind.WHOLE:
            ids = [[s.mig_uuid or s.device_uuid for s in shares] for shares in (was, now)]
            assert ids[0] == ids[1], f"{session.id} was on {was} and can go on nowhere else than there, not on {now}"

    def _check_host_memory(self) -> None:
        states = {s.id: s.state for s in self.broker.state.sessions.values()}
        # with its kernel goes what was saved of it
        held = {i: size for i, size in self.aside.items() if states.get(i) not in (None, SessionState.ENDED)}
        assert sum(held.values()) <= PAUSED_BYTES, f"in host memory: {held}"

    def _check_device_memory(self) -> None:
        """What those who hold a device asked for, and what others really have there, is no more than it has."""
        promised: dict[str, int] = {}
        for session in self.broker.state.sessions.values():
            for share in session.shares:
                promised[share.device_uuid] = promised.get(share.device_uuid, 0) + _asked(session, share)
        for session_id, (share, size) in self.resident.items():
            if session_id in self.broker.state.sessions and not self.broker.state.sessions[session_id].shares:
                promised[share.device_uuid] = promised.get(share.device_uuid, 0) + size
        for device, size in promised.items():
            assert size <= DEVICE_BYTES[device], f"{device}: {size} bytes are promised"

    def _check_fits(self, session_id: str, share: Share) -> None:
        """Who starts has what it asked for, beside what has really stayed there."""
        session = self.broker.state.sessions[session_id]
        others = [(on, size) for i, (on, size) in self.resident.items() if i != session_id]
        there = sum(size for on, size in others if _CONFLICT(on, share))
        assert there + _asked(session, share) <= share.memory_bytes, f"{session_id} starts beside {there} bytes"

    def _run(self, session_id: str, shares: tuple[Share, ...]) -> None:
        for share in shares:
            self._check_fits(session_id, share)
        for other, theirs in self.running.items():
            if other == session_id:
                continue
            for a in shares:
                for b in theirs:
                    assert not _CONFLICT(a, b), f"{session_id} started on {a.id} where {other} still runs"
        self.running[session_id] = shares


def _asked(session: Session, share: Share) -> int:
    return share.memory_bytes if session.request.memory_bytes is None else session.request.memory_bytes
