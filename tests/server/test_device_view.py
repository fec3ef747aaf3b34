"""What the driver tells `Checkpointer` in a running server: a reading of its own, and nothing taken for nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from swangpu.domain.telemetry import DeviceInfo, DriverStatus, MigInfo, ProcessUse, Sample
from swangpu.kernels.checkpoint import DeviceReading, Held
from swangpu.kernels.checkpoint_machine import DeviceFacts
from swangpu.runtime.clock import SystemClock
from swangpu.server.suspending import SampledView, make_suspender
from swangpu.telemetry.sampler import Sampler

GB = 10**9
T4, A100 = DeviceInfo("GPU-0", 0, "Tesla T4", 16 * GB), DeviceInfo("GPU-1", 1, "NVIDIA A100", 40 * GB)


class Driver:
    """Says what it is told to say, and counts."""

    simulated = False

    def __init__(self) -> None:
        self.status = DriverStatus("ok", driver_version="580.65.06")
        self.infos: list[DeviceInfo] = [T4, A100]
        self.uses: dict[str, tuple[ProcessUse, ...] | None] = {"GPU-0": (ProcessUse(7, 3 * GB),), "GPU-1": ()}
        self.used: dict[str, int | None] = {"GPU-0": 4 * GB, "GPU-1": 0}
        self.readings = 0

    def open(self) -> DriverStatus:
        return self.status

    def devices(self) -> Sequence[DeviceInfo]:
        return self.infos

    def sample(self, uuid: str) -> Sequence[Sample]:
        self.readings += uuid == "GPU-0"
        return [Sample(uuid, 0.0, memory_used_bytes=self.used[uuid], processes=self.uses[uuid])]

    def close(self) -> None:
        pass


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def sampler(driver: Driver) -> Iterator[Sampler]:
    one = Sampler(driver, SystemClock())
    yield one
    one.close()


@pytest.fixture
def view(sampler: Sampler) -> SampledView:
    return SampledView(lambda: sampler)


def test_devices_as_they_are_now(view: SampledView, driver: Driver) -> None:
    t4, a100 = DeviceFacts("GPU-0", "Tesla T4", False, 4 * GB, 12 * GB), DeviceFacts("GPU-1", "NVIDIA A100", False, 0)
    assert view.read() == DeviceReading("580.65.06", (t4, replace(a100, free_bytes=40 * GB)))
    driver.used["GPU-0"] = 1 * GB
    driver.infos[1] = replace(A100, mig_enabled=True, mig_devices=(MigInfo("MIG-1", "1g.5gb", 5 * GB),))
    now = view.read().devices
    assert now[0].free_bytes == 15 * GB, "not what was read a moment ago"
    assert now[1].mig


def test_what_is_not_told_is_not_known(view: SampledView, driver: Driver) -> None:
    driver.used["GPU-0"] = None
    driver.infos[1] = replace(A100, lost_reason="lost")
    assert view.read().devices == (DeviceFacts("GPU-0", "Tesla T4", False, None, None),)
    driver.status = DriverStatus("driver_not_loaded", "The NVIDIA driver is not loaded.")
    assert view.read() == DeviceReading()
    assert view.held_by([7]) is None


def test_what_processes_hold(view: SampledView, driver: Driver) -> None:
    assert view.held_by([7, 8]) == [Held(7, "GPU-0", 3 * GB)]
    assert view.held_by([8]) == []
    driver.uses["GPU-1"] = (ProcessUse(7, None), ProcessUse(9, GB))
    assert view.held_by([7]) == [Held(7, "GPU-0", 3 * GB), Held(7, "GPU-1", None)]


@pytest.mark.parametrize("hidden", ["not shown", "lost", "gone"])
def test_a_process_that_can_not_be_seen_may_hold_something(view: SampledView, driver: Driver, hidden: str) -> None:
    assert view.held_by([8]) == []
    driver.uses["GPU-1"] = None
    if hidden == "lost":
        driver.infos[1] = replace(A100, lost_reason="lost")
    if hidden == "gone":
        driver.status = DriverStatus("not_answering", "The driver does not answer.")
    assert view.held_by([8]) is None


def test_nothing_is_read_before_it_is_needed(driver: Driver, sampler: Sampler) -> None:
    suspender = make_suspender(lambda: sampler, "/nowhere/cuda-checkpoint", Path("/nowhere"))
    assert suspender.methods_of(None, {"CUDA_VISIBLE_DEVICES": "GPU-0"}) == ()
    assert driver.readings == 0
