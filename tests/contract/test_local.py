"""The contract suite for the local pool: on the simulated NVML library, and on a driver that is not NVIDIA's."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from contract.suite import BackendContract, Harness
from nvml.sim import NvmlSim
from swangpu.backends.local import LocalBackend, LocalPoolConfig
from swangpu.domain.telemetry import DeviceInfo, DriverStatus, Sample
from swangpu.telemetry.sampler import Sampler


def test_the_local_pool_on_nvml(nvml: NvmlSim) -> None:
    here = Path(__file__).with_name("on_nvml.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(here)]
    done = subprocess.run(command, env=nvml.env(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


class Clock:
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class PlainDriver:
    """The least that the port asks for."""

    simulated = True

    def __init__(self) -> None:
        self.status = DriverStatus("ok")
        self.lost: str | None = None
        self.delay_s = 0.0

    def open(self) -> DriverStatus:
        time.sleep(self.delay_s)
        return self.status

    def devices(self) -> Sequence[DeviceInfo]:
        return (DeviceInfo("GPU-x", 0, "Tesla T4", 16 * 10**9, lost_reason=self.lost),)

    def sample(self, uuid: str) -> Sequence[Sample]:
        return (Sample(uuid, time.time(), 1.0, processes=()),)

    def close(self) -> None:
        pass


class PlainHarness(Harness):
    def __init__(self) -> None:
        self.driver = PlainDriver()
        self.sampler = Sampler(self.driver, Clock(), list_interval_s=0.0, hang_s=5.0)

    def backend(self) -> LocalBackend:
        return LocalBackend(LocalPoolConfig(slices_per_model={"T4": 2}), self.sampler)

    def vanish(self, session_id: str) -> None:
        self.driver.lost = "lost"
        self.sampler.refresh().result(5)

    def down(self) -> None:
        self.driver.status = DriverStatus("failed", "It is broken.", "Mend it.")

    def up(self) -> None:
        self.driver.status = DriverStatus("ok")
        self.sampler.refresh().result(5)

    def slow(self) -> None:
        self.driver.delay_s = 2.0


class TestLocalOnAnyDriver(BackendContract):
    @pytest.fixture
    def harness(self) -> Iterator[Harness]:
        made = PlainHarness()
        yield made
        made.sampler.close()

    def test_what_is_simulated_says_so(self, harness: PlainHarness) -> None:
        assert asyncio.run(harness.backend().inventory()).simulated
