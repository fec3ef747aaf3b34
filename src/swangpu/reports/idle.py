"""GPU-hours held, used and held idle, and who held what idle for how long. Pure: cells in, figures out.

``Tally(step_s, ...)``; `Tally.add` takes the cells in the order of time; `Tally.report` gives the figures.
What it keeps grows with flavors, namespaces and idle holds, not with time.
"""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..backends.flavors import flavor_name
from ..telemetry.dcgm import Holder, Subject, device_part
from .cells import Cell, Part
from .figures import Figures, Hold, Report, Sums

__all__ = ["Tally", "flavor_of"]

#: an idle hold goes on over so much time without samples, which does not count as idle
BRIDGE_S = 1800.0


def flavor_of(subject: Subject) -> str:
    """``a100-40gb/1g.5gb``: as elsewhere in swangpu, from the model's name alone."""
    said = re.search(r"\b(\d+)\s?GB\b", subject.model, re.IGNORECASE)
    name = flavor_name(subject.model, int(said[1]) * 10**9 if said else 10**9)
    if not said:  # how much memory it has is not in the labels
        name = re.sub(r"-\d+gb$", "", name)
    return f"{name}/{subject.profile}" if subject.profile else name


@dataclass
class _Open:
    """An idle hold that may still go on."""

    begin: float
    end: float
    idle_s: float = 0.0
    idle_gpu_s: float = 0.0
    sharing: int = 1


@dataclass
class _Seen:
    """What is remembered of one subject between steps."""

    last: int
    holders: frozenset[Holder] = frozenset()
    open: dict[Holder, _Open] = field(default_factory=dict)


class Tally:
    """Adds cells up.

    Parameters
    ----------
    step_s : float
    idle_below_percent : float
        A step counts to an idle hold when its utilization is below this. (GPU-hours used and idle do not depend on it.)
    hold_min_s : float
        Idle holds shorter than this are not listed.
    clock : callable
        Unix seconds to local time, as `time.localtime`.
    """

    def __init__(
        self,
        step_s: float,
        *,
        idle_below_percent: float = 1.0,
        hold_min_s: float = 3600.0,
        clock: Callable[[float], time.struct_time] = time.localtime,
    ) -> None:
        self.step_s = step_s
        self._idle_below = idle_below_percent / 100
        self._hold_min_s = hold_min_s
        self._clock = clock
        self._total = Sums()
        self._flavors: dict[str, Sums] = defaultdict(Sums)
        self._namespaces: dict[str, Sums] = defaultdict(Sums)
        self._hours: dict[int, Sums] = defaultdict(Sums)
        self._days: dict[str, Sums] = defaultdict(Sums)
        self._members: dict[str, set[Subject]] = defaultdict(set)
        self._seen: dict[Subject, _Seen] = {}
        self._holds: list[Hold] = []
        self._names: dict[Subject, tuple[str, float]] = {}
        self._local: tuple[int, int, str] = (-1, 0, "")
        self._gap_s = 0.0
        self._device_first: dict[str, int] = {}
        self._device_last: dict[str, int] = {}

    def add(self, cells: Iterable[Cell]) -> None:
        """Cells in the order of time, and none of a time that was there before."""
        for cell in cells:
            self._add(cell)

    def _add(self, cell: Cell) -> None:
        subject, step = cell.subject, cell.step
        if subject not in self._names:
            self._names[subject] = flavor_of(subject), device_part(subject.model, subject.profile)
            self._members[self._names[subject][0]].add(subject)
        flavor, weight = self._names[subject]
        seen = self._seen.get(subject)
        if seen is None:
            seen = self._seen[subject] = _Seen(step - 1)
        self._missed(cell)
        hour, day = self._when(step)
        common = (self._total, self._flavors[flavor], self._hours[hour], self._days[day])
        for holder, part in cell.parts.items():
            began = holder not in seen.holders or seen.last != step - 1
            sums = (*common, self._namespaces[holder.namespace])
            uncertain_s = weight * (part.interval_s + (self.step_s if cell.shared else 0.0)) if began else 0.0
            for into in sums:
                into.hold(part, weight, uncertain_s, cell.shared)
            self._follow(cell, seen, holder, part, began, weight)
        if cell.free is not None:
            for into in common:
                into.leave_free(cell.free, weight)
        for holder in seen.open.keys() - cell.parts.keys():
            self._close(subject, holder, seen.open.pop(holder))
        seen.last, seen.holders = step, frozenset(cell.parts)

    def _when(self, step: int) -> tuple[int, str]:
        """Local hour and day of a step's middle."""
        if self._local[0] != step:
            at = self._clock((step + 0.5) * self.step_s)
            self._local = step, at.tm_hour, f"{at.tm_year:04d}-{at.tm_mon:02d}-{at.tm_mday:02d}"
        return self._local[1:]

    def _missed(self, cell: Cell) -> None:
        """Time of which nothing is known, between a device's first and last sample."""
        device, step = cell.subject.device, cell.step
        last = self._device_last.get(device)
        if last == step:
            return
        self._device_last[device] = step
        if last is None:
            self._device_first[device] = step
        else:
            # a step with one sample too many makes up for one with one too few
            self._gap_s += (step - last - 1) * self.step_s + self.step_s - cell.covered_s

    # -- idle holds -------------------------------------------------------------------------------

    def _follow(self, cell: Cell, seen: _Seen, holder: Holder, part: Part, began: bool, weight: float) -> None:
        hold = seen.open.get(holder)
        idle = part.busy_s is not None and part.busy_s < self._idle_below * part.held_s
        start = cell.step * self.step_s
        # a step with one sample too few lies between others that have one too many, or one scrape was missed
        full = part.present_s > self.step_s - 1.01 * part.interval_s
        present_s = self.step_s if full else part.present_s
        if hold is not None:
            gap_s = start - (seen.last + 1) * self.step_s
            if not idle or gap_s > BRIDGE_S:
                self._close(cell.subject, holder, seen.open.pop(holder))
                hold = None
        if not idle:
            return
        if hold is None:
            # it came in the midst of the step
            begin = start + self.step_s - present_s if began else start
            hold = seen.open[holder] = _Open(begin, begin)
        hold.end = max(hold.begin, start) + present_s
        hold.idle_s += part.present_s
        hold.idle_gpu_s += part.held_s * weight
        hold.sharing = max(hold.sharing, len(cell.parts) if cell.shared else 1)

    def _close(self, subject: Subject, holder: Holder, hold: _Open) -> None:
        if hold.idle_s < self._hold_min_s:
            return
        flavor, _ = self._names[subject]
        self._holds.append(
            Hold(
                namespace=holder.namespace,
                pod=holder.pod,
                flavor=flavor,
                device=subject.device,
                instance=subject.instance,
                host=subject.host,
                begin=hold.begin,
                end=hold.end,
                idle_s=hold.idle_s,
                gap_s=max(0.0, hold.end - hold.begin - hold.idle_s),
                idle_gpu_h=hold.idle_gpu_s / 3600,
                sharing=hold.sharing,
            )
        )
        for into in (self._total, self._flavors[flavor], self._namespaces[holder.namespace]):
            into.long_idle_s += hold.idle_gpu_s

    # -- the figures ------------------------------------------------------------------------------

    def report(self, start: float, end: float, interval_s: tuple[float, float] | None = None) -> Report:
        """The figures of what was added; ``start`` and ``end`` are what was asked for, in Unix seconds.

        Nothing can be added after this.
        """
        for subject, seen in self._seen.items():
            for holder, hold in seen.open.items():
                self._close(subject, holder, hold)
            seen.open.clear()
        self._holds.sort(key=lambda h: (-h.idle_s, h.begin, h.namespace, h.pod, h.device, h.instance or ""))
        named = bool(self._namespaces)
        firsts, lasts = self._device_first.values(), self._device_last.values()
        gaps_s = max(0.0, self._gap_s)
        spans_s = sum((last - self._device_first[d] + 1) * self.step_s for d, last in self._device_last.items())
        return Report(
            start=start,
            end=end,
            step_s=self.step_s,
            interval_s=interval_s,
            data_begin=min(firsts) * self.step_s if firsts else math.nan,
            data_end=(max(lasts) + 1) * self.step_s if lasts else math.nan,
            covered_part=1.0 - min(1.0, gaps_s / spans_s) if spans_s else 0.0,
            gap_h=gaps_s / 3600,
            devices=len(self._device_last),
            instances=sum(s.instance is not None for s in self._seen),
            pods_named=named,
            idle_below_percent=self._idle_below * 100,
            hold_min_s=self._hold_min_s,
            total=self._total.figures(named),
            flavors={k: v.figures(named) for k, v in sorted(self._flavors.items())},
            weights=dict(sorted(self._names.values())),
            members={k: len(v) for k, v in sorted(self._members.items())},
            namespaces={k: v.figures(named) for k, v in _by_idle(self._namespaces)},
            hours={hour: self._hours[hour].figures(named) if hour in self._hours else Figures() for hour in range(24)},
            days={k: v.figures(named) for k, v in sorted(self._days.items())},
            holds=tuple(self._holds),
        )


def _by_idle(sums: dict[str, Sums]) -> list[tuple[str, Sums]]:
    return sorted(sums.items(), key=lambda item: (-item[1].idle_s, item[0]))
