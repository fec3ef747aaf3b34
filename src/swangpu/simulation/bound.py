"""Today's services, without a broker: a GPU, or a turn on one, bound to a session for its life.

Who finds none free is told to try again later, and does so every few minutes until patience is at its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .meter import Meter, Outcome
from .schemes import Scheme
from .shared import BEGIN
from .site import CUTS, Site
from .workload import DAY_S, Visit
from .world import World

__all__ = ["RETRY_S", "BoundSite", "run_bound"]

#: who was told to try again later does so after so long
RETRY_S = 300.0


@dataclass
class _Slot:
    """What a session is bound to; with time-slices several sessions share it in turns."""

    memory_bytes: int
    fraction: float
    sessions: int = 0
    #: who has a cell running there
    active: dict[str, _Stay] = field(default_factory=dict)


class BoundSite:
    """Slots, and people who come for them.

    Parameters
    ----------
    scheme : Scheme
        A bound one.
    """

    def __init__(self, scheme: Scheme, site: Site, visits: Sequence[Visit], *, seed: int = 0) -> None:
        self.scheme, self.site = scheme, site
        self.world = World(BEGIN)
        self.outcome = Outcome(scheme=scheme.name, seed=seed, devices=site.count)
        self.meter = Meter(self.outcome, site.devices)
        shared = scheme.sharers > 1
        self.slots = [
            _Slot(cut.memory_bytes, 1.0 / cut.parts)
            for name, cut in CUTS.items()
            for _ in range(site.devices.get(name, 0) * (1 if shared else cut.parts))
        ]
        for visit in visits:
            self.world.at(visit.at, _Stay(self, visit).arrive)

    def find(self, memory_bytes: int) -> _Slot | None:
        """The smallest free one that suffices; of time-slices the emptiest device, whatever its memory."""
        if self.scheme.sharers > 1:
            best = min(self.slots, key=lambda s: s.sessions, default=None)
            return best if best is not None and best.sessions < self.scheme.sharers else None
        fitting = [s for s in self.slots if not s.sessions and s.memory_bytes >= memory_bytes]
        return min(fitting, key=lambda s: s.memory_bytes, default=None)

    def run(self, for_s: float) -> Outcome:
        """Let so much time pass, and count what happens in it."""
        began = time.process_time()
        self.world.run(for_s)
        self.meter.advance(self.world.clock.monotonic())
        self.meter.check()
        self.outcome.for_s += for_s
        self.outcome.cpu_s += time.process_time() - began
        return self.outcome


class _Stay:
    """One person's stay at a notebook under a bound scheme."""

    def __init__(self, site: BoundSite, visit: Visit) -> None:
        self._site, self.visit = site, visit
        self._slot: _Slot | None = None
        self._number = 0
        self._since = 0.0
        self._patient_until = 0.0
        self._first = True
        self._left = False
        self._lost_s = 0.0
        #: a cell that runs: what is left of it, at which rate, as of when
        self._left_s = 0.0
        self._rate = 1.0
        self._as_of = 0.0
        self._turn = 0
        self._idle_turn = 0
        self._began = 0.0

    def arrive(self) -> None:
        """Somebody comes to run a first cell."""
        self._site.outcome.visits += 1
        self._want()

    @property
    def _now(self) -> float:
        return self._site.world.clock.monotonic()

    def _at(self, in_s: float, act: Callable[[], None]) -> None:
        self._site.world.at(in_s, act)

    def _want(self) -> None:
        self._since = self._now
        self._patient_until = self._now + self.visit.patience_s
        if self._slot is not None:
            self._begin()
        else:
            self._try()

    def _try(self) -> None:
        site = self._site
        slot = site.find(self.visit.memory_bytes)
        site.meter.advance(self._now)
        if slot is None:
            site.meter.waits(self.visit.id, self.visit.memory_bytes)
            left_s = self._patient_until - self._now
            if left_s <= 0:
                self._waited()
                site.meter.waits(self.visit.id, None)
                site.outcome.gave_up += 1
                self._left = True
                return
            self._at(min(RETRY_S, left_s), self._try)
            return
        site.meter.waits(self.visit.id, None)
        slot.sessions += 1
        self._slot = slot
        self._lost_s = 0.0
        self._count("moving")
        self._at(site.site.start_s, self._begin)

    def _begin(self) -> None:
        if self._slot is None:
            return
        self._waited()
        self._first = False
        cell = self.visit.cells[self._number]
        self._left_s, self._as_of = cell.run_s, self._now
        self._slot.active[self.visit.id] = self
        self._share_out()
        self._count("useful" if self.visit.touches else "running")
        self._idle_turn += 1

    def _share_out(self) -> None:
        """All who compute on a device go on at the same part of its speed."""
        slot = self._slot
        if slot is None:
            return
        computing = [s for s in slot.active.values() if s.visit.touches]
        for stay in slot.active.values():
            stay._settle()
            stay._rate = 1.0 / max(1, len(computing)) if stay.visit.touches else 1.0
            stay._turn += 1
            stay._at(stay._left_s / stay._rate, stay._ender(stay._turn))

    def _settle(self) -> None:
        self._left_s = max(0.0, self._left_s - (self._now - self._as_of) * self._rate)
        self._as_of = self._now

    def _ender(self, turn: int) -> Callable[[], None]:
        return lambda: self._end() if turn == self._turn else None

    def _end(self) -> None:
        slot, out = self._slot, self._site.outcome
        if slot is None:
            return
        del slot.active[self.visit.id]
        self._turn += 1
        self._share_out()
        run_s = self.visit.cells[self._number].run_s
        took_s = self._now - self._since
        out.ran_s += run_s
        out.took_s += max(run_s, self._now - self._began)
        got, took = out.stretch.get(self.visit.user, (0.0, 0.0))
        out.stretch[self.visit.user] = (got + run_s, took + max(run_s, took_s))
        self._lost_s += run_s
        self._number += 1
        self._count("idle")
        self._plan_end()
        if self._number < len(self.visit.cells):
            self._at(self.visit.cells[self._number].gap_s, self._want)
        elif self.visit.closes:
            self._left = True
            self._at(60.0, self._give_back)
        else:
            self._left = True

    def _plan_end(self) -> None:
        """What ends a session whose owner does nothing."""
        scheme = self._site.scheme
        self._idle_turn += 1
        turn = self._idle_turn
        limit_s = scheme.cull_s
        if scheme.idle_kill_s is not None:
            limit_s = min(limit_s, scheme.idle_kill_s)
        self._at(limit_s, lambda: self._killed() if turn == self._idle_turn else None)

    def _killed(self) -> None:
        if self._slot is None:
            return
        if not self._left:
            self._site.outcome.killed += 1
            self._site.outcome.lost_work_s += self._lost_s
        self._give_back()

    def _give_back(self) -> None:
        if self._slot is None:
            return
        self._slot.active.pop(self.visit.id, None)
        self._slot.sessions -= 1
        self._count(None)
        self._slot = None

    def _waited(self) -> None:
        waited = self._now - self._since
        out = self._site.outcome
        out.longest_wait_s = max(out.longest_wait_s, waited)
        (out.session_waits if self._first else out.cell_waits).append(waited)
        self._began = self._now

    def _count(self, kind: str | None) -> None:
        slot, meter = self._slot, self._site.meter
        if slot is None:
            return
        meter.advance(self._now)
        # a turn on a device counts as its part of it
        meter.holds(self.visit.id, kind, slot.fraction / self._site.scheme.sharers, slot.memory_bytes)


def run_bound(scheme: Scheme, site: Site, visits: Sequence[Visit], days: float, *, seed: int = 0) -> Outcome:
    """So many days of a site of today."""
    return BoundSite(scheme, site, visits, seed=seed).run(days * DAY_S)
