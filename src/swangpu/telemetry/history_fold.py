"""What many buckets of rows come to, all buckets at once. Pure.

A day is 86 400 rows, and Python's `sum` and `max` look at each of their numbers. Here the first rows of all buckets lie
side by side in one large integer, so do the second ones, and so on: an addition or a comparison is of all buckets.
Rows are read as they are kept: there is nothing beside them that could be out of date.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .history_block import ROW_BYTES, UNKNOWN

__all__ = ["Folded", "Of", "fold"]

#: rows that are added up side by side at most: so many bytes, or bits, fit into the room that they have
MOST_ROWS = 255

# Where the columns are in a row, from its lowest bit on; see `Block`.
_POWER, _IDLE, _PEAK, _MEMORY, _ACTIVITY, _TEMPERATURE = 0, 16, 24, 32, 48, 56
# Numbers that have room above them, where others were: nothing is carried from one to the next.
_WORDS = 0xFFFF << _POWER | 0xFFFF << _MEMORY
_BYTES = 0xFF << _IDLE | 0xFF << _ACTIVITY
_ABOVE_WORDS = 1 << _POWER + 16 | 1 << _MEMORY + 16
_ABOVE_BYTES = 1 << _IDLE + 8 | 1 << _ACTIVITY + 8
# The highest bit of each column.
_TOPS_OF_WORDS = _ABOVE_WORDS >> 1
_TOPS = _TOPS_OF_WORDS | _ABOVE_BYTES >> 1 | 0x80 << _PEAK | 0x80 << _TEMPERATURE


@dataclass(frozen=True)
class Of:
    """Of one column, a number for each bucket: all as they are kept, one more than they are.

    Attributes
    ----------
    known, total : sequence of int
        How many rows are known, and their sum.
    high : sequence of int
        The highest; 0 where none is known.
    """

    known: Sequence[int]
    total: Sequence[int]
    high: Sequence[int]


@dataclass(frozen=True)
class Folded:
    """Each bucket. The lowest utilization is where the highest idle time is."""

    idle: Of
    activity: Of
    memory: Of
    power: Of
    peak_high: Sequence[int]
    temperature_high: Sequence[int]


def fold(parts: Iterable[bytes], offset: int, width: int) -> Folded:
    """Buckets of ``width`` rows each.

    Parameters
    ----------
    parts : iterable of bytes
        Rows as in a `Block`, one part behind the other.
    offset : int
        How many rows the first bucket has before them, of which nothing is known.
    """
    at_once = width <= MOST_ROWS
    # A day is 700 kB: it is copied no more often than it has to be.
    rows = array("Q", UNKNOWN * offset if at_once else b"")
    for part in parts:
        rows.frombytes(part)
    if at_once:
        rows.frombytes(UNKNOWN * (-len(rows) % width))
        return _folded(rows, width)
    # Some runs of equal length to a bucket: what is wanting in the last of them is not known.
    run = math.ceil(width / math.ceil(width / MOST_ROWS))
    runs, ends = array("Q"), [0]
    for a, b in pairwise([0, *range(width - offset, len(rows), width), len(rows)]):
        runs.extend(rows[a:b])
        runs.frombytes(UNKNOWN * (-(b - a) % run))
        ends.append(len(runs) // run)
    return _joined(_folded(runs, run), list(pairwise(ends)))


def _folded(rows: array[int], width: int) -> Folded:
    count = len(rows) // width
    words, bytes_, above_words, above_bytes, tops_of_words, tops = (
        int.from_bytes(mask.to_bytes(ROW_BYTES, "little") * count, "little")
        for mask in (_WORDS, _BYTES, _ABOVE_WORDS, _ABOVE_BYTES, _TOPS_OF_WORDS, _TOPS)
    )
    below_tops = (1 << 8 * ROW_BYTES * count) - 1 - tops
    known = sum_of_words = sum_of_bytes = high = 0
    for n in range(width):
        row = int.from_bytes(rows[n::width].tobytes(), "little")
        some = row & words
        sum_of_words += some
        few = row & bytes_
        sum_of_bytes += few
        # What is not nought is carried by all ones into the bit above.
        known += ((some + words) & above_words) | ((few + bytes_) & above_bytes)
        # Without their highest bits numbers are subtracted one by one; these decide where they differ.
        differ = high ^ row
        less = (high | tops) - (row & below_tops)
        stays = (less ^ ((less ^ high) & differ)) & tops
        # From one bit to all of the column: a word is two bytes.
        stays |= (stays & tops_of_words) >> 8
        high = row ^ (differ & (stays | (stays - (stays >> 7))))
    size = ROW_BYTES * count
    counts, highs = known.to_bytes(size, "little"), high.to_bytes(size, "little")
    word_sums = struct.unpack(f"<{2 * count}I", sum_of_words.to_bytes(size, "little"))
    byte_sums = struct.unpack(f"<{4 * count}H", sum_of_bytes.to_bytes(size, "little"))
    word_highs = struct.unpack(f"<{4 * count}H", highs)
    return Folded(
        idle=Of(counts[3::8], byte_sums[1::4], highs[2::8]),
        activity=Of(counts[7::8], byte_sums[3::4], highs[6::8]),
        memory=Of(counts[6::8], word_sums[1::2], word_highs[2::4]),
        power=Of(counts[2::8], word_sums[0::2], word_highs[0::4]),
        peak_high=highs[3::8],
        temperature_high=highs[7::8],
    )


def _joined(runs: Folded, spans: Sequence[tuple[int, int]]) -> Folded:
    def each(combine: Callable[[Iterable[int]], int], numbers: Sequence[int]) -> Sequence[int]:
        return [combine(numbers[a:b]) for a, b in spans]

    def of(column: Of) -> Of:
        return Of(each(sum, column.known), each(sum, column.total), each(max, column.high))

    return Folded(
        of(runs.idle),
        of(runs.activity),
        of(runs.memory),
        of(runs.power),
        each(max, runs.peak_high),
        each(max, runs.temperature_high),
    )
