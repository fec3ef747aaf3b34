"""The local pool on the simulated NVML library. Run by ``test_local.py`` in a process of its own, which loads it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contract.suite import BackendContract, Harness
from nvml.child import Clock, driver, set_state, until
from swangpu.backends.local import LocalBackend, LocalPoolConfig
from swangpu.telemetry.sampler import Sampler

FLEET = """gpus 3
gpu.1.name NVIDIA A100-SXM4-40GB
gpu.1.memory_mib 40960
gpu.1.mig 7 1g.5gb 4864
gpu.2.name NVIDIA L4
gpu.2.memory_mib 23034
"""
CONFIG = LocalPoolConfig(slices_per_model={"T4": 4}, whole_too=True)


class LocalHarness(Harness):
    def __init__(self) -> None:
        set_state(FLEET)
        self.sampler = Sampler(
            driver(), Clock(), look_interval_s=0.05, list_interval_s=0.1, hang_s=0.5, retry_s=(0.1, 0.5)
        )

    def backend(self) -> LocalBackend:
        return LocalBackend(CONFIG, self.sampler)

    def vanish(self, session_id: str) -> None:
        set_state(FLEET + "gpu.0.lost 1\ngpu.1.lost 1\ngpu.2.lost 1\n")
        with self.sampler.watch():
            until(self.sampler, lambda s: all(d.lost_reason for d in s.devices.values()))

    def down(self) -> None:
        set_state(FLEET + "fail * 9\n")

    def up(self) -> None:
        set_state(FLEET)
        with self.sampler.watch():
            until(self.sampler, lambda s: s.status.ok and not any(d.lost_reason for d in s.devices.values()))

    def slow(self) -> None:
        set_state(FLEET + "hang * 2\n")
        self.sampler.refresh()


class TestLocalOnNvml(BackendContract):
    @pytest.fixture
    def harness(self) -> Iterator[Harness]:
        made = LocalHarness()
        yield made
        made.sampler.close()
