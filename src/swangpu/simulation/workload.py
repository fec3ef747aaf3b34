"""Who comes when, with which cells: everything that people bring along, made from a seed before anything runs.

So all schemes get the same arrivals, down to the length of each cell. The defaults and their sources:

- 16 arrivals an hour, most in the afternoon: SWAN's order of magnitude.
- Cells that compute on a GPU: lognormal, half under 2 min, three quarters under 5 min (NotebookOS, ASPLOS '26).
- Gaps between cells: heavy-tailed, half under 5 min (the same). 70 % of sessions never touch their GPU (the same);
  their cells are short, but a running cell is a running cell.
- How much memory people ask for, and that they use less, how often they close a notebook, how they are spread over
  groups, how long they wait and what can be put aside how: assumptions, and therefore varied in the benchmarks.
"""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TypeVar

__all__ = ["GB", "Cell", "Visit", "Workload", "generate"]

GB = 10**9
T = TypeVar("T")
HOUR_S, DAY_S = 3600.0, 86400.0
#: the standard normal distribution's third quartile
_Q3 = 0.6744897501960817


@dataclass(frozen=True)
class Cell:
    """One cell: how long its author thinks before running it, and how long it runs with a GPU of its own."""

    gap_s: float
    run_s: float


@dataclass(frozen=True)
class Visit:
    """One stay of one person at one notebook.

    Attributes
    ----------
    memory_bytes, used_bytes : int
        What is asked for, and what is really on the device (0: it is never touched).
    closes : bool
        Whether the notebook is closed at the end; else it is left as it is.
    patience_s : float
        Who has no GPU after so long gives up.
    methods : tuple of str
        In which ways its kernel can be put aside, where these are used at all.
    """

    id: str
    at: float
    user: str
    group: str
    memory_bytes: int
    used_bytes: int
    cells: tuple[Cell, ...]
    closes: bool
    patience_s: float
    methods: tuple[str, ...]

    @property
    def touches(self) -> bool:
        """Whether its cells compute on the GPU."""
        return self.used_bytes > 0

    @property
    def work_s(self) -> float:
        """How long its cells run in all, with a GPU of their own."""
        return math.fsum(cell.run_s for cell in self.cells)


@dataclass(frozen=True)
class Workload:
    """Parameters of what people do. Times in seconds, parts from 0 to 1.

    Attributes
    ----------
    night_part : float
        Arrivals at 4 in the night, as a part of those at 16 in the afternoon.
    cells_mean : float
        Cells of a stay on average, geometrically distributed.
    cpu_p50_s, cpu_p75_s : float
        Cells of those who never touch their GPU.
    gap_longest_s : float
        Who stays away longer has left.
    memory_gb : tuple of (float, float)
        Gigabytes and the part of people who ask for them.
    used_part : (float, float)
        Between these parts of what they asked for is really used by those who compute.
    groups : tuple of (str, float)
        Names and parts of the people.
    pareto : float
        The exponent of how often people come: the smaller, the more a few make up.
    heavy_part : float
        The part of all arrivals that one single person makes besides.
    closes_part : float
        Of those who leave, the part that closes the notebook.
    offload_part, carry_part : float
        The part of kernels that can be put aside in place, and that whose variables can be carried to another process.
        A checkpoint can be made of any.
    """

    arrivals_per_hour: float = 16.0
    night_part: float = 0.25
    cells_mean: float = 10.0
    cell_p50_s: float = 120.0
    cell_p75_s: float = 300.0
    cell_longest_s: float = 4 * HOUR_S
    cpu_p50_s: float = 4.0
    cpu_p75_s: float = 15.0
    gap_p50_s: float = 300.0
    gap_p75_s: float = 900.0
    gap_longest_s: float = 8 * HOUR_S
    untouched_part: float = 0.7
    memory_gb: tuple[tuple[float, float], ...] = ((5.0, 0.4), (10.0, 0.3), (20.0, 0.2), (40.0, 0.1))
    used_part: tuple[float, float] = (0.15, 0.9)
    users: int = 120
    pareto: float = 1.2
    heavy_part: float = 0.0
    groups: tuple[tuple[str, float], ...] = (("atlas", 0.35), ("cms", 0.3), ("theory", 0.2), ("it", 0.15))
    closes_part: float = 0.4
    patience_p50_s: float = 1800.0
    offload_part: float = 0.9
    carry_part: float = 0.7

    def scaled(self, name: str, factor: float) -> Workload:
        """The same with one parameter, or one pair of quartiles, multiplied; parts stay below 1."""
        names = [n for n in (name, f"{name}_p50_s", f"{name}_p75_s") if hasattr(self, n)]
        values = {n: getattr(self, n) * factor for n in names}
        values |= {n: min(v, 0.98) for n, v in values.items() if n.endswith("_part")}
        # as many people are a whole number of them
        values |= {n: round(v) for n, v in values.items() if isinstance(getattr(self, n), int)}
        return replace(self, **values)


def generate(workload: Workload, days: float, seed: int) -> tuple[Visit, ...]:
    """All stays of so many days, by the time of their arrival (seconds from midnight of the first day).

    Parameters
    ----------
    workload : Workload
    days : float
    seed : int
        The same visits for the same seed, in any process.
    """
    rng = random.Random(f"visits/{seed}")
    people = _People(workload, seed)
    out: list[Visit] = []
    at = 0.0
    # thinning: arrivals at the highest rate, of which at each hour as many are kept as come then
    highest = workload.arrivals_per_hour * _peak(workload)
    while highest > 0:
        at += rng.expovariate(highest / HOUR_S)
        if at >= days * DAY_S:
            break
        if rng.random() * _peak(workload) <= _curve(workload, at):
            user, group = people.draw(rng)
            out.append(_visit(workload, rng, f"v{len(out)}", at, user, group))
    return tuple(out)


def _visit(w: Workload, rng: random.Random, name: str, at: float, user: str, group: str) -> Visit:
    touches = rng.random() >= w.untouched_part
    memory = _draw(rng, w.memory_gb) * GB
    low, high = w.used_part
    used = memory * (low + (high - low) * rng.random())
    p50, p75 = (w.cell_p50_s, w.cell_p75_s) if touches else (w.cpu_p50_s, w.cpu_p75_s)
    count = 1 + int(math.log(1.0 - rng.random()) / math.log(1.0 - 1.0 / w.cells_mean)) if w.cells_mean > 1 else 1
    cells = []
    for n in range(count):
        gap_s = _lognormal(rng, w.gap_p50_s, w.gap_p75_s)
        # the first cell is what somebody who has just got a GPU came for
        cells.append(
            Cell(
                min(gap_s, 60.0) if n == 0 else min(gap_s, w.gap_longest_s),
                max(0.05, min(_lognormal(rng, p50, p75), w.cell_longest_s)),
            )
        )
    offload, carry = rng.random() < w.offload_part, rng.random() < w.carry_part
    methods = (*(("offload",) if offload else ()), *(("carry",) if carry else ()), "checkpoint")
    return Visit(
        id=name,
        at=at,
        user=user,
        group=group,
        memory_bytes=int(memory),
        used_bytes=int(used) if touches else 0,
        cells=tuple(cells),
        closes=rng.random() < w.closes_part,
        patience_s=_lognormal(rng, w.patience_p50_s, 2 * w.patience_p50_s),
        methods=methods,
    )


class _People:
    """Users with Pareto weights, each in a group."""

    def __init__(self, w: Workload, seed: int) -> None:
        rng = random.Random(f"people/{seed}")
        weights = [rng.paretovariate(w.pareto) for _ in range(max(1, w.users))]
        # nobody comes all the time, but for the one who is asked for
        most = 0.08 * sum(weights)
        self._sums = list(accumulate(min(one, most) for one in weights))
        self._groups = [_draw(rng, w.groups) for _ in weights]
        self._heavy_part = w.heavy_part
        self._heavy_group = w.groups[0][0] if w.groups else ""

    def draw(self, rng: random.Random) -> tuple[str, str]:
        if self._heavy_part and rng.random() < self._heavy_part:
            return "heavy", self._heavy_group
        number = min(bisect(self._sums, rng.random() * self._sums[-1]), len(self._sums) - 1)
        return f"u{number}", self._groups[number]


def _curve(w: Workload, at: float) -> float:
    """Arrivals at this time of the day, 1 on average: a cosine, highest at 16 h."""
    swing = (1.0 - w.night_part) / (1.0 + w.night_part)
    return 1.0 + swing * math.cos(2 * math.pi * (at / DAY_S - 16.0 / 24.0))


def _peak(w: Workload) -> float:
    return 1.0 + (1.0 - w.night_part) / (1.0 + w.night_part)


def _lognormal(rng: random.Random, p50: float, p75: float) -> float:
    """The distribution with this median and third quartile."""
    sigma = math.log(p75 / p50) / _Q3
    return p50 * math.exp(sigma * rng.gauss(0.0, 1.0))


def _draw(rng: random.Random, rows: Sequence[tuple[T, float]]) -> T:
    at = rng.random() * sum(weight for _, weight in rows)
    for value, weight in rows:
        at -= weight
        if at <= 0:
            return value
    return rows[-1][0]
