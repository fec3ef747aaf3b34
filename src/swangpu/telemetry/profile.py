"""What a cell did on a GPU, from readings that were taken while it ran. Pure: readings in, figures with bounds out.

A reading tells how much of the time since the reading before was busy, not which part of it. So what is known of a
cell is a share and two bounds. Busy time of readings that lie wholly inside of the cell is its own: the lower bound.
Busy time of readings at its edges may be its own, and time without a reading may have been busy: the upper bound.
Drivers sample for themselves, up to a second late (`LAG_S`), and the bounds allow for that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..domain.sessions import Reason

__all__ = ["LAG_S", "MAX_READINGS", "CellProfile", "Reading", "from_series", "profile_of", "thinned", "verdict"]

#: what a driver says at a time may be of so much earlier, in seconds
LAG_S = 1.0
#: readings kept of one cell: an hour, one a second; of a longer cell they are added up in twos
MAX_READINGS = 3600
#: energy is told when readings tell of at least this part of the cell
ENERGY_COVERED = 0.75
#: a verdict is for shares at or beyond these, in percent
IDLE_FROM, BUSY_FROM = 80, 90


@dataclass(frozen=True)
class Reading:
    """What is known of the time from ``since`` to ``until`` (Unix seconds).

    Attributes
    ----------
    busy_percent : float or None
        Percent of that time in which at least one kernel ran.
    memory_used_bytes : int or None
        At ``until``, or the highest of several readings.
    energy_mj : float or None
        Spent in that time, in millijoule.
    """

    since: float
    until: float
    busy_percent: float | None = None
    memory_used_bytes: int | None = None
    energy_mj: float | None = None

    @property
    def length_s(self) -> float:
        return self.until - self.since


@dataclass(frozen=True)
class CellProfile:
    """What is known of a cell; what is not has its reason in ``missing``.

    Attributes
    ----------
    busy_percent, busy_percent_min, busy_percent_max : float or None
        Share of the cell's time in which at least one kernel ran: as measured, and what is certain of it.
    memory_peak_bytes : int or None
        The highest reading of the device's (or slice's) memory during the cell; in between it may have been more.
    energy_mj : int or None
        In millijoule, from the readings of the cell and in proportion at its edges.
    samples : int
        Readings wholly inside of the cell.
    missing : mapping of str to str
        ``too_short`` (for a reading to lie inside), ``no_readings``, ``few_readings``, or the driver's own reason.
    """

    busy_percent: float | None = None
    busy_percent_min: float | None = None
    busy_percent_max: float | None = None
    memory_peak_bytes: int | None = None
    energy_mj: int | None = None
    samples: int = 0
    missing: Mapping[str, str] = field(default_factory=dict)


def profile_of(
    readings: Sequence[Reading],
    start: float,
    end: float,
    missing: Mapping[str, str],
    *,
    exact: bool = True,
    lag_s: float = LAG_S,
) -> CellProfile:
    """Figures of what ran from ``start`` to ``end`` (Unix seconds).

    Parameters
    ----------
    readings : sequence of Reading
        In order, none overlapping another.
    missing : mapping of str to str
        Of a field of `Sample` that the driver does not give, why.
    exact : bool
        Whether each reading tells of its whole time, and of the device. Otherwise there are no bounds: of the history
        it is not known, and what single processes use of a shared device is the driver's estimate.
    lag_s : float
        By how much a driver may be late.
    """
    wall_s = end - start
    whole = [r for r in readings if r.since >= start and r.until <= end]
    why = "no_readings" if wall_s >= 3 * LAG_S else "too_short"
    reasons: dict[str, str] = {}
    low = share = high = None
    if any(r.busy_percent is not None for r in whole):
        low, share, high = _busy(readings, start, end, lag_s)
    else:
        reasons["busy_percent"] = missing.get("utilization_percent", why)
    memory = [r.memory_used_bytes for r in readings if start <= r.until <= end and r.memory_used_bytes is not None]
    if not memory:
        reasons["memory_peak_bytes"] = missing.get("memory_used_bytes", why)
    energy = _energy(readings, start, end) if whole else None
    if energy is None:
        known = any(r.energy_mj is not None for r in whole)
        reasons["energy_mj"] = "few_readings" if known else missing.get("power_mw", why)
    return CellProfile(
        busy_percent=share,
        busy_percent_min=low if exact else None,
        busy_percent_max=high if exact else None,
        memory_peak_bytes=max(memory, default=None),
        energy_mj=energy,
        samples=len(whole),
        missing=reasons,
    )


def _busy(readings: Sequence[Reading], start: float, end: float, lag_s: float) -> tuple[float, float, float]:
    """Lower bound, share and upper bound, in percent."""
    wall_s = end - start
    least = most = measured = covered = described = 0.0
    known = [r for r in readings if r.busy_percent is not None]
    for n, reading in enumerate(known):
        busy_s = (reading.busy_percent or 0.0) / 100.0 * reading.length_s
        overlap_s = _overlap(reading.since, reading.until, start, end)
        covered += overlap_s
        measured += busy_s * overlap_s / reading.length_s if reading.length_s > 0 else 0.0
        most += min(busy_s, _overlap(reading.since - lag_s, reading.until, start, end))
        if reading.since - lag_s >= start and reading.until <= end:
            least += busy_s
        # where no reading follows at once, the last bit of the time may not have been told of yet
        followed = n + 1 < len(known) and known[n + 1].since <= reading.until
        described += _overlap(reading.since, reading.until - (0.0 if followed else lag_s), start, end)
    most = min(wall_s, most + max(0.0, wall_s - described))
    least = min(least, most)
    share_s = min(most, max(least, measured / covered * wall_s)) if covered > 0 else least
    return 100.0 * least / wall_s, 100.0 * share_s / wall_s, 100.0 * most / wall_s


def _energy(readings: Sequence[Reading], start: float, end: float) -> int | None:
    spent = covered = 0.0
    for reading in readings:
        if reading.energy_mj is not None and reading.length_s > 0:
            overlap_s = _overlap(reading.since, reading.until, start, end)
            covered += overlap_s
            spent += reading.energy_mj * overlap_s / reading.length_s
    if covered <= 0 or covered < ENERGY_COVERED * (end - start):
        return None
    return round(spent / covered * (end - start))


def _overlap(since: float, until: float, start: float, end: float) -> float:
    return max(0.0, min(until, end) - max(since, start))


def thinned(readings: Sequence[Reading]) -> list[Reading]:
    """The same in half as many, each the sum of two that follow on each other."""
    out: list[Reading] = []
    for n in range(0, len(readings), 2):
        pair = readings[n : n + 2]
        if len(pair) == 2 and pair[0].until == pair[1].since:
            out.append(_joined(*pair))
        else:
            out += pair
    return out


def _joined(first: Reading, second: Reading) -> Reading:
    length_s = second.until - first.since
    busy = None
    if first.busy_percent is not None and second.busy_percent is not None and length_s > 0:
        busy = (first.busy_percent * first.length_s + second.busy_percent * second.length_s) / length_s
    memory = [m for m in (first.memory_used_bytes, second.memory_used_bytes) if m is not None]
    energy = None
    if first.energy_mj is not None and second.energy_mj is not None:
        energy = first.energy_mj + second.energy_mj
    return Reading(first.since, second.until, busy, max(memory, default=None), energy)


def from_series(series: Mapping[str, Sequence[float | None]], interval_s: float) -> list[Reading]:
    """Readings of a kept series (the fields of `swangpu.wire.History`): each tells of its bucket, more or less."""
    columns: Iterable[tuple[float | None, ...]] = zip(
        series["times"],
        series["utilization_percent"],
        series["memory_used_bytes_max"],
        series["power_mw"],
        strict=True,
    )
    return [
        Reading(
            at,
            at + interval_s,
            busy,
            None if memory is None else int(memory),
            None if power is None else power * interval_s,
        )
        for at, busy, memory, power in columns
        if at is not None
    ]


def verdict(profile: CellProfile) -> Reason | None:
    """A plain sentence where it is certain, whatever happened within and between readings."""
    if profile.busy_percent_max is None or profile.busy_percent_min is None:
        return None
    idle = math.floor(100.0 - profile.busy_percent_max)
    if idle >= IDLE_FROM:
        return Reason("cell_idle", f"The GPU was idle for at least {idle} % of this cell.", (("percent", idle),))
    busy = math.floor(profile.busy_percent_min)
    if busy >= BUSY_FROM:
        return Reason("cell_busy", f"The GPU was busy for at least {busy} % of this cell.", (("percent", busy),))
    return None
