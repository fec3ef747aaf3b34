"""What is known of one subject between two times, down-sampled so that peaks stay. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .history_block import BLOCK_S, MOST8, ROW_BYTES, UNKNOWN, Block
from .history_fold import Of, fold

__all__ = ["Series", "cut", "in_buckets", "pieces"]

# What a byte means that is kept; the idle time is of a utilization.
_PERCENT: tuple[float | None, ...] = (None, *(half / 2 for half in range(MOST8 + 1)))
_OF_IDLE: tuple[float | None, ...] = (None, *((200 - half) / 2 for half in range(MOST8 + 1)))
_WHOLE: tuple[int | None, ...] = (None, *range(MOST8 + 1))


@dataclass(frozen=True)
class Series:
    """One subject's readings in buckets of equal width: parallel tuples, None where nothing is known.

    Attributes
    ----------
    interval_s : float
        Width of a bucket in seconds; ``times`` are the buckets' beginnings in Unix seconds.
    utilization_percent, memory_used_bytes, power_mw, sm_activity_percent : tuple
        Means.
    utilization_percent_min, utilization_percent_max, memory_used_bytes_max, power_mw_max : tuple
    temperature_c_max, sm_activity_percent_max : tuple
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
    power_mw_max: tuple[int | None, ...] = ()
    temperature_c_max: tuple[int | None, ...] = ()
    sm_activity_percent: tuple[float | None, ...] = ()
    sm_activity_percent_max: tuple[float | None, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[tuple[float, Mapping[str, str]], ...] = ()


@dataclass(frozen=True)
class _Rows:
    """The rows of one subject, one a second from ``first`` to before ``end``, in parts of an hour at most."""

    first: int
    end: int
    memory_step_bytes: int
    parts: list[bytes]


def cut(blocks: Mapping[int, Block], start: int, end: int) -> _Rows | None:
    """What is known from ``start`` to before ``end``, without the unknown seconds before and behind it."""
    hours = sorted(h for h in blocks if h * BLOCK_S < end and (h + 1) * BLOCK_S > start)
    if not hours:
        return None
    start, end = max(start, hours[0] * BLOCK_S), min(end, (hours[-1] + 1) * BLOCK_S)
    if end <= start:
        return None
    step = max(blocks[hour].memory_step_bytes for hour in hours)
    parts = [
        blocks[hour].rows(begin, last, step) if hour in blocks else UNKNOWN * (last - begin + 1)
        for hour, begin, last in pieces(start, end - 1)
    ]
    while parts and not parts[0].strip(UNKNOWN):
        start += len(parts.pop(0)) // ROW_BYTES
    while parts and not parts[-1].strip(UNKNOWN):
        end -= len(parts.pop()) // ROW_BYTES
    if not parts:
        return None
    # A row of which anything is known stays whole.
    before = (len(parts[0]) - len(parts[0].lstrip(UNKNOWN))) // ROW_BYTES
    behind = (len(parts[-1]) - len(parts[-1].rstrip(UNKNOWN))) // ROW_BYTES
    parts[-1] = parts[-1][: len(parts[-1]) - ROW_BYTES * behind]
    parts[0] = parts[0][ROW_BYTES * before :]
    return _Rows(start + before, end - behind, step, parts)


def in_buckets(subject: str, width: int, kept: _Rows, missing: Mapping[str, str]) -> Series:
    """At most one bucket for each ``width`` seconds; buckets begin at multiples of it."""
    of = fold(kept.parts, kept.first % width, width)
    step = kept.memory_step_bytes
    return Series(
        subject=subject,
        interval_s=float(width),
        times=tuple(map(float, range(kept.first - kept.first % width, kept.end, width))),
        utilization_percent=tuple(
            (201 * n - total) / n / 2 if n else None for n, total in zip(of.idle.known, of.idle.total, strict=True)
        ),
        utilization_percent_min=tuple(map(_OF_IDLE.__getitem__, of.idle.high)),
        utilization_percent_max=tuple(map(_PERCENT.__getitem__, of.peak_high)),
        memory_used_bytes=_means(of.memory, step),
        memory_used_bytes_max=_highest(of.memory, step),
        power_mw=_means(of.power, 100),
        power_mw_max=_highest(of.power, 100),
        temperature_c_max=tuple(map(_WHOLE.__getitem__, of.temperature_high)),
        sm_activity_percent=tuple(
            (total - n) / n / 2 if n else None for n, total in zip(of.activity.known, of.activity.total, strict=True)
        ),
        sm_activity_percent_max=tuple(map(_PERCENT.__getitem__, of.activity.high)),
        missing=missing,
    )


def _means(of: Of, step: int) -> tuple[int | None, ...]:
    return tuple(round(step * (total - n) / n) if n else None for n, total in zip(of.known, of.total, strict=True))


def _highest(of: Of, step: int) -> tuple[int | None, ...]:
    return tuple(step * (high - 1) if high else None for high in of.high)


def pieces(first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """A run of seconds as (hour, first slot, last slot), hour by hour."""
    while first <= last:
        hour = first // BLOCK_S
        end = min(last, (hour + 1) * BLOCK_S - 1)
        yield hour, first % BLOCK_S, end % BLOCK_S
        first = end + 1
