"""How many GPUs a scheme needs, on given arrivals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from .bound import run_bound
from .meter import Outcome, quantile
from .schemes import Scheme
from .shared import run_shared
from .site import Site, layout
from .workload import Visit

__all__ = ["Target", "fleet", "meets", "needed", "run_scheme"]


@dataclass(frozen=True)
class Target:
    """What people have to get: 95 of 100 cells, and 95 of 100 sessions, start within so many seconds."""

    cell_p95_s: float = 10.0
    session_p95_s: float = 60.0


def run_scheme(scheme: Scheme, site: Site, visits: Sequence[Visit], days: float, *, seed: int = 0) -> Outcome:
    """So many days of a site under a scheme."""
    run = run_bound if scheme.bound else run_shared
    return run(scheme, site, visits, days, seed=seed)


def fleet(site: Site, count: int, memory_gb: Sequence[tuple[float, float]], scheme: Scheme) -> Site:
    """The site with so many devices, cut as is asked for; those that are shared in turns are not cut."""
    whole = scheme.sharers > 1
    return replace(site, devices={"whole": count} if whole else layout(count, memory_gb))


def meets(outcome: Outcome, target: Target) -> bool:
    """Whether people got what they have to get. Who gave up has waited until then, and counts."""
    return (
        quantile(outcome.session_waits, 0.95) <= target.session_p95_s
        and quantile(outcome.cell_waits, 0.95) <= target.cell_p95_s
    )


def needed(
    run: Callable[[int], Outcome], target: Target, *, start: int, most: int = 1000
) -> tuple[int, dict[int, Outcome]]:
    """The smallest fleet that meets a target, by doubling and bisection from a first guess.

    Parameters
    ----------
    run : callable
        Runs a fleet of a size.

    Returns
    -------
    int, dict
        The size (``most`` where none suffices), and all that was run on the way.
    """
    runs: dict[int, Outcome] = {}

    def good(count: int) -> bool:
        if count not in runs:
            runs[count] = run(count)
        return meets(runs[count], target)

    low, high = 0, max(1, start)
    while not good(high) and high < most:
        low, high = high, min(most, high + _stride(high))
    if low == 0:
        while high > 1:
            down = max(1, high - _stride(high))
            if not good(down):
                low = down
                break
            high = down
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return high, runs


def _stride(count: int) -> int:
    """A first guess is mostly a good one, and a run of a small fleet takes as long as one of a large one."""
    return max(1, count // 12)
