"""The figures of the idle report: what is measured, what is estimated, and how far off each can be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .cells import Part

__all__ = ["Figures", "Hold", "Report", "Sums"]

#: 95 % of a normal distribution lie within so many standard deviations
_Z95 = 1.96


@dataclass(frozen=True)
class Figures:
    """GPU-hours: a MIG instance counts as its part of the GPU. ``held_h = used_h + idle_h + unknown_h``.

    Attributes
    ----------
    known_h : float
        Of which something is known, held or free.
    held_h : float or None
        Held by a pod; None where no series names a pod.
    used_h : float or None
        Held, times utilization.
    idle_h : float or None
        Held, and no kernel ran.
    unknown_h : float or None
        Held, and nothing tells how busy.
    shared_h : float or None
        Held by several pods at the same time (time-slicing); which of them computed is not known.
    long_idle_h : float or None
        In idle holds that are long enough to be listed.
    unnamed_h : float
        Used while no series names a pod: work outside of Kubernetes, or an exporter that does not look for pods.
    held_error_h, used_error_h : float
        How far off these can be. Of idle it is that of used.
    """

    known_h: float = 0.0
    held_h: float | None = 0.0
    used_h: float | None = 0.0
    idle_h: float | None = 0.0
    unknown_h: float | None = 0.0
    shared_h: float | None = 0.0
    long_idle_h: float | None = 0.0
    unnamed_h: float = 0.0
    held_error_h: float = 0.0
    used_error_h: float = 0.0

    @property
    def idle_part(self) -> float | None:
        """Idle of what was held and is known, from 0 to 1."""
        if self.idle_h is None or self.used_h is None or self.idle_h + self.used_h <= 0:
            return None
        return self.idle_h / (self.idle_h + self.used_h)


@dataclass
class Sums:
    """GPU-seconds while they are added up."""

    known_s: float = 0.0
    held_s: float = 0.0
    used_s: float = 0.0
    unknown_s: float = 0.0
    shared_s: float = 0.0
    long_idle_s: float = 0.0
    unnamed_s: float = 0.0
    edges_s: float = 0.0
    variance_s2: float = 0.0

    @property
    def idle_s(self) -> float:
        return max(0.0, self.held_s - self.used_s - self.unknown_s)

    def hold(self, part: Part, weight: float, uncertain_s: float, shared: bool) -> None:
        """A holder's part of a step. ``uncertain_s``: how far off its begin or end can be."""
        held_s = part.held_s * weight
        self.known_s += held_s
        self.held_s += held_s
        self.edges_s += uncertain_s
        if shared:
            self.shared_s += held_s
        if part.busy_s is None:
            self.unknown_s += held_s
            return
        self.used_s += part.busy_s * weight
        if part.held_s > 0:
            busy = part.busy_s / part.held_s
            self.variance_s2 += held_s**2 * busy * (1 - busy) / part.samples

    def leave_free(self, part: Part, weight: float) -> None:
        """Time in which nobody held it."""
        self.known_s += part.held_s * weight
        if part.busy_s is not None:
            self.unnamed_s += part.busy_s * weight

    def figures(self, pods_named: bool) -> Figures:
        if not pods_named:
            return Figures(self.known_s / 3600, None, None, None, None, None, None, self.unnamed_s / 3600)
        edges_h = self.edges_s / 3600
        return Figures(
            known_h=self.known_s / 3600,
            held_h=self.held_s / 3600,
            used_h=self.used_s / 3600,
            idle_h=self.idle_s / 3600,
            unknown_h=self.unknown_s / 3600,
            shared_h=self.shared_s / 3600,
            long_idle_h=self.long_idle_s / 3600,
            unnamed_h=self.unnamed_s / 3600,
            held_error_h=edges_h,
            used_error_h=edges_h + _Z95 * math.sqrt(self.variance_s2) / 3600,
        )


@dataclass(frozen=True)
class Hold:
    """A pod held a GPU, and for a long time no kernel ran on it.

    Attributes
    ----------
    begin, end : float
        Unix seconds, each right to one step of the report.
    idle_s : float
        The time between them of which there are samples; ``gap_s`` is the rest.
    idle_gpu_h : float
        The same in GPU-hours; of a shared GPU, this pod's part.
    sharing : int
        How many pods held it at the same time.
    """

    namespace: str
    pod: str
    flavor: str
    device: str
    instance: str | None
    host: str
    begin: float
    end: float
    idle_s: float
    gap_s: float
    idle_gpu_h: float
    sharing: int


@dataclass(frozen=True)
class Report:
    """Everything that is said.

    Attributes
    ----------
    interval_s : tuple of float, or None
        Shortest and longest time between two samples of a GPU.
    covered_part : float
        Of the time between each GPU's first and last sample, the part of which there are samples; ``gap_h`` is the
        rest.
    weights : mapping of str to float
        What part of a GPU a flavor counts as.
    members : mapping of str to int
        How many different GPUs or MIG instances of each flavor were seen.
    hours, days
        By local time: 0 to 23, and ``2026-11-23``.
    """

    start: float
    end: float
    step_s: float
    interval_s: tuple[float, float] | None
    data_begin: float
    data_end: float
    covered_part: float
    gap_h: float
    devices: int
    instances: int
    pods_named: bool
    idle_below_percent: float
    hold_min_s: float
    total: Figures
    flavors: Mapping[str, Figures]
    weights: Mapping[str, float]
    members: Mapping[str, int]
    namespaces: Mapping[str, Figures]
    hours: Mapping[int, Figures]
    days: Mapping[str, Figures]
    holds: tuple[Hold, ...]
