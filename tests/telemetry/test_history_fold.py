"""A series is exactly what a plain loop makes of the rows, whatever was read, lost, forgotten or put back."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from swangpu.telemetry.history import BLOCK_S, History, Series

MIB = 2**20
#: power, idle, highest utilization, memory, SM activity, temperature: each one more than it is, 0 is not known
ROW = struct.Struct("<HBBHBB")
#: of a file: what one unit of memory is comes before the rows
HEAD = 12
START = 100 * BLOCK_S
SUBJECT = "GPU-0"


def rows_of(files: dict[int, bytes]) -> tuple[int, dict[int, tuple[int | None, ...]]]:
    """The memory's step, and what is known of each second, as it is on disk; memory in the largest step of any hour."""
    steps = {hour: int.from_bytes(content[4:HEAD], "little") for hour, content in files.items()}
    step = max(steps.values(), default=MIB)
    rows: dict[int, tuple[int | None, ...]] = {}
    for hour, content in sorted(files.items()):
        for slot, row in enumerate(ROW.iter_unpack(content[HEAD : HEAD + 8 * BLOCK_S])):
            if any(row):
                power, idle, peak, memory, activity, temperature = (value - 1 if value else None for value in row)
                busy = None if idle is None else 200 - idle
                memory = None if memory is None else memory // (step // steps[hour])
                rows[hour * BLOCK_S + slot] = (busy, peak, activity, temperature, memory, power)
    return step, rows


def plainly(files: dict[int, bytes], start: float, end: float, points: int) -> Series:
    """One bucket after the other, one second after the other."""
    width = max(1, math.ceil((end - start) / max(1, points)))
    first, last = math.floor(start), math.ceil(end)
    step, rows = rows_of({h: c for h, c in files.items() if h * BLOCK_S < last and (h + 1) * BLOCK_S > first})
    known = {second: row for second, row in rows.items() if first <= second < last}
    if not known:
        return Series(SUBJECT, float(width))
    buckets: dict[int, list[tuple[int | None, ...]]] = {
        n: [] for n in range(min(known) // width, max(known) // width + 1)
    }
    for second, row in known.items():
        buckets[second // width].append(row)

    def column(place: int, of: Callable[[list[int]], Any]) -> Iterator[Any]:
        for bucket in buckets.values():
            values = [value for row in bucket if (value := row[place]) is not None]
            yield of(values) if values else None

    return Series(
        subject=SUBJECT,
        interval_s=float(width),
        times=tuple(float(n * width) for n in buckets),
        utilization_percent=tuple(column(0, lambda values: sum(values) / len(values) / 2)),
        utilization_percent_min=tuple(column(0, lambda values: min(values) / 2)),
        utilization_percent_max=tuple(column(1, lambda values: max(values) / 2)),
        memory_used_bytes=tuple(column(4, lambda values: round(step * sum(values) / len(values)))),
        memory_used_bytes_max=tuple(column(4, lambda values: step * max(values))),
        power_mw=tuple(column(5, lambda values: round(100 * sum(values) / len(values)))),
        power_mw_max=tuple(column(5, lambda values: 100 * max(values))),
        temperature_c_max=tuple(column(3, max)),
        sm_activity_percent=tuple(column(2, lambda values: sum(values) / len(values) / 2)),
        sm_activity_percent_max=tuple(column(2, lambda values: max(values) / 2)),
    )


class Kept:
    """A history, and what it writes to disk."""

    def __init__(self) -> None:
        self.history, self.at = History(), float(START)
        self.files: dict[int, bytes] = {}

    def save(self) -> None:
        self.files.update({hour: content for _, hour, content in self.history.changed()})
        there = {hour for _, hour in self.history.kept()}
        self.files = {hour: content for hour, content in self.files.items() if hour in there}

    def restart(self) -> None:
        self.save()
        self.history = History()
        for hour, content in self.files.items():
            self.history.restore(SUBJECT, hour, content)

    def check(self, start: float, end: float, points: int) -> None:
        self.save()
        found = replace(self.history.series(SUBJECT, start, end, points), missing={}, reasons=())
        assert found == plainly(self.files, start, end, points)


PERCENT = st.none() | st.sampled_from([0.0, 0.5, 99.5, 100.0]) | st.floats(0, 100)
READINGS = st.fixed_dictionaries(
    {
        "utilization_percent": PERCENT,
        "memory_used_bytes": st.none() | st.sampled_from([0, 65534 * MIB, 65535 * MIB, 2**42]) | st.integers(0, 2**37),
        "utilization_percent_max": PERCENT,
        "power_mw": st.none() | st.sampled_from([0, 6_553_400, 10_000_000]) | st.integers(0, 1_000_000),
        "temperature_c": st.none() | st.integers(0, 300),
        "sm_activity_percent": PERCENT,
    }
)
#: how far the clock goes on: within a second, over gaps, over hours, and back where it was set
STEPS = st.floats(0.1, 30) | st.floats(30, 2 * BLOCK_S) | st.floats(-2 * BLOCK_S, -60) | st.floats(-50, 0)
CHANGES = st.lists(st.tuples(STEPS, READINGS, st.booleans()), max_size=40)
LOOKS = st.tuples(st.floats(-2 * BLOCK_S, 4 * BLOCK_S), st.floats(0, 6 * BLOCK_S), st.integers(1, 2000))


@given(CHANGES, st.lists(LOOKS, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_series_is_what_a_plain_loop_makes_of_the_rows(
    changes: Sequence[tuple[float, dict[str, Any], bool]], looks: Sequence[tuple[float, float, int]]
) -> None:
    kept = Kept()
    for n, (step, reading, restarts) in enumerate(changes):
        kept.at += step
        kept.history.add(SUBJECT, kept.at, **reading)
        if restarts:
            kept.restart()
        if n % 8 == 0:
            # What is asked for in between changes nothing, and what is written afterwards is seen.
            kept.check(START, kept.at + 1, 100)
    for begin, length, points in looks:
        kept.check(START + begin, START + begin + length, points)


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.9]), st.lists(LOOKS, min_size=3, max_size=6))
@example(1, 0.0, [(0.0, 7200.0, 2000), (1.5, 7199.0, 27), (0.0, 7200.0, 1)])
@settings(max_examples=10, deadline=None)
def test_so_is_that_of_full_hours(seed: int, unknown: float, looks: Sequence[tuple[float, float, int]]) -> None:
    dice = random.Random(seed)

    def maybe(value: Any) -> Any:
        return None if dice.random() < unknown else value

    kept = Kept()
    for second in range(2 * BLOCK_S):
        kept.history.add(
            SUBJECT,
            START + second,
            utilization_percent=maybe(dice.choice([0.0, 100.0, 37.5])),
            memory_used_bytes=maybe(dice.randrange(80 << 30)),
            memory_total_bytes=80 << 30,
            utilization_percent_max=maybe(100.0 * dice.random()),
            power_mw=maybe(dice.randrange(7_000_000)),
            temperature_c=maybe(dice.randrange(260)),
            sm_activity_percent=maybe(dice.choice([0.0, 100.0])),
        )
    for begin, length, points in looks:
        kept.check(START + begin, START + begin + length, points)
