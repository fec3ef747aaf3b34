"""The very broker of the live system, under virtual time: a journal, ticks, and a shell that can crash."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ..broker import commands as cmd
from ..broker import events as ev
from ..broker.broker import Broker
from ..broker.state import BrokerState, Changes
from ..domain.sessions import Session
from ..errors import SwanGpuError
from .machines import Broken
from .site import Faults
from .world import World

__all__ = ["Codec", "Desk"]

#: a snapshot is taken after so many events
SNAPSHOT_STEPS = 400
#: floats of Unix seconds are not exact: a tick a little too soon would be planned again and again
MILLISECOND = 0.001


class Codec(Protocol):
    """How state goes to disk and comes back: the ledger's, or nothing of the kind."""

    def encode(self, value: object) -> str: ...
    def state(self, text: str) -> BrokerState: ...
    def changes(self, text: str) -> Changes: ...


class Desk:
    """Feeds events to a broker, makes them durable, hands on what it decided.

    Parameters
    ----------
    world : World
    faults : Faults
    carry_out : callable
        Does what is commanded.
    watch : callable
        Told of every event that was obeyed: the broker's state, what the event changed, and the commands.
    codec : Codec, optional
        With it, what is reloaded after a crash has been text; else the rows themselves are kept.
    """

    def __init__(
        self,
        world: World,
        faults: Faults,
        rng: random.Random,
        carry_out: Callable[[cmd.Command], None],
        watch: Callable[[BrokerState, Changes, list[cmd.Command]], None],
        codec: Codec | None = None,
    ) -> None:
        self._world, self.faults, self._rng = world, faults, rng
        self._carry_out, self._watch, self._codec = carry_out, watch, codec
        self.broker = Broker()
        self.steps = 0
        self.crashes = 0
        self._inbox: deque[ev.Event] = deque()
        self._draining = False
        self._alive = True
        self._tick_at = float("inf")
        #: reports of a shell that has died do not come any more
        self.life = 0
        #: the shell dies with its next decision on disk and not carried out; who then starts another one
        self.dies = False
        self.restart: Callable[[], None] = self.crash
        #: every event and its time, where somebody wants to have them
        self.tape: list[tuple[ev.Event, float]] | None = None
        self._journal: list[Changes] = []
        self._snapshot = self.broker.state.copy()
        self._keeps_journal = faults.commit_fails > 0 or faults.crash_every_s > 0

    @property
    def state(self) -> BrokerState:
        """To be read only."""
        return self.broker.state

    def session(self, session_id: str) -> Session | None:
        """The broker's session, to be read only."""
        return self.broker.state.sessions.get(session_id)

    def post(self, event: ev.Event) -> None:
        """Have the broker handle an event, behind those that it has been given before."""
        self._inbox.append(event)
        if self._draining:
            return
        self._draining = True
        try:
            while self._inbox:
                self._handle(self._inbox.popleft())
        finally:
            self._draining = False
        if self.dies and not self._alive:
            self.dies, self._alive = False, True
            self.restart()
        self._plan_tick()

    def report(self, event: ev.Event, *, late: bool = True) -> None:
        """A report of the site, which may be lost, doubled or late on its way."""
        faults, rng = self.faults, self._rng
        if faults.report_lost and rng.random() < faults.report_lost:
            return
        if late and faults.report_late and rng.random() < faults.report_late:
            life = self.life
            self._world.at(rng.uniform(0.0, 120.0), lambda: self.post(event) if self.life == life else None)
            return
        self.post(event)
        if faults.report_twice and rng.random() < faults.report_twice:
            self.post(event)

    def crash(self) -> None:
        """The process dies, and another one starts from what is on disk."""
        self.life += 1
        self.crashes += 1
        self._inbox.clear()
        before = self.broker.state
        again = self._reload()
        if again != before:
            raise Broken("What was reloaded is not what was there.")
        self.broker = Broker(again)
        self._tick_at = float("inf")
        self.post(ev.Recovered())

    # -- inside -----------------------------------------------------------------------------------

    def _handle(self, event: ev.Event) -> None:
        if not self._alive:
            return
        self.steps += 1
        state = self.broker.state
        if self.tape is not None:
            self.tape.append((event, self._world.clock.now()))
        try:
            commands = self.broker.handle(event, self._world.clock.now())
        except SwanGpuError:
            if state.changed:
                raise Broken(f"{type(event).__name__} was not obeyed and has changed something") from None
            return
        changes = state.take_changes()
        if self._keeps_journal:
            if self.faults.commit_fails and self._rng.random() < self.faults.commit_fails:
                self.broker = Broker(self._rolled_back())
                self._retry(event)
                return
            self._journal.append(changes)
            if len(self._journal) >= SNAPSHOT_STEPS:
                self._snapshot = state.copy()
                self._journal.clear()
        self._watch(state, changes, commands)
        if self.dies:
            self._alive = False
            return
        for command in commands:
            self._carry_out(command)

    def _retry(self, event: ev.Event) -> None:
        """Whoever reports tells it again and again; a person asks again, and time passes anyhow."""
        if not isinstance(event, ev.Ticked):
            life = self.life
            self._world.at(1.0, lambda: self.post(event) if self.life == life else None)

    def _rolled_back(self) -> BrokerState:
        state = self._snapshot.copy()
        for changes in self._journal:
            state.apply(changes)
        return state

    def _reload(self) -> BrokerState:
        codec = self._codec
        if codec is None:
            return self._rolled_back()
        state = codec.state(codec.encode(self._snapshot))
        for changes in self._journal:
            state.apply(codec.changes(codec.encode(changes)))
        return state

    def _plan_tick(self) -> None:
        due = self.broker.next_deadline()
        if due is None:
            return
        now = self._world.clock.now()
        in_s = max(due - now, MILLISECOND)
        at = self._world.clock.monotonic() + in_s
        if at >= self._tick_at - 1e-9:
            return
        self._tick_at = at
        life = self.life
        self._world.at(in_s, lambda: self._tick(at) if self.life == life else None)

    def _tick(self, at: float) -> None:
        if at != self._tick_at:
            return
        self._tick_at = float("inf")
        self.post(ev.Ticked())
