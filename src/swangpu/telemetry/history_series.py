"""What is known of one subject between two times, down-sampled so that peaks stay. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from .history_block import BLOCK_S, NONE8, NONE16, Block

__all__ = ["Series", "cut", "in_buckets", "pieces"]

_UNKNOWN8, _UNKNOWN16 = b"\xff", b"\xff\xff"


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


@dataclass
class _Columns:
    """The rows of one subject from ``first`` on, one a second, by column."""

    first: int
    small: list[bytes]
    memory: list[tuple[int, array[int]]]
    power: array[int]


def cut(blocks: Mapping[int, Block], start: int, end: int) -> _Columns | None:
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
    for hour, begin, last in pieces(start, end - 1):
        part = blocks.get(hour, _EMPTY).columns(begin, last)
        for parts, narrow in zip(small, part.small, strict=True):
            parts.append(narrow)
        memory.append((part.memory_step_bytes, part.memory))
        power.extend(part.power)
    return _Columns(start, [b"".join(parts) for parts in small], memory, power)


_EMPTY = Block(1 << 20)


def in_buckets(subject: str, width: int, columns: _Columns, missing: Mapping[str, str]) -> Series:
    """At most one bucket for each ``width`` seconds; buckets begin at multiples of it."""
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
    # "not known" is the same byte twice, whichever comes first
    words = b"".join(part.tobytes() for _, part in columns.memory)
    for raw, size in [*((c, 1) for c in columns.small), (words, 2), (columns.power.tobytes(), 2)]:
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
        out.extend(units if ratio == 1 else array("H", (u if u == NONE16 else u // ratio for u in units)))
    return step, out


def _known8(chunk: bytes) -> bytes:
    return chunk.replace(_UNKNOWN8, b"") if NONE8 in chunk else chunk


def _known_words(chunk: array[int]) -> array[int] | list[int]:
    # bytes are searched several times as fast as numbers; what lies across two of them is a false alarm
    if _UNKNOWN16 not in chunk.tobytes():
        return chunk
    return [value for value in chunk if value != NONE16]


def pieces(first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """A run of seconds as (hour, first slot, last slot), hour by hour."""
    while first <= last:
        hour = first // BLOCK_S
        end = min(last, (hour + 1) * BLOCK_S - 1)
        yield hour, first % BLOCK_S, end % BLOCK_S
        first = end + 1
