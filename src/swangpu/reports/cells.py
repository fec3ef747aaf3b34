"""Many series in, one truth for each GPU and step of time out. Pure, and the order of the series does not matter.

A *step* is some minutes long; ``step 7`` of 300 s covers ``(2100, 2400]``. Each series tells how many samples it has in
each step, and their sum. A sample stands for the time until the next one is due (the scrape interval), so that time
without samples is time of which nothing is known: it counts neither as used nor as idle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..telemetry.dcgm import FB_USED, GPU_UTIL, GR_ENGINE, Holder, Subject

__all__ = ["Cell", "Part", "Reading", "merge"]

#: which metric tells how busy it was, the best first
_OF_DEVICE = {GPU_UTIL: 0, GR_ENGINE: 1, FB_USED: 2}
_OF_SLICE = {GR_ENGINE: 0, GPU_UTIL: 1, FB_USED: 2}
#: sums of samples that stand for a scrape interval each are that much off, in scrape intervals
_SLACK = 1.5


class Reading(NamedTuple):
    """One series in some steps.

    Attributes
    ----------
    metric : str
        ``GPU_UTIL``, ``GR_ENGINE`` or ``FB_USED``; the last tells only that the GPU was there.
    interval_s : float
        Between two samples.
    counts : mapping of int to int
        Samples in each step.
    busy : mapping of int to float, or None
        In each step the sum of the samples, each from 0 to 1.
    """

    subject: Subject
    holder: Holder | None
    metric: str
    interval_s: float
    counts: Mapping[int, int]
    busy: Mapping[int, float] | None


class Part(NamedTuple):
    """What one holder had of a GPU in one step.

    Attributes
    ----------
    held_s : float
        For how long. Several holders of a shared GPU have equal parts of the time, which add up to the GPU's.
    present_s : float
        For how long its series was there; on a shared GPU more than ``held_s``.
    busy_s : float or None
        Of ``held_s``; None where nothing tells.
    samples : int
    interval_s : float
        Between two samples.
    """

    held_s: float
    present_s: float
    busy_s: float | None
    samples: int
    interval_s: float


@dataclass(frozen=True)
class Cell:
    """One GPU or MIG instance in one step.

    Attributes
    ----------
    parts : mapping of Holder to Part
    free : Part or None
        When nobody held it.
    shared : bool
        Several pods held it at the same time.
    """

    step: int
    subject: Subject
    parts: Mapping[Holder, Part]
    free: Part | None
    shared: bool

    @property
    def covered_s(self) -> float:
        """Of how much time something is known, in seconds."""
        return sum(p.held_s for p in self.parts.values()) + (self.free.held_s if self.free else 0.0)


class _Raw(NamedTuple):
    # compared from left to right: which of two copies counts
    quality: int
    seconds: float
    busy: float
    samples: int
    interval_s: float


def merge(readings: Iterable[Reading], step_s: float) -> Iterator[Cell]:
    """The cells of these series, by step and then by subject.

    Of copies (the same GPU and pod, scraped twice) the fuller counts, never their sum. Pods at the same time on one GPU
    share its time in equal parts. Of a GPU that is cut into MIG instances only these count.
    """
    grid: dict[int, dict[Subject, dict[Holder | None, _Raw]]] = defaultdict(lambda: defaultdict(dict))
    for reading in readings:
        _lay(grid, reading)
    shared = {
        subject
        for subjects in grid.values()
        for subject, raws in subjects.items()
        if len(raws) > 1 and _overlap(raws, step_s)
    }
    for step in sorted(grid):
        subjects = grid[step]
        cut = {s.device for s in subjects if s.instance is not None}
        for subject in sorted(subjects, key=_order):
            if subject.instance is not None or subject.device not in cut:
                yield _cell(step, subject, subjects[subject], subject in shared, step_s)


def _lay(grid: dict[int, dict[Subject, dict[Holder | None, _Raw]]], reading: Reading) -> None:
    subject, holder, metric, interval_s, counts, busy = reading
    quality = -(_OF_DEVICE if subject.instance is None else _OF_SLICE)[metric]
    for step, samples in counts.items():
        if samples <= 0:
            continue
        value = -1.0
        if busy is not None and step in busy:
            value = min(1.0, max(0.0, busy[step] / samples))
        raw = _Raw(quality if value >= 0 else -9, samples * interval_s, value, samples, interval_s)
        raws = grid[step][subject]
        known = raws.get(holder)
        if known is None or raw > known:
            raws[holder] = raw


def _order(subject: Subject) -> tuple[str, str, str]:
    return subject.device, subject.instance or "", subject.profile or ""


def _overlap(raws: Mapping[Holder | None, _Raw], step_s: float) -> bool:
    """Whether pods were there at the same time: they have more time than there is."""
    pods = [raw for holder, raw in raws.items() if holder is not None]
    return sum(r.seconds for r in pods) > step_s + _SLACK * max((r.interval_s for r in pods), default=0.0)


def _cell(step: int, subject: Subject, raws: Mapping[Holder | None, _Raw], shared: bool, step_s: float) -> Cell:
    pods = {holder: raw for holder, raw in raws.items() if holder is not None}
    present_s = sum(raw.seconds for raw in pods.values())
    together = shared and len(pods) > 1
    taken_s = max(raw.seconds for raw in pods.values()) if together else present_s
    scale = taken_s / present_s if present_s else 1.0
    parts = {holder: _part(raw, raw.seconds * scale) for holder, raw in sorted(pods.items())}
    idle = raws.get(None)
    free = None
    if idle is not None:
        # a copy without pods, from an exporter that does not look for them, is not time in which it was free
        left_s = idle.seconds if not pods else min(idle.seconds, step_s - taken_s)
        free = _part(idle, left_s) if left_s > idle.interval_s / 2 else None
    return Cell(step, subject, parts, free, together)


def _part(raw: _Raw, held_s: float) -> Part:
    return Part(held_s, raw.seconds, held_s * raw.busy if raw.busy >= 0 else None, raw.samples, raw.interval_s)
