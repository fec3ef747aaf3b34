"""A cell's figures: the bounds hold whatever happened within and between readings, and unknown stays unknown."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swangpu.telemetry.profile import Reading, from_series, profile_of, thinned, verdict

T0 = 1_700_000_000.0


def steady(seconds: int, busy_percent: float | None, since: float = T0, **more: int | float | None) -> list[Reading]:
    return [Reading(since + n, since + n + 1, busy_percent, **more) for n in range(seconds)]  # type: ignore[arg-type]


@given(
    busy=st.lists(st.tuples(st.floats(0, 60), st.floats(0.05, 8)), max_size=12),
    steps=st.lists(st.floats(0.2, 3), min_size=1, max_size=40),
    start=st.floats(0, 30),
    wall_s=st.floats(0.5, 40),
    late=st.floats(0, 1),
    lost=st.sets(st.integers(0, 39)),
)
def test_what_really_ran_is_within_the_bounds(
    busy: list[tuple[float, float]],
    steps: list[float],
    start: float,
    wall_s: float,
    late: float,
    lost: set[int],
) -> None:
    """Any load, any times of reading, some readings lost, and a driver that tells everything ``late``."""

    def busy_s(since: float, until: float) -> float:
        edges = sorted({since, until, *(e for b, d in busy for e in (b, b + d) if since < e < until)})
        return sum(y - x for x, y in pairwise(edges) if any(b <= x and y <= b + d for b, d in busy))

    times = [0.0]
    for step in steps:
        times.append(times[-1] + step)
    readings = [
        Reading(a, b, 100.0 * busy_s(a - late, b - late) / (b - a))
        for n, (a, b) in enumerate(pairwise(times))
        if n not in lost
    ]
    end = start + wall_s
    really = 100.0 * busy_s(start, end) / wall_s
    # those of a long cell are added up in twos, and hold no less
    for kept in (readings, thinned(readings), thinned(thinned(readings))):
        found = profile_of(kept, start, end, {})
        if found.busy_percent is None:
            assert found.missing["busy_percent"] in ("too_short", "no_readings")
            continue
        assert found.busy_percent_min is not None
        assert found.busy_percent_max is not None
        assert found.busy_percent_min - 1e-6 <= really <= found.busy_percent_max + 1e-6
        assert 0 <= found.busy_percent_min <= found.busy_percent <= found.busy_percent_max <= 100 + 1e-6
        said = verdict(found)
        if said is not None:
            percent = dict(said.params)["percent"]
            assert isinstance(percent, int)
            assert (100 - really if said.code == "cell_idle" else really) >= percent - 1e-6


@given(st.lists(st.one_of(st.none(), st.floats(0, 100)), min_size=1, max_size=60))
def test_adding_readings_up_in_twos_loses_no_energy_and_no_peak(percents: list[float | None]) -> None:
    readings = [Reading(float(n), n + 1.0, p, 1000 + n, 500.0) for n, p in enumerate(percents)]
    half = thinned(readings)
    assert len(half) == (len(readings) + 1) // 2
    assert sum(r.energy_mj or 0 for r in half) == 500.0 * len(readings)
    assert half[-1].memory_used_bytes == 999 + len(readings)
    apart = [Reading(0.0, 1.0, 5.0), Reading(2.0, 3.0, 7.0)]
    assert thinned(apart) == apart, "what lies between was not read"


def test_a_device_that_did_nothing_is_known_to_have_done_nothing() -> None:
    found = profile_of(steady(20, 0.0), T0 + 2.3, T0 + 12.9, {})
    assert (found.busy_percent, found.busy_percent_max) == (0.0, 0.0)
    said = verdict(found)
    assert said is not None
    assert said.text == "The GPU was idle for at least 100 % of this cell."


def test_full_load_is_certain_but_for_the_edges() -> None:
    found = profile_of(steady(80, 100.0), T0 + 2.5, T0 + 62.5, {})
    assert found.busy_percent == pytest.approx(100.0)
    assert found.busy_percent_min == pytest.approx(100 * 58 / 60)
    said = verdict(found)
    assert said is not None
    assert dict(said.params) == {"percent": 96}


def test_nothing_is_certain_of_what_was_not_read() -> None:
    first_half = steady(10, 0.0)
    found = profile_of(first_half, T0, T0 + 20, {})
    assert found.busy_percent_max == pytest.approx(55.0)
    assert verdict(found) is None
    kept = profile_of(steady(20, 0.0), T0, T0 + 20, {}, exact=False)
    assert kept.busy_percent == 0.0
    assert kept.busy_percent_max is None
    assert verdict(kept) is None


def test_a_cell_shorter_than_a_reading_has_no_share_and_says_so() -> None:
    found = profile_of(steady(5, 40.0, memory_used_bytes=7, energy_mj=9.0), T0 + 1.2, T0 + 1.9, {})
    assert found.busy_percent is None
    assert found.energy_mj is None
    assert found.samples == 0
    assert found.missing == dict.fromkeys(("busy_percent", "memory_peak_bytes", "energy_mj"), "too_short")


def test_what_the_driver_does_not_tell_keeps_its_reason() -> None:
    missing = {"utilization_percent": "not_supported", "power_mw": "shared"}
    found = profile_of(steady(9, None, memory_used_bytes=5_000), T0, T0 + 9, missing)
    assert found.memory_peak_bytes == 5_000
    assert found.missing == {"busy_percent": "not_supported", "energy_mj": "shared"}
    assert found.samples == 9


def test_memory_is_that_of_readings_during_the_cell() -> None:
    readings = [Reading(T0 + n, T0 + n + 1, 0.0, memory_used_bytes=n) for n in range(10)]
    found = profile_of(readings, T0 + 2.5, T0 + 6.5, {})
    assert found.memory_peak_bytes == 5, "the reading at 6 s is of the second before it"


def test_energy_is_power_times_time_and_unknown_where_most_was_not_read() -> None:
    assert profile_of(steady(10, 50.0, energy_mj=70_000.0), T0 + 0.5, T0 + 8.5, {}).energy_mj == 560_000
    few = profile_of(steady(5, 50.0, energy_mj=70_000.0), T0, T0 + 10, {})
    assert few.energy_mj is None
    assert few.missing["energy_mj"] == "few_readings"


def test_a_kept_series_gives_readings() -> None:
    series = {
        "times": [T0, T0 + 2],
        "utilization_percent": [50.0, None],
        "memory_used_bytes_max": [7.0, None],
        "power_mw": [1000.0, None],
    }
    assert from_series(series, 2.0) == [Reading(T0, T0 + 2, 50.0, 7, 2000.0), Reading(T0 + 2, T0 + 4)]
