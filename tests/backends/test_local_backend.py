"""What the local pool makes of a reading."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from pathlib import Path

import pytest

from swangpu.backends.local import LocalBackend, LocalPoolConfig, taken_shares
from swangpu.domain.devices import PoolInventory, Share
from swangpu.domain.telemetry import DeviceInfo, DriverStatus, MigInfo, ProcessUse, Sample
from swangpu.errors import Misconfigured
from swangpu.ports import StartSpec
from swangpu.telemetry.sampler import Snapshot

GB = 10**9
T4 = DeviceInfo("GPU-t", 0, "Tesla T4", 16 * GB)
A100 = DeviceInfo(
    "GPU-a",
    1,
    "NVIDIA A100-SXM4-40GB",
    42 * GB,
    True,
    (MigInfo("MIG-1", "1g.5gb", 5 * GB), MigInfo("MIG-2", "1g.5gb", 5 * GB)),
)


class Reading:
    """A sampler that has read this."""

    def __init__(
        self, *devices: DeviceInfo, samples: dict[str, Sample] | None = None, status: DriverStatus | None = None
    ) -> None:
        self.snapshot = Snapshot(
            status or DriverStatus("ok"),
            {d.uuid: d for d in devices},
            samples or {},
            as_of=5.0,
            number=1,
            simulated=True,
        )

    def refresh(self, max_age_s: float = 0.0) -> Future[Snapshot]:
        future: Future[Snapshot] = Future()
        future.set_result(self.snapshot)
        return future


def inventory(reading: Reading, own: tuple[int, ...] = (), **settings: object) -> PoolInventory:
    return asyncio.run(LocalBackend(LocalPoolConfig(**settings), reading, lambda: own).inventory())  # type: ignore[arg-type]


def used(uuid: str, *pids: int) -> Sample:
    return Sample(uuid, 0.0, processes=tuple(ProcessUse(pid, GB) for pid in pids))


def hidden(uuid: str) -> Sample:
    return Sample(uuid, 0.0, missing=(("processes", "not_visible"),))


def test_who_uses_what() -> None:
    samples = {"GPU-t": used("GPU-t", 1), "GPU-a": used("GPU-a", 2), "MIG-1": used("MIG-1", 2), "MIG-2": used("MIG-2")}
    reading = Reading(T4, A100, samples=samples)
    assert inventory(reading).taken == ("GPU-t", "MIG-1")
    assert inventory(reading, own=(1, 2)).taken == ()
    sliced = inventory(reading, own=(2,), slices_per_model={"T4": 2}, whole_too=True)
    assert sliced.taken == ("GPU-t", "GPU-t/time-0of2", "GPU-t/time-1of2")


def test_processes_that_cannot_be_seen_take_whole_devices_and_not_slices() -> None:
    samples = {"GPU-t": hidden("GPU-t"), "MIG-1": hidden("MIG-1"), "MIG-2": Sample("MIG-2", 0.0)}
    reading = Reading(T4, A100, samples=samples)
    assert inventory(reading).taken == ("GPU-t", "MIG-1")
    assert inventory(reading, slices_per_model={"T4": 2}).taken == ("MIG-1",)


def test_daemons_of_cuda_are_nobody() -> None:
    pool = inventory(Reading(T4))
    assert taken_shares(pool.shares, {"GPU-t": used("GPU-t", 77)}, (), lambda pid: pid == 77) == set()


def test_a_lost_device_keeps_its_flavor_and_is_told() -> None:
    lost = DeviceInfo("GPU-x", 2, "NVIDIA L4", 24 * GB, lost_reason="lost")
    pool = inventory(Reading(T4, lost))
    assert [s.id for s in pool.shares] == ["GPU-t"]
    assert pool.lost == ("GPU-x",)
    assert [f.name for f in pool.flavors] == ["l4", "t4"]
    assert pool.reason_text == "GPU 2 does not answer now."
    assert not inventory(Reading(lost)).available


@pytest.mark.parametrize(
    ("reading", "settings", "code"),
    [
        (Reading(), {}, "no_devices"),
        (Reading(DeviceInfo("GPU-e", 0, "NVIDIA A30", 24 * GB, True)), {}, "mig_empty"),
        (Reading(T4), {"devices": ("GPU-t", "7")}, "no_such_device"),
        (Reading(T4), {"devices": ("7",)}, "no_such_device"),
        (Reading(T4, status=DriverStatus("ok", "1 of 2 GPUs may not be used.", "Ask.")), {}, "devices_missing"),
        (Reading(status=DriverStatus("driver_not_loaded", "Not loaded.", "Load it.")), {}, "driver_not_loaded"),
    ],
)
def test_what_is_wrong_is_said(reading: Reading, settings: dict[str, object], code: str) -> None:
    pool = inventory(reading, **settings)
    assert pool.reason_code == code
    assert pool.reason_text
    assert pool.hint
    assert pool.simulated


def test_mps_shares_without_a_daemon_are_not_offered_and_that_is_said(tmp_path: Path) -> None:
    pool = inventory(Reading(T4), slices_per_model={"T4": 4}, slice_kind="mps", mps_pipe_directory=str(tmp_path))
    assert pool.available
    assert [s.id for s in pool.shares] == ["GPU-t"]
    assert pool.reason_code == "mps_not_running"


def test_status_follows_the_device() -> None:
    async def story(reading: Reading) -> str:
        backend = LocalBackend(LocalPoolConfig(), reading)
        share = Share("GPU-t", "local", "t4", "whole", "GPU-t", 16 * GB)  # type: ignore[arg-type]
        spec = StartSpec("s", "u", "t4", (share,), 1, None, 60.0, "kernel")
        checkpoint = [c async for c in backend.start(spec)][-1]
        return (await backend.status({"s": checkpoint}))["s"].state

    assert asyncio.run(story(Reading(T4))) == "running"
    assert asyncio.run(story(Reading(DeviceInfo("GPU-t", 0, "Tesla T4", 1, lost_reason="lost")))) == "unknown"
    assert asyncio.run(story(Reading())) == "unknown"


def test_a_setting_that_makes_no_sense_is_refused_at_once() -> None:
    with pytest.raises(Misconfigured):
        LocalBackend(LocalPoolConfig(slice_kind="pizza"), Reading())
