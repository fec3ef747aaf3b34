"""The sampler: who looks decides whether the driver is called, and a call that hangs holds up nobody."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from swangpu.domain.telemetry import DeviceInfo, DriverStatus, Sample
from swangpu.telemetry.sampler import Sampler, Snapshot


class Clock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class FakeDriver:
    """Counts its calls, and hangs or raises on demand."""

    simulated = True

    def __init__(self, devices: int = 2) -> None:
        self.infos = [DeviceInfo(f"GPU-{i}", i, "Tesla T4", 16 * 10**9) for i in range(devices)]
        self.calls: Counter[str] = Counter()
        self.threads: set[int] = set()
        self.hang: dict[str, float] = {}
        self.broken: set[str] = set()
        self.status = DriverStatus("ok")

    def _called(self, what: str) -> None:
        self.calls[what] += 1
        self.threads.add(threading.get_ident())
        if what in self.hang:
            time.sleep(self.hang[what])
        if what in self.broken:
            raise RuntimeError(what)

    def open(self) -> DriverStatus:
        self._called("open")
        return self.status

    def devices(self) -> Sequence[DeviceInfo]:
        self._called("devices")
        return tuple(self.infos)

    def sample(self, uuid: str) -> Sequence[Sample]:
        self._called(uuid)
        return (Sample(uuid, time.time(), utilization_percent=50.0, memory_used_bytes=10**9),)

    def close(self) -> None:
        self._called("close")


@pytest.fixture
def made() -> object:
    samplers: list[Sampler] = []

    def make(driver: FakeDriver, **settings: float) -> Sampler:
        quick = {"look_interval_s": 0.02, "session_interval_s": 0.2, "list_interval_s": 0.05, "hang_s": 0.2}
        samplers.append(Sampler(driver, Clock(), retry_s=(0.1, 0.4), **{**quick, **settings}))
        return samplers[-1]

    yield make
    for sampler in samplers:
        sampler.close()


def until(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_nobody_looking_means_no_call_and_no_thread(made: Callable[..., Sampler]) -> None:
    driver = FakeDriver()
    before = threading.active_count()
    sampler = made(driver)
    sampler.subscribe(lambda snapshot: None)
    time.sleep(0.1)
    assert not driver.calls
    assert threading.active_count() == before
    assert not sampler.snapshot.status.ok
    assert sampler.snapshot.status.text


def test_readings_come_while_somebody_looks_and_stop_after(made: Callable[..., Sampler]) -> None:
    driver = FakeDriver()
    sampler = made(driver)
    got: list[Snapshot] = []
    stop = sampler.subscribe(got.append)
    with sampler.watch(), sampler.watch():
        until(lambda: len(got) > 3)
    time.sleep(0.1)
    calls = driver.calls.copy()
    time.sleep(0.2)
    assert driver.calls == calls
    assert len(driver.threads) == 1
    last = got[-1]
    assert last.calls == calls.total() - calls["open"]
    assert last.simulated
    assert last.status.ok
    assert sorted(last.samples) == ["GPU-0", "GPU-1"]
    assert [s.number for s in got] == sorted({s.number for s in got})
    with pytest.raises(TypeError):
        last.samples["x"] = last.samples["GPU-0"]  # type: ignore[index]
    stop()
    stop()


def test_sessions_alone_are_read_at_a_slower_pace(made: Callable[..., Sampler]) -> None:
    driver = FakeDriver()
    sampler = made(driver)
    with sampler.watch("session"):
        until(lambda: sampler.snapshot.number >= 1)
        at = sampler.snapshot.number
        time.sleep(0.1)
        assert sampler.snapshot.number <= at + 1
        with sampler.watch():
            until(lambda: sampler.snapshot.number > at + 3)


def test_closing_a_watch_twice_is_once(made: Callable[..., Sampler]) -> None:
    sampler = made(FakeDriver())
    watch = sampler.watch()
    watch.close()
    watch.close()
    with sampler.watch():
        at = sampler.snapshot.number
        until(lambda: sampler.snapshot.number > at + 2)


def test_refresh_reads_once_and_takes_what_is_fresh(made: Callable[..., Sampler]) -> None:
    driver = FakeDriver()
    sampler = made(driver)
    first = sampler.refresh().result(5)
    assert first.status.ok
    assert driver.calls["GPU-0"] == 1
    assert sampler.refresh(max_age_s=60).result(5) is first
    assert sampler.refresh().result(5).number == 2
    cancelled = sampler.refresh()
    cancelled.cancel()
    assert sampler.refresh().result(5).number >= 3


def test_a_hanging_device_holds_up_nobody_and_comes_back(made: Callable[..., Sampler]) -> None:
    driver = FakeDriver(3)
    sampler = made(driver)
    driver.hang["GPU-1"] = 1.0
    with sampler.watch():
        until(lambda: "GPU-1" in sampler.snapshot.silent_since)
        silent = sampler.snapshot
        assert silent.status.ok
        assert silent.devices["GPU-1"].lost_reason == "not_answering"
        assert dict(silent.samples["GPU-1"].missing)["utilization_percent"] == "not_answering"
        until(lambda: sampler.snapshot.number > silent.number + 5, 0.9)
        assert sampler.snapshot.samples["GPU-2"].utilization_percent == 50.0
        since = silent.silent_since["GPU-1"]
        assert sampler.snapshot.silent_since["GPU-1"] == since
        del driver.hang["GPU-1"]
        until(lambda: not sampler.snapshot.silent_since)
        until(lambda: sampler.snapshot.samples["GPU-1"].utilization_percent == 50.0)
        assert sampler.snapshot.devices["GPU-1"].lost_reason is None


def test_a_device_that_hangs_for_ever_uses_up_few_threads(made: Callable[..., Sampler]) -> None:
    driver = FakeDriver(2)
    sampler = made(driver, hang_s=0.05)
    driver.hang["GPU-0"] = 4.0
    before = threading.active_count()
    with sampler.watch():
        time.sleep(1.5)
        assert threading.active_count() - before <= 2 + 3


def test_a_driver_that_hangs_altogether_answers_refresh_in_time(made: Callable[..., Sampler]) -> None:
    driver = FakeDriver()
    driver.hang["open"] = 1.5
    sampler = made(driver)
    started = time.monotonic()
    found = sampler.refresh().result(5)
    assert time.monotonic() - started < 1.0
    assert found.status.code == "not_answering"
    assert found.status.hint
    del driver.hang["open"]
    with sampler.watch():
        until(lambda: sampler.snapshot.status.ok and len(sampler.snapshot.devices) == 2)


def test_a_round_ends_however_many_devices_hang(made: Callable[..., Sampler]) -> None:
    driver = FakeDriver(16)
    sampler = made(driver)
    sampler.refresh().result(5)
    driver.hang.update({info.uuid: 1.0 for info in driver.infos})
    started = time.monotonic()
    assert len(sampler.refresh().result(5).silent_since) == 16
    assert time.monotonic() - started < 0.9
    driver.hang.clear()
    with sampler.watch():
        until(lambda: not sampler.snapshot.silent_since)


def test_one_that_comes_back_late_does_not_go_on_beside_its_successor(made: Callable[..., Sampler]) -> None:
    driver = FakeDriver()
    sampler = made(driver)

    def conductors() -> int:
        return sum(thread.name == "swangpu-sampler" for thread in threading.enumerate())

    before = conductors()
    with sampler.watch():
        until(lambda: sampler.snapshot.number > 1)
        driver.hang["GPU-0"] = 1.0
        until(lambda: "GPU-0" in sampler.snapshot.silent_since)
        assert conductors() == before + 2
        del driver.hang["GPU-0"]
        until(lambda: conductors() == before + 1)
        until(lambda: not sampler.snapshot.silent_since)
        numbers: list[int] = []
        sampler.subscribe(lambda snapshot: numbers.append(snapshot.number))
        until(lambda: len(numbers) > 10)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_close_does_not_wait_for_a_call_that_hangs(made: Callable[..., Sampler]) -> None:
    driver = FakeDriver()
    sampler = made(driver)
    sampler.refresh().result(5)
    driver.hang["GPU-0"] = 4.0
    asked = sampler.refresh()
    until(lambda: driver.calls["GPU-0"] > 1)
    sampler.close()
    assert "GPU-0" in asked.result(3).devices
    assert not driver.calls["close"]  # it would hang as well


def test_a_device_whose_call_raises_leaves_the_others_alone(
    made: Callable[..., Sampler], caplog: pytest.LogCaptureFixture
) -> None:
    driver = FakeDriver(3)
    driver.broken.add("GPU-1")
    sampler = made(driver)
    with sampler.watch():
        until(lambda: sampler.snapshot.number > 3)
    found = sampler.snapshot
    assert found.devices["GPU-1"].lost_reason == "not_answering"
    assert [found.samples[f"GPU-{i}"].utilization_percent for i in range(3)] == [50.0, None, 50.0]
    assert sum("The sampler failed" in r.message for r in caplog.records if r.levelname == "ERROR") == 1


def test_a_failing_subscriber_or_driver_is_said_once_and_survived(
    made: Callable[..., Sampler], caplog: pytest.LogCaptureFixture
) -> None:
    driver = FakeDriver()
    sampler = made(driver)
    driver.infos = None  # type: ignore[assignment]
    assert sampler.refresh().result(5).number == 0
    assert sampler.refresh().result(5).number == 0
    assert sum("The sampler failed" in r.message for r in caplog.records if r.levelname == "ERROR") == 1
    driver.infos = [DeviceInfo("GPU-9", 9, "Tesla T4", 1)]
    assert "GPU-9" in sampler.refresh().result(5).devices


def test_what_was_read_is_kept(made: Callable[..., Sampler]) -> None:
    sampler = made(FakeDriver())
    with sampler.watch():
        until(lambda: sampler.snapshot.number > 3)
    series = sampler.history.series("GPU-0", time.time() - 60, time.time() + 1)
    assert set(series.utilization_percent) == {50.0}


def test_close_lets_go_of_the_driver_and_answers_who_waits(made: Callable[..., Sampler]) -> None:
    driver = FakeDriver()
    sampler = made(driver)
    sampler.refresh().result(5)
    sampler.close()
    sampler.close()
    assert driver.calls["close"] == 1
    assert sampler.refresh().result(1).number == 1
    untouched = FakeDriver()
    made(untouched).close()
    assert not untouched.calls
