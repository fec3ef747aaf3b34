"""What was read in the last day, second by second, and down-sampled on the way out so that peaks stay.

One row of 8 bytes a second and subject (a device, a MIG device or a session), in blocks of an hour:

====================  ======  ===========================================
column                bytes   step
====================  ======  ===========================================
utilization           1       0.5 %, the mean over the second
utilization, highest  1       0.5 %, the highest of the driver's own samples
SM activity           1       0.5 %
temperature           1       1 °C
memory used           2       a power of two from 1 MiB on, by the size of the subject's memory (2 MiB for 80 GB)
power                 2       0.1 W
====================  ======  ===========================================

The largest value of a column means "not known". Why is kept beside the rows, where it changes. A day of 8 devices and
8 sessions is 16 subjects x 25 blocks x 28.8 kB = 11.5 MB.
"""

from __future__ import annotations

import math
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from .history_reasons import Missing, Reasons, changes

__all__ = ["BLOCK_S", "Block", "History", "Series"]

#: seconds in a block, and how far back a subject is remembered, in blocks beside the present one
BLOCK_S = 3600
KEPT_BLOCKS = 24
#: a reading stands for the time since the one before, if that is not longer ago than this (seconds)
HOLD_S = 25
#: a clock that goes back further than this (seconds) was set, and what lies ahead of it is forgotten
CLOCK_SET_S = 60
#: all blocks together, in bytes: a site of 64 devices keeps a day; a larger one keeps less
MAX_BYTES = 64 * 2**20

_NONE8, _NONE16 = 0xFF, 0xFFFF
_UNKNOWN8 = b"\xff"
_MIB = 1 << 20
#: of files with reasons behind the rows, and of those before, which had none
_MAGIC, _FIRST_MAGIC = b"SGH2", b"SGH1"


@dataclass(frozen=True)
class Series:
    """One subject's readings in buckets of equal width: parallel tuples, None where nothing is known.

    Attributes
    ----------
    interval_s : float
        Width of a bucket in seconds; ``times`` are the buckets' beginnings in Unix seconds.
    utilization_percent, memory_used_bytes, power_mw, sm_activity_percent : tuple
        Means.
    utilization_percent_min, utilization_percent_max, memory_used_bytes_max, temperature_c_max : tuple
        What a mean would hide.
    missing : mapping of str to str
        For each field of which the newest reading was None, why.
    reasons : tuple of (float, mapping of str to str)
        From when on (Unix seconds) which fields were None, and why; until the next.
    """

    subject: str
    interval_s: float
    times: tuple[float, ...] = ()
    utilization_percent: tuple[float | None, ...] = ()
    utilization_percent_min: tuple[float | None, ...] = ()
    utilization_percent_max: tuple[float | None, ...] = ()
    memory_used_bytes: tuple[int | None, ...] = ()
    memory_used_bytes_max: tuple[int | None, ...] = ()
    power_mw: tuple[int | None, ...] = ()
    temperature_c_max: tuple[int | None, ...] = ()
    sm_activity_percent: tuple[float | None, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[tuple[float, Mapping[str, str]], ...] = ()


class Block:
    """An hour of one subject, one slot a second.

    Parameters
    ----------
    memory_step_bytes : int
        What one unit of the memory column is.
    """

    BYTES = 8 * BLOCK_S

    def __init__(self, memory_step_bytes: int) -> None:
        self.memory_step_bytes = memory_step_bytes
        self.bytes_columns = tuple(bytearray(_UNKNOWN8) * BLOCK_S for _ in range(4))
        self.word_columns = tuple(array("H", [_NONE16]) * BLOCK_S for _ in range(2))
        self.reasons = Reasons()
        self.dirty = False

    def put(
        self, first: int, last: int, small: tuple[int, int, int, int], words: tuple[int, int], missing: Missing = ()
    ) -> None:
        """Write one row into the slots from ``first`` to ``last``, both included."""
        self.reasons.put(first, last, missing)
        width = last - first + 1
        for narrow, value in zip(self.bytes_columns, small, strict=True):
            if width == 1:
                narrow[first] = value
            else:
                narrow[first : last + 1] = bytes((value,)) * width
        for wide, value in zip(self.word_columns, words, strict=True):
            if width == 1:
                wide[first] = value
            else:
                wide[first : last + 1] = array("H", [value]) * width
        self.dirty = True

    def make_room(self, memory_bytes: int) -> None:
        """Let the memory column hold so many bytes: the step was too small if the memory was not known at first."""
        while memory_bytes > self.memory_step_bytes * (_NONE16 - 1):
            memory = self.word_columns[0]
            memory[:] = array("H", [u if u == _NONE16 else u // 2 for u in memory])
            self.memory_step_bytes *= 2

    def dump(self) -> bytes:
        """For a file; `load` reads it."""
        head = _MAGIC + self.memory_step_bytes.to_bytes(8, "little")
        rows = b"".join(bytes(c) for c in self.bytes_columns) + b"".join(_little(c) for c in self.word_columns)
        return head + rows + self.reasons.dump()

    @classmethod
    def load(cls, content: bytes) -> Block | None:
        """None when it is not such a file."""
        size = 12 + cls.BYTES
        whole = len(content) == size if content[:4] == _FIRST_MAGIC else content[:4] == _MAGIC and len(content) >= size
        if not whole:
            return None
        block = cls(max(_MIB, int.from_bytes(content[4:12], "little")))
        at = 12
        for narrow in block.bytes_columns:
            narrow[:] = content[at : at + BLOCK_S]
            at += BLOCK_S
        for wide in block.word_columns:
            wide[:] = _from_little(content[at : at + 2 * BLOCK_S])
            at += 2 * BLOCK_S
        block.reasons = Reasons.load(content[size:])
        return block


class _Subject:
    def __init__(self) -> None:
        self.blocks: dict[int, Block] = {}
        self.newest = -math.inf
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
        small = (_half(utilization_percent), _half(peak), _half(sm_activity_percent), _whole8(temperature_c))
        with self._lock:
            known = self._subjects.get(subject)
            if known is None:
                known = self._subjects[subject] = _Subject()
            self._subjects.move_to_end(subject)
            if at < known.newest:
                if known.newest - at < CLOCK_SET_S:
                    return
                self._forget_from(known, int(at))
            slot = int(at)
            first = slot
            if math.isfinite(known.newest) and slot - int(known.newest) <= self._hold_s:
                first = min(slot, int(known.newest) + 1)
            if slot == int(max(known.newest, -1)):
                small = self._with_peak(known, slot, small)
            known.newest, known.missing = at, missing
            for hour, begin, end in _pieces(first, slot):
                block = self._block(known, hour, memory_total_bytes or memory_used_bytes or 0)
                block.make_room(memory_used_bytes or 0)
                words = (_steps(memory_used_bytes, block.memory_step_bytes), _steps(power_mw, 100))
                block.put(begin, end, small, words, missing)
            if self._made:
                self._made = False
                self._bound(known, slot // BLOCK_S)

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
            columns = _cut(known.blocks, math.floor(start), math.ceil(end)) if known is not None else None
            hours = sorted(known.blocks.items()) if known is not None else []
            reasons = changes(((hour * BLOCK_S, block.reasons) for hour, block in hours), start, end)
        if columns is None:
            return Series(subject, float(width), missing=missing, reasons=reasons)
        return replace(_buckets(subject, width, columns, missing), reasons=reasons)

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
        """Put back a block that was kept; what has been read since is not overwritten."""
        block = Block.load(content)
        if block is None:
            return
        with self._lock:
            known = self._subjects.setdefault(subject, _Subject())
            if hour not in known.blocks:
                known.blocks[hour] = block
                self._count += 1
                self._bound(known, max(known.blocks))

    # -- inside, with the lock held ---------------------------------------------------------------

    def _block(self, known: _Subject, hour: int, memory_bytes: int) -> Block:
        block = known.blocks.get(hour)
        if block is None:
            block = known.blocks[hour] = Block(_memory_step(memory_bytes))
            self._count += 1
            self._made = True
        return block

    def _with_peak(self, known: _Subject, slot: int, small: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """A second reading within a second does not hide the peak of the first."""
        block = known.blocks.get(slot // BLOCK_S)
        before = block.bytes_columns[1][slot % BLOCK_S] if block is not None else _NONE8
        if before == _NONE8 or (small[1] != _NONE8 and small[1] > before):
            return small
        return (small[0], before, small[2], small[3])

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
            block.put(slot % BLOCK_S, BLOCK_S - 1, (_NONE8,) * 4, (_NONE16, _NONE16))
            block.reasons.forget_from(slot % BLOCK_S)
        known.newest = -math.inf


@dataclass
class _Columns:
    """The rows of one subject from ``first`` on, one a second, as they are stored."""

    first: int
    small: list[bytes]
    memory: list[tuple[int, array[int]]]
    power: array[int]


def _cut(blocks: Mapping[int, Block], start: int, end: int) -> _Columns | None:
    """What is known from ``start`` to before ``end``, without the unknown seconds before and behind it."""
    hours = sorted(h for h in blocks if h * BLOCK_S < end and (h + 1) * BLOCK_S > start)
    if not hours:
        return None
    start, end = max(start, hours[0] * BLOCK_S), min(end, (hours[-1] + 1) * BLOCK_S)
    if end <= start:
        return None
    small: list[list[bytes]] = [[], [], [], []]
    memory: list[tuple[int, array[int]]] = []
    power = array("H")
    for hour, begin, last in _pieces(start, end - 1):
        block = blocks.get(hour)
        if block is None:
            block = _EMPTY
        for parts, narrow in zip(small, block.bytes_columns, strict=True):
            parts.append(bytes(narrow[begin : last + 1]))
        memory.append((block.memory_step_bytes, block.word_columns[0][begin : last + 1]))
        power.extend(block.word_columns[1][begin : last + 1])
    return _Columns(start, [b"".join(parts) for parts in small], memory, power)


_EMPTY = Block(_MIB)


def _buckets(subject: str, width: int, columns: _Columns, missing: Mapping[str, str]) -> Series:
    step, memory = _one_step(columns.memory)
    known = _known_span(columns)
    if known is None:
        return Series(subject, float(width), missing=missing)
    first = (columns.first + known[0]) // width
    last = (columns.first + known[1]) // width
    edges = [max(0, (first + i) * width - columns.first) for i in range(last - first + 2)]
    spans = list(pairwise(edges))
    utilization, peak, activity, temperature = ([_known8(column[a:b]) for a, b in spans] for column in columns.small)
    used = [_known_words(memory[a:b]) for a, b in spans]
    power = [_known_words(columns.power[a:b]) for a, b in spans]
    return Series(
        subject=subject,
        interval_s=float(width),
        times=tuple(float((first + i) * width) for i in range(len(spans))),
        utilization_percent=tuple(sum(c) / len(c) / 2 if c else None for c in utilization),
        utilization_percent_min=tuple(min(c) / 2 if c else None for c in utilization),
        utilization_percent_max=tuple(max(c) / 2 if c else None for c in peak),
        memory_used_bytes=tuple(round(step * sum(c) / len(c)) if c else None for c in used),
        memory_used_bytes_max=tuple(step * max(c) if c else None for c in used),
        power_mw=tuple(round(100 * sum(c) / len(c)) if c else None for c in power),
        temperature_c_max=tuple(max(c) if c else None for c in temperature),
        sm_activity_percent=tuple(sum(c) / len(c) / 2 if c else None for c in activity),
        missing=missing,
    )


def _known_span(columns: _Columns) -> tuple[int, int] | None:
    """The first and last second of which anything is known."""
    length = len(columns.power)
    begins, ends = [length], [-1]
    words = b"".join(_little(part) for _, part in columns.memory)
    for raw, size in [*((c, 1) for c in columns.small), (words, 2), (_little(columns.power), 2)]:
        left = len(raw) - len(raw.lstrip(_UNKNOWN8))
        right = len(raw.rstrip(_UNKNOWN8))
        if right > left:
            begins.append(left // size)
            ends.append((right - 1) // size)
    return (min(begins), max(ends)) if max(ends) >= 0 else None


def _one_step(parts: list[tuple[int, array[int]]]) -> tuple[int, array[int]]:
    """The memory column in units of one step. Steps differ where a session came by a larger share."""
    step = max(size for size, _ in parts)
    out = array("H")
    for size, units in parts:
        ratio = step // size
        out.extend(units if ratio == 1 else array("H", (u if u == _NONE16 else u // ratio for u in units)))
    return step, out


def _known8(chunk: bytes) -> bytes:
    return chunk.replace(_UNKNOWN8, b"") if _NONE8 in chunk else chunk


def _known_words(chunk: array[int]) -> array[int] | list[int]:
    return [value for value in chunk if value != _NONE16] if _NONE16 in chunk else chunk


def _pieces(first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """A run of seconds as (hour, first slot, last slot), hour by hour."""
    while first <= last:
        hour = first // BLOCK_S
        end = min(last, (hour + 1) * BLOCK_S - 1)
        yield hour, first % BLOCK_S, end % BLOCK_S
        first = end + 1


def _memory_step(memory_bytes: int) -> int:
    step = _MIB
    while memory_bytes > step * (_NONE16 - 1):
        step *= 2
    return step


def _half(percent: float | None) -> int:
    return _NONE8 if percent is None else min(200, max(0, round(2 * percent)))


def _whole8(value: int | None) -> int:
    return _NONE8 if value is None else min(_NONE8 - 1, max(0, value))


def _steps(value: int | None, step: int) -> int:
    return _NONE16 if value is None else min(_NONE16 - 1, max(0, round(value / step)))


def _little(words: array[int]) -> bytes:
    """As bytes, the lower one first, on every machine."""
    if _BIG:
        words = array("H", words)
        words.byteswap()
    return words.tobytes()


def _from_little(content: bytes) -> array[int]:
    words = array("H")
    words.frombytes(content)
    if _BIG:
        words.byteswap()
    return words


_BIG = array("H", [1]).tobytes() == b"\x00\x01"
