"""One run of a site whose GPUs the broker gives and takes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from ..broker import commands as cmd
from ..broker import events as ev
from ..broker.index import waits
from ..broker.policy import Policy
from ..broker.queue import tied_to
from ..broker.state import BrokerState, Changes
from ..domain.sessions import PausePhase, Session, SessionState
from .audit import Audit
from .desk import Codec, Desk
from .machines import Broken, Machines
from .meter import Meter, Outcome
from .people import Person, Surroundings
from .schemes import Scheme, policy_for, site_for
from .site import Site, inventory
from .workload import DAY_S, Visit
from .world import World

__all__ = ["SharedSite", "run_shared"]

#: a monday at midnight, UTC
BEGIN = 1_700_438_400.0
#: what is left over after the last arrival has to have ended by then
DRAIN_S = 10 * DAY_S
#: nobody waits longer than this, in the broker's time
STARVES_AFTER_S = 4 * DAY_S


class SharedSite:
    """People, machines and a broker in one world.

    Parameters
    ----------
    scheme : Scheme
    site : Site
    visits : sequence of Visit
    policy : Policy, optional
        Instead of the scheme's.
    codec : Codec, optional
        See `Desk`.
    """

    def __init__(
        self,
        scheme: Scheme,
        site: Site,
        visits: Sequence[Visit],
        *,
        seed: int = 0,
        policy: Policy | None = None,
        codec: Codec | None = None,
        starves_after_s: float = STARVES_AFTER_S,
    ) -> None:
        self.scheme, self.site = scheme, site_for(scheme, site)
        self.outcome = Outcome(scheme=scheme.name, seed=seed, devices=site.count)
        self.world = World(BEGIN)
        rng = random.Random(f"faults/{seed}")
        self.rng = rng
        self.audit = Audit(starves_after_s)
        self.meter = Meter(self.outcome, site.devices)
        self.desk = Desk(self.world, site.faults, rng, self._carry_out, self._watch, codec)
        self.machines = Machines(
            self.world, self.site, scheme.remap, rng, self.desk.report, self._kernel_of, self.desk.session
        )
        self._people: dict[str, Person] = {}
        self._memory: dict[str, int] = {}
        policy = policy if policy is not None else policy_for(scheme, sorted({v.group for v in visits}))
        self.around = Surroundings(
            self.world, self.desk, self.machines, self.outcome, policy.default_lease_s, self._refresh
        )
        self.lost_devices: set[str] = set()
        self.away = False
        self.closed = False
        self.desk.post(ev.Configured(policy))
        self.report_inventory()
        self.last_arrival_s = visits[-1].at if visits else 0.0
        for visit in visits:
            self.world.at(visit.at, self._arrival(visit))

    def report_inventory(self) -> None:
        """The backend says what it has."""
        self.desk.post(
            ev.InventoryReported(
                inventory(
                    self.site.devices,
                    self.world.clock.monotonic() + 1.0,
                    lost=frozenset(self.lost_devices),
                    available=not self.away,
                )
            )
        )

    def run(self, for_s: float) -> Outcome:
        """Let so much time pass, and count what happens in it."""
        began = time.process_time()
        self.world.run(for_s)
        self.meter.advance(self.world.clock.monotonic())
        self.meter.check()
        out = self.outcome
        out.cpu_s += time.process_time() - began
        out.for_s += for_s
        out.steps, out.crashes = self.desk.steps, self.desk.crashes
        out.moves, out.moved_bytes = self.machines.moves, self.machines.moved_bytes
        out.stays, out.moved_out = self.machines.stays, self.machines.moved_out
        out.host_peak_bytes = self.machines.host_peak_bytes
        counted = sum(out.held_s.values())
        if counted > out.capacity_s * (1 + 1e-9) + 1e-3:
            raise Broken(f"{counted:.0f} device-seconds are counted, of {out.capacity_s:.0f}")
        return out

    def stop_arrivals(self) -> None:
        """Nobody comes any more."""
        self.closed = True

    def drain(self, for_s: float = DRAIN_S) -> None:
        """Let so much time pass that everybody has to be gone in the end."""
        self.world.run(for_s)
        self.audit.ended(self.desk.state)
        if self.machines.works:
            raise Broken(f"still running: {sorted(self.machines.works)[:5]}")

    # -- inside -----------------------------------------------------------------------------------

    def _arrival(self, visit: Visit) -> Callable[[], None]:
        person = Person(self.around, visit, self._own)
        if self.site.untouched_anywhere and not visit.touches:
            person.methods = tuple(dict.fromkeys((*visit.methods, "offload")))
        if self.scheme.instant:
            person.methods = ("move",)

        def arrive() -> None:
            if not self.closed:
                person.arrive()

        return arrive

    def _own(self, session_id: str, person: Person) -> None:
        self._people[session_id] = person
        self._memory[session_id] = person.visit.memory_bytes

    def _kernel_of(self, session_id: str) -> Person:
        return self._people[session_id]

    def _carry_out(self, command: cmd.Command) -> None:
        if isinstance(command, cmd.Notify):
            person = self._people.get(command.session_id)
            if person is not None and command.session_id == person.session_id:
                person.warned(command.code)
        else:
            self.machines.carry_out(command)

    def _watch(self, state: BrokerState, changes: Changes, commands: list[cmd.Command]) -> None:
        self.audit.look(state, changes, commands)
        if not changes.sessions:
            return
        self.meter.advance(self.world.clock.monotonic())
        for session_id, row in changes.sessions.items():
            self._count(session_id, row)
            if row is None:
                self._people.pop(session_id, None)
                self._memory.pop(session_id, None)
            else:
                person = self._people.get(session_id)
                if person is not None:
                    person.told(row)

    def _refresh(self, session_id: str) -> None:
        """A cell begins or ends."""
        self.meter.advance(self.world.clock.monotonic())
        self._count(session_id, self.desk.session(session_id))

    def _count(self, session_id: str, row: Session | None) -> None:
        if row is None or row.state is SessionState.ENDED:
            self.meter.holds(session_id, None, 0.0, 0)
            self.meter.waits(session_id, None)
            return
        if waits(row):
            tied = tied_to(row)
            self.meter.waits(session_id, self._memory.get(session_id, 0), tied)
        else:
            self.meter.waits(session_id, None)
        if not row.shares:
            self.meter.holds(session_id, None, 0.0, 0)
            return
        person = self._people.get(session_id)
        kind = "idle"
        if person is not None and person.computes:
            kind = "useful" if person.visit.touches else "running"
        elif row.state in (SessionState.READY, SessionState.ENDING):
            kind = "moving"
        elif row.state is SessionState.PAUSED:
            moving = row.pause is not None and row.pause.phase in (PausePhase.SAVING, PausePhase.RESTORING)
            kind = "moving" if moving else "idle"
        share = row.shares[0]
        self.meter.holds(
            session_id, kind, share.fraction * len(row.shares), share.memory_bytes, share.mig_uuid or share.device_uuid
        )


def run_shared(scheme: Scheme, site: Site, visits: Sequence[Visit], days: float, *, seed: int = 0) -> Outcome:
    """So many days of a site, without faults unless the site has some."""
    return SharedSite(scheme, site, visits, seed=seed).run(days * DAY_S)
