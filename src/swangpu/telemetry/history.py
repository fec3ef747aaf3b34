"""What was read in the last hour, in memory, down-sampled on the way out so that peaks stay.

``History(span_s=3600, step_s=1)``; `History.add` on the sampler's thread, `History.series` on any.
"""

from __future__ import annotations

import math
import threading
from array import array
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["History", "Series"]

_NAN = math.nan
_FIRST_CAPACITY = 64


@dataclass(frozen=True)
class Series:
    """One subject's readings in buckets of equal width: parallel tuples, None where nothing is known.

    Attributes
    ----------
    interval_s : float
        Width of a bucket in seconds; ``times`` are the buckets' beginnings in Unix seconds.
    utilization_percent, memory_used_bytes, power_mw : tuple
        Means.
    utilization_percent_min, utilization_percent_max, memory_used_bytes_min, memory_used_bytes_max : tuple
        What a mean would hide.
    missing : mapping of str to str
        For each field of which the newest reading was None, why.
    """

    subject: str
    interval_s: float
    times: tuple[float, ...] = ()
    utilization_percent: tuple[float | None, ...] = ()
    utilization_percent_min: tuple[float | None, ...] = ()
    utilization_percent_max: tuple[float | None, ...] = ()
    memory_used_bytes: tuple[int | None, ...] = ()
    memory_used_bytes_min: tuple[int | None, ...] = ()
    memory_used_bytes_max: tuple[int | None, ...] = ()
    power_mw: tuple[int | None, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


class _Ring:
    """Four columns of doubles (NaN is "not known"); grows to its capacity, then writes over the oldest."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.columns = tuple(array("d", [_NAN]) * min(capacity, _FIRST_CAPACITY) for _ in range(4))
        self.start = self.count = 0
        self.newest = -math.inf
        self.missing: Mapping[str, str] = {}

    def add(self, row: tuple[float, float, float, float]) -> None:
        room = len(self.columns[0])
        if self.count == room and room < self.capacity:  # not wrapped yet: start is 0
            for column in self.columns:
                column.extend([_NAN] * (min(2 * room, self.capacity) - room))
            room = len(self.columns[0])
        at = (self.start + self.count) % room
        for column, value in zip(self.columns, row, strict=True):
            column[at] = value
        if self.count < room:
            self.count += 1
        else:
            self.start = (self.start + 1) % room
        self.newest = row[0]

    def rows(self, start: float, end: float) -> list[tuple[float, float, float, float]]:
        room = len(self.columns[0])
        times, *rest = self.columns
        out = []
        for i in range(self.count):
            at = (self.start + i) % room
            if start <= times[at] < end:
                out.append((times[at], rest[0][at], rest[1][at], rest[2][at]))
        return out


class History:
    """Readings of devices, MIG devices and sessions, by their id.

    Parameters
    ----------
    span_s : float
        How far back it goes, in seconds, when a reading comes every ``step_s``.
    step_s : float
        The shortest time between readings, in seconds.
    max_subjects : int
        Those that were not written to for the longest time are forgotten first.
    """

    def __init__(self, span_s: float = 3600.0, step_s: float = 1.0, max_subjects: int = 256) -> None:
        self._capacity = max(2, math.ceil(span_s / step_s))
        self._max_subjects = max_subjects
        self._rings: OrderedDict[str, _Ring] = OrderedDict()
        self._lock = threading.Lock()

    def add(
        self,
        subject: str,
        at: float,
        *,
        utilization_percent: float | None,
        memory_used_bytes: int | None,
        power_mw: int | None = None,
        missing: Mapping[str, str] | None = None,
    ) -> None:
        """Keep one reading, unless it is not newer than the last one."""
        with self._lock:
            ring = self._rings.get(subject)
            if ring is None:
                ring = self._rings[subject] = _Ring(self._capacity)
                while len(self._rings) > self._max_subjects:
                    self._rings.popitem(last=False)
            if at <= ring.newest:
                return
            self._rings.move_to_end(subject)
            ring.add((at, _double(utilization_percent), _double(memory_used_bytes), _double(power_mw)))
            ring.missing = missing or {}

    def subjects(self) -> tuple[str, ...]:
        """The ids that something is known of, sorted."""
        with self._lock:
            return tuple(sorted(self._rings))

    def series(self, subject: str, start: float, end: float, points: int = 240) -> Series:
        """The readings from ``start`` to before ``end`` (Unix seconds) in at most ``points`` + 1 buckets.

        Buckets begin at multiples of their width, so that a chart that moves on does not flicker.
        """
        points = max(1, points)
        interval = max((end - start) / points, 1e-3)
        interval = math.ceil(interval) if interval > 0.5 else interval
        with self._lock:
            ring = self._rings.get(subject)
            rows = ring.rows(start, end) if ring is not None else []
            missing = dict(ring.missing) if ring is not None else {}
        if not rows:
            return Series(subject, interval, missing=missing)
        first, last = math.floor(rows[0][0] / interval), math.floor(rows[-1][0] / interval)
        buckets: list[list[tuple[float, float, float, float]]] = [[] for _ in range(last - first + 1)]
        for row in rows:
            buckets[math.floor(row[0] / interval) - first].append(row)
        utilization = [_summary(b, 1) for b in buckets]
        memory = [_summary(b, 2) for b in buckets]
        power = [_summary(b, 3) for b in buckets]
        return Series(
            subject=subject,
            interval_s=interval,
            times=tuple((first + i) * interval for i in range(len(buckets))),
            utilization_percent=tuple(m for m, _, _ in utilization),
            utilization_percent_min=tuple(low for _, low, _ in utilization),
            utilization_percent_max=tuple(high for _, _, high in utilization),
            memory_used_bytes=tuple(_whole(m) for m, _, _ in memory),
            memory_used_bytes_min=tuple(_whole(low) for _, low, _ in memory),
            memory_used_bytes_max=tuple(_whole(high) for _, _, high in memory),
            power_mw=tuple(_whole(m) for m, _, _ in power),
            missing=missing,
        )


def _double(value: float | None) -> float:
    return _NAN if value is None else float(value)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _summary(
    rows: list[tuple[float, float, float, float]], column: int
) -> tuple[float | None, float | None, float | None]:
    """Mean, minimum and maximum of what is known."""
    known = [row[column] for row in rows if not math.isnan(row[column])]
    if not known:
        return None, None, None
    return sum(known) / len(known), min(known), max(known)
