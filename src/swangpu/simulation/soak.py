"""A small site under heavy load on which everything goes wrong: the broker's invariants, seed by seed."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from ..broker.policy import Group, Policy, Quota, Reclaim, ReclaimMode
from .desk import Codec
from .schemes import SCHEMES
from .shared import SharedSite
from .site import CUTS, Faults, Site
from .trouble import Trouble
from .workload import DAY_S, HOUR_S, Workload, generate

__all__ = ["Soaked", "soak"]

#: nobody waits longer, though devices go and come and people with more rights come first
STARVES_AFTER_S = 1.5 * DAY_S
#: longer than the longest stay, and all that a lease and a pause can take after it
DRAIN_S = 1.5 * DAY_S
_STRETCH_S = 1800.0
_HEAVY = Workload(
    arrivals_per_hour=70.0,
    night_part=0.6,
    cells_mean=7.0,
    cell_p50_s=20.0,
    cell_p75_s=60.0,
    # what is longer than the longest lease would never end
    cell_longest_s=HOUR_S,
    gap_p50_s=40.0,
    gap_p75_s=150.0,
    gap_longest_s=HOUR_S,
    untouched_part=0.3,
    users=14,
    groups=(("atlas", 0.4), ("cms", 0.4), ("", 0.2)),
    patience_p50_s=HOUR_S,
)


@dataclass(frozen=True)
class Soaked:
    """One seed: how many steps, thorough checks and crashes, and the longest wait in the broker's time."""

    seed: int
    steps: int
    checks: int
    crashes: int
    visits: int
    killed: int
    longest_wait_s: float
    cpu_s: float


def soak(seed: int, steps: int, codec: Codec | None = None) -> Soaked:
    """Let things go wrong for so many steps of the broker, then well again until everybody has gone.

    Parameters
    ----------
    seed : int
        Reproduces a run exactly.
    codec : Codec, optional
        See `swangpu.simulation.desk.Desk`.

    Raises
    ------
    Broken, AssertionError
        An invariant does not hold.
    """
    rng = random.Random(f"soak/{seed}")
    began = time.process_time()
    devices = {name: rng.randint(0, 2) for name in CUTS}
    devices["whole"] = rng.randint(1, 4)
    site = Site(devices=devices, host_bytes=rng.choice([None, 200 * 10**9]), faults=_faults(rng))
    visits = generate(_HEAVY, max(1.0, steps / 40000), seed)
    scheme = SCHEMES[rng.choice(["E0", "E1", "E1-stay", "E1-stay", "E2-same", "E2"])]
    policy = _policy(rng, scheme.methods, scheme.resident)
    sim = SharedSite(scheme, site, visits, seed=seed, policy=policy, codec=codec, starves_after_s=STARVES_AFTER_S)
    trouble = Trouble(sim, reserve_every_s=rng.choice([0.0, 2400.0]))
    while sim.desk.steps < steps and sim.world.clock.monotonic() < visits[-1].at:
        sim.run(_STRETCH_S)
    trouble.end()
    sim.stop_arrivals()
    sim.drain(DRAIN_S)
    return Soaked(
        seed,
        sim.desk.steps,
        sim.audit.checks,
        sim.desk.crashes,
        sim.outcome.visits,
        sim.outcome.killed,
        sim.audit.longest_wait_s,
        time.process_time() - began,
    )


def _faults(rng: random.Random) -> Faults:
    """Of each kind nothing, little or much."""

    def some(little: float, much: float) -> float:
        return rng.choice([0.0, little, much])

    return Faults(
        start_fails=some(0.02, 0.2),
        stop_fails=some(0.05, 0.3),
        pause_fails=some(0.05, 0.3),
        resume_fails=some(0.02, 0.2),
        slow=some(0.02, 0.2),
        lost=some(0.1, 0.5),
        report_lost=some(0.01, 0.1),
        report_twice=some(0.05, 0.3),
        report_late=some(0.02, 0.2),
        commit_fails=some(0.002, 0.01),
        vanish_every_s=some(7200.0, 1200.0),
        crash_every_s=some(7200.0, 1800.0),
        jump_every_s=some(7200.0, 1800.0),
        device_lost_every_s=some(7200.0, 1800.0),
        outage_every_s=some(14400.0, 3600.0),
        memory_short_every_s=some(7200.0, 600.0),
    )


def _policy(rng: random.Random, methods: tuple[str, ...], resident: bool) -> Policy:
    quotas = (Quota("*", rng.choice([1.0, 2.0]), rng.choice([None, 1.0, 2.0])),)
    groups = rng.choice(
        [
            (Group("atlas", 2.0), Group("cms", 1.0)),
            (Group("atlas", 2.0, (), quotas), Group("cms", 1.0, (), quotas, idle_pause_s=5.0)),
        ]
    )
    rule = Reclaim(
        ReclaimMode.ENFORCE,
        idle_pause_s=rng.choice([5.0, 30.0]),
        idle_release_s=600.0,
        grace_s=120.0,
        residency_s=rng.choice([0.0, 20.0]),
        moves=rng.choice([2, 8]),
        methods=methods,
        resident=resident,
    )
    return Policy(
        version=2,
        default_lease_s=1800.0,
        max_lease_s=2 * HOUR_S,
        groups=groups,
        user_quotas=rng.choice([(), (Quota("*", 3.0, 0.0),)]),
        reclaim=(("*", rule),),
        keep_ended_s=60.0,
        keep_paused_s=4 * HOUR_S,
        quota_notice_s=300.0,
        max_sessions_per_user=1000,
    )
