"""What goes wrong at a simulated site, in virtual time and from a seed: crashes, clocks, devices, processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..broker import events as ev
from ..broker.policy import Policy, Reservation
from .shared import SharedSite
from .site import CUTS, NO_FAULTS, POOL

__all__ = ["Trouble"]

#: a device, or the whole site, that is away comes back after so long on average
BACK_AFTER_S = 120.0
#: the clock is set by at most so much
JUMP_S = 900.0


class Trouble:
    """Plans the faults of a site's settings, and takes them back.

    Parameters
    ----------
    site : SharedSite
        Its ``site.faults`` say how often.
    reserve_every_s : float
        Shares are set aside for somebody, or for nobody, so often (0: never).
    """

    def __init__(self, site: SharedSite, *, reserve_every_s: float = 0.0) -> None:
        self._site, self._rng = site, site.rng
        self._over = False
        faults = site.site.faults
        site.desk.restart = self._restart
        for every_s, act in (
            (faults.crash_every_s, self._crash),
            (faults.jump_every_s, self._jump),
            (faults.device_lost_every_s, self._lose_device),
            (faults.outage_every_s, self._outage),
            (faults.memory_short_every_s, self._memory_short),
            (faults.vanish_every_s, site.machines.vanish),
            (reserve_every_s, self._reserve),
        ):
            if every_s > 0:
                self._repeat(every_s, act)

    def end(self) -> None:
        """From now on everything works, and what was away is back."""
        self._over = True
        site = self._site
        site.desk.faults = site.machines.faults = NO_FAULTS
        site.desk.dies = False
        site.lost_devices.clear()
        site.away = False
        self._configure(replace(site.desk.state.policy, reservations=()))
        site.report_inventory()

    def _repeat(self, every_s: float, act: Callable[[], None]) -> None:
        def again() -> None:
            if not self._over:
                act()
                self._repeat(every_s, act)

        self._site.world.at(self._rng.expovariate(1.0 / every_s), again)

    def _crash(self) -> None:
        if self._rng.random() < 0.5:
            # a decision is on disk, and nobody has carried it out
            self._site.desk.dies = True
        else:
            self._restart()

    def _restart(self) -> None:
        self._site.desk.crash()
        self._site.machines.reconcile()

    def _jump(self) -> None:
        self._site.world.clock.jump(self._rng.uniform(-JUMP_S, JUMP_S))
        self._site.desk.post(ev.Ticked())

    def _lose_device(self) -> None:
        device = self._any_device()
        self._site.lost_devices.add(device)
        self._site.report_inventory()
        self._later(lambda: self._site.lost_devices.discard(device))

    def _memory_short(self) -> None:
        self._site.desk.report(ev.MemoryShort(self._any_device()))

    def _any_device(self) -> str:
        devices = [f"GPU-{name}-{n:03d}" for name in CUTS for n in range(self._site.site.devices.get(name, 0))]
        return self._rng.choice(devices)

    def _outage(self) -> None:
        self._site.away = True
        self._site.report_inventory()
        self._later(lambda: setattr(self._site, "away", False))

    def _later(self, act: Callable[[], None]) -> None:
        def back() -> None:
            act()
            self._site.report_inventory()

        self._site.world.at(self._rng.expovariate(1.0 / BACK_AFTER_S), back)

    def _reserve(self) -> None:
        site, rng = self._site, self._rng
        policy, now = site.desk.state.policy, site.world.clock.now()
        name = rng.choice([n for n in CUTS if site.site.devices.get(n)])
        start = now + rng.uniform(0.0, 1800.0)
        groups = (rng.choice([g.name for g in policy.groups]),) if policy.groups and rng.random() < 0.7 else ()
        one = Reservation(
            f"r{site.desk.steps}",
            "Tutorial",
            start,
            start + rng.uniform(300.0, 1800.0),
            POOL,
            CUTS[name].flavor,
            rng.randint(1, 2),
            groups=groups,
        )
        kept = tuple(r for r in policy.reservations if r.end > site.desk.state.now)[-2:]
        self._configure(replace(policy, reservations=(*kept, one)))

    def _configure(self, policy: Policy) -> None:
        version = self._site.desk.state.policy.version + 1
        self._site.desk.post(ev.Configured(replace(policy, version=version)))
