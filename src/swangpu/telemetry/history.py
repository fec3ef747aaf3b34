"""What was read in the last day: a ring of hours, second by second, for each device, MIG device and session.

A day of 8 devices and 8 sessions is 16 subjects x 25 blocks x 28.8 kB = 11.5 MB.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace

from ..domain.telemetry import Sample
from .history_block import BLOCK_S, MOST8, MOST16, NOTHING, Block, memory_step
from .history_reasons import Missing, changes
from .history_series import Series, cut, in_buckets, pieces

__all__ = ["BLOCK_S", "Block", "History", "Series"]

#: how far back a subject is remembered, in blocks beside the present one
KEPT_BLOCKS = 24
#: a reading stands for the time since the one before, if that is not longer ago than this (seconds)
HOLD_S = 25
#: a clock that goes back further than this (seconds) was set, and what lies ahead of it is forgotten
CLOCK_SET_S = 60
#: an idle time and its utilization, as they are kept, add up to this: 200 half percents, and one more for each
_IDLE = 202
#: all blocks together, in bytes: a site of 64 devices keeps a day; a larger one keeps less
MAX_BYTES = 64 * 2**20


class _Subject:
    def __init__(self) -> None:
        self.blocks: dict[int, Block] = {}
        self.newest = -math.inf
        #: the second of the newest reading
        self.slot: int | None = None
        self.missing: Missing = ()


class History:
    """Readings of devices, MIG devices and sessions, by their id. `add` on the sampler's thread, `series` on any.

    Parameters
    ----------
    max_subjects : int
        Those that were not written to for the longest time are forgotten first.
    max_bytes : int
        Of all blocks together; the oldest hours go first.
    hold_s : int
        A reading stands for the time since the one before, if that is not longer ago than this.
    """

    def __init__(self, max_subjects: int = 1024, max_bytes: int = MAX_BYTES, hold_s: int = HOLD_S) -> None:
        self._max_subjects = max_subjects
        self._hold_s = hold_s
        self._max_blocks = max(2, max_bytes // Block.BYTES)
        self._subjects: OrderedDict[str, _Subject] = OrderedDict()
        self._count = 0
        self._made = True
        self._lock = threading.Lock()

    def add(
        self,
        subject: str,
        at: float,
        *,
        utilization_percent: float | None,
        memory_used_bytes: int | None,
        memory_total_bytes: int | None = None,
        utilization_percent_max: float | None = None,
        power_mw: int | None = None,
        temperature_c: int | None = None,
        sm_activity_percent: float | None = None,
        missing: Missing = (),
    ) -> None:
        """Keep one reading. It stands for the time since the one before, unless that is long ago."""
        peak = utilization_percent if utilization_percent_max is None else utilization_percent_max
        used = memory_used_bytes
        with self._lock:
            self._put(
                subject,
                at,
                (_half(utilization_percent), _half(peak), _half(sm_activity_percent), _whole8(temperature_c)),
                used,
                memory_total_bytes,
                power_mw,
                missing,
            )

    def add_all(self, samples: Iterable[Sample]) -> None:
        """Keep a reading of everything."""
        with self._lock:
            for s in samples:
                busy, peak = s.utilization_percent, s.utilization_percent_max
                small = (
                    _half(busy),
                    _half(busy if peak is None else peak),
                    _half(s.sm_activity_percent),
                    _whole8(s.temperature_c),
                )
                self._put(s.uuid, s.taken_at, small, s.memory_used_bytes, s.memory_total_bytes, s.power_mw, s.missing)

    def subjects(self) -> tuple[str, ...]:
        """The ids that something is known of, sorted."""
        with self._lock:
            return tuple(sorted(self._subjects))

    def series(self, subject: str, start: float, end: float, points: int = 240) -> Series:
        """The readings from ``start`` to before ``end`` (Unix seconds) in at most ``points`` + 1 buckets.

        Buckets are whole seconds wide and begin at multiples of their width, so that a chart that moves on does not
        flicker.
        """
        width = max(1, math.ceil((end - start) / max(1, points)))
        with self._lock:
            known = self._subjects.get(subject)
            missing = dict(known.missing) if known is not None else {}
            kept = cut(known.blocks, math.floor(start), math.ceil(end)) if known is not None else None
            hours = sorted(known.blocks.items()) if known is not None else []
            reasons = changes(((hour * BLOCK_S, block.reasons) for hour, block in hours), start, end)
        if kept is None:
            return Series(subject, float(width), missing=missing, reasons=reasons)
        return replace(in_buckets(subject, width, kept, missing), reasons=reasons)

    # -- for a file -------------------------------------------------------------------------------

    def changed(self) -> list[tuple[str, int, bytes]]:
        """Subject, hour and content of every block that was written to since this was last asked."""
        with self._lock:
            out = []
            for name, subject in self._subjects.items():
                for hour, block in subject.blocks.items():
                    if block.dirty:
                        block.dirty = False
                        out.append((name, hour, block.dump()))
            return out

    def kept(self) -> frozenset[tuple[str, int]]:
        """Subject and hour of every block that there is now."""
        with self._lock:
            return frozenset((name, hour) for name, subject in self._subjects.items() for hour in subject.blocks)

    def not_kept(self, subject: str, hour: int) -> None:
        """A block of `changed` could not be written: it is named again the next time."""
        with self._lock:
            known = self._subjects.get(subject)
            if known is not None and hour in known.blocks:
                known.blocks[hour].dirty = True

    def restore(self, subject: str, hour: int, content: bytes) -> None:
        """Put back a block that was kept; what has been read since is not overwritten, and goes on from it."""
        block = Block.load(content)
        if block is None:
            return
        with self._lock:
            known = self._subjects.setdefault(subject, _Subject())
            if hour in known.blocks:
                known.blocks[hour].put_under(block)
            else:
                known.blocks[hour] = block
                self._count += 1
                self._bound(known, max(known.blocks))

    # -- inside, with the lock held ---------------------------------------------------------------

    def _put(
        self,
        subject: str,
        at: float,
        small: tuple[int, int, int, int],
        used: int | None,
        total: int | None,
        power_mw: int | None,
        missing: Missing,
    ) -> None:
        known = self._subjects.get(subject)
        if known is None:
            known = self._subjects[subject] = _Subject()
        self._subjects.move_to_end(subject)
        slot = first = int(at)
        if at < known.newest:
            if known.newest - at < CLOCK_SET_S:
                return
            self._forget_from(known, slot)
        before = known.slot
        if before is not None:
            if slot == before:
                small = self._with_peak(known, slot, small)
            elif slot - before <= self._hold_s:
                first = before + 1
        known.newest, known.slot, known.missing = at, slot, missing
        power = 0 if power_mw is None else 1 + min(MOST16, _steps(power_mw, 100))
        half, peak, activity, temperature = small
        idle = _IDLE - half if half else 0
        hour = slot // BLOCK_S
        # nearly always within one hour
        for each, begin, end in (
            ((hour, first % BLOCK_S, slot % BLOCK_S),) if first // BLOCK_S == hour else pieces(first, slot)
        ):
            block = known.blocks.get(each)
            if block is None:
                block = known.blocks[each] = Block(memory_step(total or used or 0))
                self._count += 1
                self._made = True
            memory = 0
            if used is not None:
                memory = 1 + _steps(used, block.memory_step_bytes)
                if memory > 1 + MOST16:
                    block.make_room(used)
                    memory = 1 + _steps(used, block.memory_step_bytes)
            block.put(begin, end, (power, idle, peak, memory, activity, temperature), missing)
        if self._made:
            self._made = False
            self._bound(known, hour)

    def _with_peak(self, known: _Subject, slot: int, small: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """A second reading within a second does not hide the peak of the first."""
        block = known.blocks.get(slot // BLOCK_S)
        before = block.peak(slot % BLOCK_S) if block is not None else 0
        return small if small[1] >= before else (small[0], before, small[2], small[3])

    def _bound(self, known: _Subject, hour: int) -> None:
        for old in [h for h in known.blocks if h < hour - KEPT_BLOCKS]:
            self._drop(known, old)
        while len(self._subjects) > self._max_subjects:
            _, forgotten = self._subjects.popitem(last=False)
            self._count -= len(forgotten.blocks)
        while self._count > self._max_blocks:
            oldest = min((s for s in self._subjects.values() if s.blocks), key=lambda s: min(s.blocks))
            self._drop(oldest, min(oldest.blocks))

    def _drop(self, known: _Subject, hour: int) -> None:
        del known.blocks[hour]
        self._count -= 1

    def _forget_from(self, known: _Subject, slot: int) -> None:
        """The clock was set back: what lies ahead of it was never."""
        hour = slot // BLOCK_S
        for later in [h for h in known.blocks if h > hour]:
            self._drop(known, later)
        block = known.blocks.get(hour)
        if block is not None:
            block.put(slot % BLOCK_S, BLOCK_S - 1, NOTHING)
            block.reasons.forget_from(slot % BLOCK_S)
        known.newest, known.slot = -math.inf, None


def _half(percent: float | None) -> int:
    """As it is kept: in steps of half a percent, one more than there are."""
    if percent is None:
        return 0
    steps = int(2 * percent + 1.5)
    return steps if 1 <= steps <= 201 else (1 if steps < 1 else 201)


def _whole8(value: int | None) -> int:
    return 0 if value is None else 1 + min(MOST8, max(0, value))


def _steps(value: int, step: int) -> int:
    """In so large steps, rounded."""
    return max(0, (value + step // 2) // step)
