"""Other people, who come and go. A pure function of time: any process sees the same ones."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

__all__ = ["FIRST_PID", "Other", "others_at", "period_of"]

#: larger than any real process id on Linux (4,194,304 at most), so that nobody's process is taken for theirs
FIRST_PID = 5_000_000

#: how long one of them stays at most, in seconds
STAY_S = 900.0


@dataclass(frozen=True)
class Other:
    """Somebody else's process: where it is, how busy, how large."""

    pid: int
    uuid: str
    utilization_percent: float
    memory_bytes: int


def period_of(at: float) -> int:
    """The number of the quarter of an hour in which a time, in Unix seconds, lies."""
    return int(at // STAY_S)


def others_at(seed: str, places: tuple[tuple[str, int], ...], limit: int, at: float) -> tuple[Other, ...]:
    """Who is there at a time.

    Parameters
    ----------
    seed : str
    places : tuple of (str, int)
        UUIDs of the devices and MIG devices that they may use, with their memory in bytes.
    limit : int
        How many of them at most.
    at : float
        Unix seconds.
    """
    period = period_of(at)
    ranked = sorted(places, key=lambda place: _fraction(seed, place[0], period))
    out = []
    for n, (uuid, memory_bytes) in enumerate(ranked[:limit]):
        start = STAY_S * (period + 0.5 * _fraction(seed, uuid, period, 1))
        if at < start:
            continue
        level = 20.0 + 75.0 * _fraction(seed, uuid, period, 2)
        wave = 12.0 * math.sin(at / (7.0 + 10.0 * _fraction(seed, uuid, period, 3)))
        busy = _fraction(seed, uuid, int(at // 40.0), 4) > 0.3
        utilization = min(100.0, max(0.0, level + wave)) if busy else 0.0
        used = int(memory_bytes * (0.2 + 0.6 * _fraction(seed, uuid, period, 5)))
        out.append(Other(FIRST_PID + 1000 * (period % 1000) + n, uuid, utilization, used))
    return tuple(out)


def _fraction(*parts: object) -> float:
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
