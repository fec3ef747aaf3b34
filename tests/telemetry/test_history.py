from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from swangpu.telemetry.history import History


def test_peaks_stay_when_an_hour_is_drawn_in_sixty_points() -> None:
    history = History()
    for second in range(3600):
        busy = 100.0 if second == 1234 else 1.0
        history.add("GPU-0", float(second), utilization_percent=busy, memory_used_bytes=second)
    series = history.series("GPU-0", 0, 3600, points=60)
    assert series.interval_s == 60
    assert len(series.times) == 60
    assert max(u for u in series.utilization_percent_max if u is not None) == 100.0
    assert series.utilization_percent_max[20] == 100.0
    assert series.utilization_percent_min[20] == 1.0
    assert series.memory_used_bytes_max[-1] == 3599


def test_what_is_not_known_is_none_with_its_reason_and_gaps_stay_gaps() -> None:
    history = History()
    for at in (0.0, 1.0, 5.0):
        history.add(
            "MIG-1", at, utilization_percent=None, memory_used_bytes=7, missing={"utilization_percent": "not_supported"}
        )
    series = history.series("MIG-1", 0, 10, points=10)
    assert series.utilization_percent == (None,) * 6
    assert series.utilization_percent_max == (None,) * 6
    assert series.memory_used_bytes == (7, 7, None, None, None, 7)
    assert series.missing == {"utilization_percent": "not_supported"}


def test_nothing_is_known_of_a_stranger() -> None:
    series = History().series("nobody", 0, 10)
    assert series.times == ()
    assert series.missing == {}


def test_it_is_bounded() -> None:
    history = History(span_s=10, step_s=1, max_subjects=3)
    for at in range(100):
        history.add("a", float(at), utilization_percent=float(at), memory_used_bytes=None)
    assert history.series("a", 0, 1000, points=1000).times == tuple(float(t) for t in range(90, 100))
    for name in "bcd":
        history.add(name, 1.0, utilization_percent=1.0, memory_used_bytes=1)
    assert history.subjects() == ("b", "c", "d")
    history.add("d", 0.5, utilization_percent=9.0, memory_used_bytes=9)
    assert history.series("d", 0, 2).utilization_percent_max == (1.0,)


@given(
    st.lists(st.tuples(st.floats(0.1, 5), st.one_of(st.none(), st.floats(0, 100))), max_size=60),
    st.integers(1, 20),
)
def test_down_sampling_loses_no_extreme_and_invents_nothing(
    steps: list[tuple[float, float | None]], points: int
) -> None:
    history, at, known = History(span_s=1000), 0.0, []
    for step, value in steps:
        at += step
        history.add("x", at, utilization_percent=value, memory_used_bytes=None)
        known += [] if value is None else [value]
    series = history.series("x", 0, at + 1, points)
    highs = [v for v in series.utilization_percent_max if v is not None]
    lows = [v for v in series.utilization_percent_min if v is not None]
    assert (max(highs), min(lows)) == (max(known), min(known)) if known else not highs
    assert len(series.times) <= points + 1
    for low, mean, high in zip(
        series.utilization_percent_min, series.utilization_percent, series.utilization_percent_max, strict=True
    ):
        assert (low is None) == (mean is None) == (high is None)
        assert low is None or low <= mean <= high or math.isclose(low, high)
