"""A day second by second: peaks stay, what is not known stays unknown, memory is bounded, a restart keeps it."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swangpu.telemetry.history import BLOCK_S, HOLD_S, Block, History
from swangpu.telemetry.history_files import HistoryFiles

MIB = 2**20
DAY = 86_400


def test_one_second_at_full_load_shows_in_the_view_of_a_whole_day() -> None:
    history = History()
    start = 11_574 * DAY
    for second in range(DAY):
        history.add(
            "GPU-0",
            float(start + second),
            utilization_percent=100.0 if second == 12_345 else 1.0,
            memory_used_bytes=40_000 * MIB if second == 23_456 else 100 * MIB,
            memory_total_bytes=80_000 * MIB,
            power_mw=412_300 if second == 34_567 else 70_000,
            temperature_c=41,
            sm_activity_percent=97.5 if second == 45_678 else 2.5,
        )
    series = history.series("GPU-0", start, start + DAY, points=300)
    assert len(series.times) == 300
    assert series.interval_s == 288
    assert series.utilization_percent_max[12_345 // 288] == 100.0
    assert [u for u in series.utilization_percent_max if u != 1.0] == [100.0]
    assert series.utilization_percent_min[12_345 // 288] == 1.0
    assert series.memory_used_bytes_max[23_456 // 288] == 40_000 * MIB
    assert series.power_mw_max[34_567 // 288] == 412_300
    assert series.power_mw[34_567 // 288] == round(70_000 + 342_300 / 288)
    assert [p for p in series.power_mw_max if p != 70_000] == [412_300]
    assert series.sm_activity_percent_max[45_678 // 288] == 97.5
    assert [a for a in series.sm_activity_percent_max if a != 2.5] == [97.5]
    assert set(series.temperature_c_max) == {41}


def test_what_is_not_known_is_none_with_its_reason_and_gaps_stay_gaps() -> None:
    history = History()
    for at in (0.0, 1.0, 100.0):
        history.add(
            "MIG-1",
            at,
            utilization_percent=None,
            memory_used_bytes=7 * MIB,
            missing={"utilization_percent": "not_supported"},
        )
    series = history.series("MIG-1", 0, 200, points=200)
    assert len(series.times) == 101
    assert set(series.utilization_percent) == set(series.utilization_percent_max) == {None}
    assert series.memory_used_bytes == (7 * MIB, 7 * MIB, *(None,) * 98, 7 * MIB)
    assert series.missing == {"utilization_percent": "not_supported"}


def test_at_the_slow_pace_a_reading_stands_for_the_time_since_the_one_before() -> None:
    history = History()
    for at, busy in ((0.0, 10.0), (10.2, 50.0), (20.1, 20.0)):
        history.add("x", at, utilization_percent=busy, memory_used_bytes=None)
    assert history.series("x", 0, 30, 30).utilization_percent == (10.0, *(50.0,) * 10, *(20.0,) * 10)


def test_two_readings_in_a_second_do_not_hide_a_peak() -> None:
    history = History()
    for at, busy in ((5.0, 90.0), (5.6, 10.0)):
        history.add("x", at, utilization_percent=busy, memory_used_bytes=None)
    series = history.series("x", 0, 10, 10)
    assert (series.utilization_percent, series.utilization_percent_max) == ((10.0,), (90.0,))


def test_nothing_is_known_of_a_stranger() -> None:
    series = History().series("nobody", 0, 10)
    assert series.times == ()
    assert series.missing == {}


def test_a_clock_that_is_set_back_does_not_stop_it() -> None:
    history = History()
    for at in (*range(7000, 7200), *range(10, 20)):
        history.add("x", float(at), utilization_percent=float(at % 2), memory_used_bytes=None)
    series = history.series("x", 0, 8000, 8000)
    assert (series.times[0], series.times[-1]) == (10.0, 19.0)
    history.add("x", 18.5, utilization_percent=100.0, memory_used_bytes=None)
    assert max(u or 0.0 for u in history.series("x", 0, 8000, 8000).utilization_percent_max) == 1.0


def test_a_day_of_eight_devices_and_eight_sessions_takes_at_most_16_mb() -> None:
    tracemalloc.start()
    history = History()
    for subject in range(16):
        # A reading an hour makes every block.
        for hour in range(40):
            for second in (0, 1799, 3599):
                history.add(
                    f"s{subject}", hour * 3600.0 + second, utilization_percent=1.0, memory_used_bytes=80_000 * MIB
                )
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 16e6
    assert history.series("s3", 0, 40 * 3600, 40).times[0] == 15 * 3600


def test_a_large_site_is_bounded_by_forgetting_the_oldest_hours() -> None:
    history = History(max_subjects=3, max_bytes=5 * 8 * BLOCK_S)
    for hour in range(3):
        for name in "ab":
            history.add(name, hour * 3600.0, utilization_percent=1.0, memory_used_bytes=None)
    assert len([t for name in "ab" for t in history.series(name, 0, 11_000, 11_000).times if t < 1]) == 1
    for name in "cd":
        history.add(name, 7200.0, utilization_percent=1.0, memory_used_bytes=None)
    assert history.subjects() == ("b", "c", "d")


@given(
    st.lists(st.tuples(st.floats(0.1, 40), st.one_of(st.none(), st.integers(0, 100))), max_size=60),
    st.integers(1, 20),
)
def test_down_sampling_loses_no_extreme_and_invents_nothing(steps: list[tuple[float, int | None]], points: int) -> None:
    history, at, known = History(), 0.0, {}
    for step, value in steps:
        last, at = int(at), at + step
        history.add("x", at, utilization_percent=value, memory_used_bytes=None)
        if known and int(at) - last <= HOLD_S:
            # A reading stands for the time since the one before.
            known.update(dict.fromkeys(range(last + 1, int(at)), (value, value)))
        # Of two readings in one second the later counts, and the higher is the peak.
        before = known.get(int(at), (None, None))[1]
        peak = max((v for v in (before, value) if v is not None), default=None)
        known[int(at)] = (value, peak)
    series = history.series("x", 0, at + 1, points)
    highs = [v for v in series.utilization_percent_max if v is not None]
    lows = [v for v in series.utilization_percent_min if v is not None]
    assert max(highs, default=None) == max((p for _, p in known.values() if p is not None), default=None)
    assert min(lows, default=None) == min((v for v, _ in known.values() if v is not None), default=None)
    assert len(series.times) <= points + 1
    for low, mean, high in zip(
        series.utilization_percent_min, series.utilization_percent, series.utilization_percent_max, strict=True
    ):
        assert (low is None) == (mean is None)
        assert low is None or high is None or low <= mean <= high or math.isclose(low, high)


def test_a_restart_keeps_it(tmp_path: Path) -> None:
    now = 100 * 3600.0
    files = HistoryFiles(tmp_path / "history", lambda: now)
    history = History()
    for second in range(7200):
        history.add(
            "GPU-0/odd name", now - 7200 + second, utilization_percent=second % 100, memory_used_bytes=second * MIB
        )
    history.add("old", now - 30 * 3600, utilization_percent=1.0, memory_used_bytes=None)
    files.save(history)
    assert history.changed() == []
    again = History()
    assert HistoryFiles(tmp_path / "history", lambda: now).restore(again) == 2
    wanted = history.series("GPU-0/odd name", now - 7200, now, 7200)
    assert again.series("GPU-0/odd name", now - 7200, now, 7200) == wanted
    assert again.subjects() == ("GPU-0/odd name",)
    assert len(list((tmp_path / "history").glob("*/*"))) == 2


def test_what_was_read_before_the_files_goes_on_from_them(tmp_path: Path) -> None:
    """A kernel that outlived its server has its devices looked at before the history is back."""
    now = 100 * 3600.0 + 1800.0
    files = HistoryFiles(tmp_path / "history", lambda: now)

    def read(history: History, begin: int, end: int) -> None:
        for second in range(begin, end):
            history.add(
                "GPU-0",
                now + second,
                utilization_percent=None if second % 300 > 200 else second % 101,
                memory_used_bytes=(second + 2000) * 4 * MIB,
                # how large it is becomes known later, and then a step of memory is another one
                memory_total_bytes=None if second < 0 else 80 << 30,
                missing={"utilization_percent": "lost"} if second % 300 > 200 else {},
            )

    before, again, all_of_it = History(), History(), History()
    read(before, -1500, -40)
    files.save(before)
    read(again, 20, 25)
    assert files.restore(again) == 1
    read(again, 25, 200)
    read(all_of_it, -1500, -40)
    read(all_of_it, 20, 200)
    found, wanted = (h.series("GPU-0", now - 1800, now + 300, 2100) for h in (again, all_of_it))
    assert found == wanted
    assert len(found.times) == 1700, "from the first reading to the last, with the gap between"
    files.save(again)
    third = History()
    files.restore(third)
    assert third.series("GPU-0", now - 1800, now + 300, 2100).utilization_percent == wanted.utilization_percent


def test_a_damaged_file_or_a_full_disk_costs_the_history_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "history"
    (folder / "GPU-0").mkdir(parents=True)
    (folder / "GPU-0" / "0.hour").write_bytes(b"not one of ours")
    history = History()
    HistoryFiles(folder, lambda: 10.0).restore(history)
    assert history.series("GPU-0", 0, 10).times == ()
    history.add("GPU-1", 5.0, utilization_percent=1.0, memory_used_bytes=None)
    blocked = tmp_path / "file"
    blocked.write_text("")
    for _ in range(2):
        HistoryFiles(blocked, lambda: 10.0).save(history)
        history.add("GPU-1", 6.0, utilization_percent=1.0, memory_used_bytes=None)
    assert "not kept on disk" in caplog.text
    assert history.series("GPU-1", 0, 10).times == (5.0, 6.0)
    # Once there is room again, it is all there.
    HistoryFiles(folder, lambda: 10.0).save(history)
    again = History()
    HistoryFiles(folder, lambda: 10.0).restore(again)
    assert again.series("GPU-1", 0, 10).times == (5.0, 6.0)


def test_only_our_own_old_files_are_removed(tmp_path: Path) -> None:
    device = tmp_path / "GPU-0"
    device.mkdir()
    for name in ("1.hour", "99.hour", ".98.new", "notes.hour", "of mine.new"):
        (device / name).write_bytes(b"")
    HistoryFiles(tmp_path, lambda: 100 * 3600.0).save(History())
    assert {path.name for path in device.iterdir()} == {"99.hour", "notes.hour", "of mine.new"}


def test_what_the_history_has_let_go_of_goes_from_a_bounded_disk_too(tmp_path: Path) -> None:
    now = 100 * 3600.0
    history = History(max_bytes=3 * Block.BYTES)
    files = HistoryFiles(tmp_path, lambda: now, bounded=True)
    for hour in range(6):
        at = now - 3600 * (6 - hour)
        history.add("GPU-0", at, utilization_percent=1.0, memory_used_bytes=None)
        files._removed_at = float("-inf")
        files.save(history)
    assert {path.name for path in tmp_path.glob("*/*")} == {"97.hour", "98.hour", "99.hour"}


def test_a_scrape_stands_for_the_time_since_the_one_before_where_that_is_said() -> None:
    for hold_s, known in ((60, 61), (25, 2)):
        history = History(hold_s=hold_s)
        for at in (1000.0, 1060.0):
            history.add("GPU-0", at, utilization_percent=5.0, memory_used_bytes=None)
        series = history.series("GPU-0", 990, 1070, 80)
        assert sum(value is not None for value in series.utilization_percent) == known


def test_memory_that_becomes_known_later_is_not_cut_off() -> None:
    history = History()
    history.add("session", 1.0, utilization_percent=None, memory_used_bytes=None)
    for second, used in enumerate([10 * MIB, 640 * 1024 * MIB], 2):
        history.add("session", float(second), utilization_percent=None, memory_used_bytes=used)
    low, high = history.series("session", 2, 4, 2).memory_used_bytes
    assert high == 640 * 1024 * MIB
    assert low is not None
    assert abs(low - 10 * MIB) < 16 * MIB


def test_all_of_time_in_one_bucket_is_what_there_is() -> None:
    history = History()
    for at, busy in ((10 * DAY + 5, 50.0), (10 * DAY + 7300, 20.0)):
        history.add("x", at, utilization_percent=busy, memory_used_bytes=None)
    series = history.series("x", 0, 1e12, 1)
    assert (series.times, series.utilization_percent) == ((0.0,), (35.0,))
    assert (series.utilization_percent_min, series.utilization_percent_max) == ((20.0,), (50.0,))


def test_no_time_at_all_is_nothing() -> None:
    history = History()
    history.add("x", 5.0, utilization_percent=1.0, memory_used_bytes=None)
    assert history.series("x", 5, 5).times == ()
    assert history.series("x", 9, 5).times == ()
