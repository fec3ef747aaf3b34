"""Where the GPU time goes, and how long people wait: each device-second is counted once, as it passes."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .site import CUTS
from .workload import GB

__all__ = ["KINDS", "Meter", "Outcome", "jain", "quantile"]

#: what is done with a held share: a cell computes there, one runs without it, nobody computes, something is moved
KINDS = ("useful", "running", "idle", "moving")
_SIZES = [cut.memory_bytes for cut in CUTS.values()]
_PARTS = [1.0 / cut.parts for cut in CUTS.values()]


@dataclass
class Outcome:
    """What became of one simulated time under one scheme.

    Attributes
    ----------
    capacity_s : float
        Device-seconds that there were.
    held_s : dict of str to float
        Of these, by `KINDS`.
    idle_wanted_s : float
        Device-seconds of ``idle`` that somebody waited for who could have used them.
    session_waits, cell_waits : list of float
        Seconds from wanting to running: the first cell of a stay, and all further ones. Who gave up has waited until
        then.
    killed, lost_work_s : int, float
        Processes that ended against the will of somebody who had more to run, and what had run in them.
    moves, stays, moved_out : int
        How often something was moved to host memory or back; how often a paused session could stay on its device
        instead, and how often one that had was moved out later.
    stretch : dict of str to tuple
        By user: seconds for which cells were to run, and seconds in which that was got, with all waiting.
    """

    scheme: str = ""
    seed: int = 0
    devices: int = 0
    for_s: float = 0.0
    capacity_s: float = 0.0
    held_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    idle_wanted_s: float = 0.0
    session_waits: list[float] = field(default_factory=list)
    cell_waits: list[float] = field(default_factory=list)
    visits: int = 0
    gave_up: int = 0
    killed: int = 0
    lost_work_s: float = 0.0
    ran_s: float = 0.0
    took_s: float = 0.0
    stretch: dict[str, tuple[float, float]] = field(default_factory=dict)
    moves: int = 0
    moved_bytes: int = 0
    stays: int = 0
    moved_out: int = 0
    host_peak_bytes: int = 0
    steps: int = 0
    crashes: int = 0
    cpu_s: float = 0.0
    ends: dict[str, int] = field(default_factory=dict)
    longest_wait_s: float = 0.0

    def figures(self) -> dict[str, float | int | str]:
        """In numbers that can be put side by side."""
        capacity = self.capacity_s or 1.0
        hours = self.for_s / 3600.0 or 1.0
        return {
            "scheme": self.scheme,
            "seed": self.seed,
            "devices": self.devices,
            "visits": self.visits,
            "session_p50_s": quantile(self.session_waits, 0.5),
            "session_p95_s": quantile(self.session_waits, 0.95),
            "cell_p95_s": quantile(self.cell_waits, 0.95),
            "cell_p99_s": quantile(self.cell_waits, 0.99),
            "longest_wait_s": self.longest_wait_s,
            "gave_up": self.gave_up,
            "useful_part": self.held_s["useful"] / capacity,
            "running_part": self.held_s["running"] / capacity,
            "idle_part": self.held_s["idle"] / capacity,
            "moving_part": self.held_s["moving"] / capacity,
            "idle_wanted_part": self.idle_wanted_s / capacity,
            "killed": self.killed,
            "lost_work_h": self.lost_work_s / 3600.0,
            "slowdown": self.took_s / self.ran_s if self.ran_s else 1.0,
            "jain": jain([got / took for got, took in self.stretch.values() if took > 0]),
            "moves_per_hour": self.moves / hours,
            "stays_per_hour": self.stays / hours,
            "moved_out_per_hour": self.moved_out / hours,
            "host_peak_gb": self.host_peak_bytes / GB,
            "steps": self.steps,
            "steps_per_s": self.steps / self.cpu_s if self.cpu_s else 0.0,
        }


class Meter:
    """Adds up what shares are doing while time passes.

    Parameters
    ----------
    outcome : Outcome
        Where it is added up.
    devices : mapping of str to int
        How many are cut in each way.
    """

    def __init__(self, outcome: Outcome, devices: Mapping[str, int]) -> None:
        self._outcome = outcome
        self.capacity = float(sum(devices.values()))
        self._rows: dict[str, tuple[str, float, int, str]] = {}
        self.held = dict.fromkeys(KINDS, 0.0)
        self._idle = [0] * len(_SIZES)
        self._waiting = [0] * len(_SIZES)
        self._waits: dict[str, tuple[int, str | None]] = {}
        self._idle_at: dict[str, str] = {}
        self._tied = 0
        self._wanted = 0.0
        self._at = 0.0

    def advance(self, at: float) -> None:
        """Time has passed: what was until now is counted."""
        passed = at - self._at
        if passed <= 0.0:
            return
        self._at = at
        held, out = self.held, self._outcome.held_s
        for kind in KINDS:
            out[kind] += held[kind] * passed
        self._outcome.idle_wanted_s += self._wanted * passed
        self._outcome.capacity_s += self.capacity * passed

    def holds(self, session_id: str, kind: str | None, amount: float, memory_bytes: int, place: str = "") -> None:
        """What a session does with a part of a device, in a share of this memory; None: it holds nothing.

        Parameters
        ----------
        place : str
            The share, for those who can go on there and nowhere else.
        """
        before = self._rows.get(session_id)
        if before is not None:
            if before[0] == kind and before[1] == amount and before[3] == place:
                return
            self.held[before[0]] -= before[1]
            if before[0] == "idle":
                self._idle[before[2]] -= 1
                self._idle_at.pop(before[3], None)
        if kind is None:
            self._rows.pop(session_id, None)
        else:
            size = min(bisect_left(_SIZES, memory_bytes), len(_SIZES) - 1)
            self._rows[session_id] = (kind, amount, size, place)
            self.held[kind] += amount
            if kind == "idle":
                self._idle[size] += 1
                self._idle_at[place] = session_id
        self._match()

    def waits(self, session_id: str, memory_bytes: int | None, tied: str | None = None) -> None:
        """A session waits for a share with at least so much memory, or for one certain share; None: not any more."""
        before = self._waits.pop(session_id, None)
        if before is None and memory_bytes is None:
            return
        if before is not None:
            self._count(before, -1)
        if memory_bytes is not None:
            row = self._waits[session_id] = (min(bisect_left(_SIZES, memory_bytes), len(_SIZES) - 1), tied)
            self._count(row, 1)
        self._match()

    def _count(self, row: tuple[int, str | None], by: int) -> None:
        if row[1] is None:
            self._waiting[row[0]] += by
        else:
            self._tied += by

    def check(self) -> None:
        """What is held, by kind, is what sessions hold, and no more than there is."""
        for kind in KINDS:
            total = math.fsum(amount for one, amount, _, _ in self._rows.values() if one == kind)
            assert abs(total - self.held[kind]) < 1e-6, f"{kind} is counted wrongly"  # noqa: S101 - an invariant
        assert sum(self.held.values()) <= self.capacity + 1e-6, "more is held than there is"  # noqa: S101

    def _match(self) -> None:
        """So much of what lies idle could be used by those who wait: the largest wants first."""
        if not self._waits:
            self._wanted = 0.0
            return
        idle = list(self._idle)
        wanted = 0.0
        if self._tied:
            places = {tied for _, tied in self._waits.values() if tied is not None}
            for session_id in {self._idle_at[p] for p in places if p in self._idle_at}:
                _, amount, size, _ = self._rows[session_id]
                idle[size] -= 1
                wanted += amount
        for size in range(len(_SIZES) - 1, -1, -1):
            count = self._waiting[size]
            for fit in range(size, len(_SIZES)):
                if not count:
                    break
                taken = min(count, idle[fit])
                idle[fit] -= taken
                count -= taken
                wanted += taken * _PARTS[fit]
        self._wanted = wanted


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that so many are not above; 0 of nothing."""
    if not values:
        return 0.0
    return sorted(values)[min(len(values) - 1, max(0, math.ceil(part * len(values)) - 1))]


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness: 1 when all are equal, 1/n when one has everything."""
    square = math.fsum(v * v for v in values)
    return math.fsum(values) ** 2 / (len(values) * square) if square else 1.0
