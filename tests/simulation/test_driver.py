"""The simulated devices follow what is bound to them, and fail as real ones do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swangpu.domain.telemetry import DriverStatus, Sample
from swangpu.ports import GpuDriver
from swangpu.simulation.driver import CONTEXT_BYTES, SimulatedDriver
from swangpu.simulation.fleet import GB, DeviceSpec, FleetSpec, demo_fleet
from swangpu.simulation.others import FIRST_PID, STAY_S
from swangpu.simulation.processes import read_process
from swangpu.simulation.world import VirtualClock, World

SLICED = DeviceSpec("NVIDIA A100-SXM4-40GB", 40 * GB, (("2g.10gb", 10 * GB),) * 3)
SILENT = DeviceSpec("NVIDIA A100-SXM4-40GB", 40 * GB, (("1g.5gb", 5 * GB),) * 7, utilization=False)
WHOLE = DeviceSpec("Tesla T4", 16 * GB, idle_power_mw=9_000, max_power_mw=70_000)


def alone(*devices: DeviceSpec) -> tuple[World, SimulatedDriver]:
    """A machine that nobody else uses."""
    world = World()
    return world, SimulatedDriver(FleetSpec(devices), world.clock, world.processes.read)


def read(driver: SimulatedDriver, uuid: str) -> dict[str, Sample]:
    return {sample.uuid: sample for sample in driver.sample(uuid)}


def test_it_is_a_driver() -> None:
    driver: GpuDriver = alone(WHOLE)[1]
    assert driver.simulated
    assert driver.open().ok
    driver.close()


def test_names_are_real_looking_and_the_same_every_time() -> None:
    infos = demo_fleet().infos()
    assert infos == demo_fleet().infos()
    units = [i.uuid for i in infos] + [m.uuid for i in infos for m in i.mig_devices]
    assert len(set(units)) == len(units) == 5 + 7 + 3
    for unit in units:
        assert len(unit.split("-", 1)[1]) == 36
    assert replace(demo_fleet(), seed="other").infos() != infos


def test_a_cell_that_computes_moves_the_chart_of_its_share_only() -> None:
    world, driver = alone(SLICED, WHOLE)
    (sliced, whole) = driver.devices()
    mine, theirs, _ = sliced.mig_devices
    world.processes.start(10, rss_bytes=1 * GB)
    driver.bind(10, mine.uuid)
    driver.sample(sliced.uuid)
    world.run(1.0)
    assert read(driver, sliced.uuid)[mine.uuid].utilization_percent == 0.0
    world.processes.change(10, cpu=0.9)
    world.run(1.0)
    samples = read(driver, sliced.uuid)
    assert samples[mine.uuid].utilization_percent == pytest.approx(90.0)
    assert samples[mine.uuid].memory_used_bytes == CONTEXT_BYTES + 1 * GB
    assert samples[theirs.uuid].utilization_percent == 0.0
    assert samples[theirs.uuid].processes == ()
    assert samples[sliced.uuid].utilization_percent == pytest.approx(30.0)
    (process,) = samples[sliced.uuid].processes or ()
    assert (process.pid, process.mig_uuid) == (10, mine.uuid)
    assert read(driver, whole.uuid)[whole.uuid].utilization_percent == 0.0
    world.processes.end(10)
    world.run(1.0)
    assert read(driver, sliced.uuid)[mine.uuid].processes == ()


def test_a_real_process_that_computes_moves_the_chart() -> None:
    clock = VirtualClock()
    driver = SimulatedDriver(FleetSpec((WHOLE,)), clock)
    (device,) = driver.devices()
    # The kernel's parent is bound; it is a child of it that computes.
    busy = "x = bytearray(200_000_000)\nwhile True: pass"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"
    with subprocess.Popen([sys.executable, "-c", program], start_new_session=True) as process:
        try:
            driver.bind(process.pid, device.uuid)
            deadline = time.monotonic() + 20.0
            sample = None
            while time.monotonic() < deadline:
                (sample,) = driver.sample(device.uuid)
                if (sample.utilization_percent or 0.0) > 30.0 and (sample.memory_used_bytes or 0) > 5e8:
                    break
                before = time.monotonic()
                time.sleep(0.3)
                clock.advance(time.monotonic() - before)
            assert sample is not None
            assert (sample.utilization_percent or 0.0) > 30.0
            assert (sample.memory_used_bytes or 0) > CONTEXT_BYTES + 200_000_000
            assert sample.processes is not None
            assert [p.pid for p in sample.processes] == [process.pid]
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    clock.advance(1.0)
    (sample,) = driver.sample(device.uuid)
    assert sample.processes == ()


def test_reading_a_process_that_is_not_there() -> None:
    assert read_process(FIRST_PID) is None


def test_two_readers_at_once_see_the_same_load() -> None:
    world, driver = alone(WHOLE)
    (device,) = driver.devices()
    world.processes.start(10, cpu=0.5)
    driver.bind(10, device.uuid)
    driver.sample(device.uuid)
    world.run(1.0)
    (first,) = driver.sample(device.uuid)
    world.run(0.01)
    (second,) = driver.sample(device.uuid)
    assert first.utilization_percent == second.utilization_percent == pytest.approx(50.0)


def test_a_device_is_never_fuller_than_full() -> None:
    world, driver = alone(WHOLE)
    (device,) = driver.devices()
    for pid in (1, 2, 3):
        world.processes.start(pid, cpu=1.0, rss_bytes=8 * GB)
        driver.bind(pid, device.uuid)
    driver.sample(device.uuid)
    world.run(1.0)
    (sample,) = driver.sample(device.uuid)
    assert sample.utilization_percent == 100.0
    assert sample.memory_used_bytes == 16 * GB
    assert sum(p.memory_bytes or 0 for p in sample.processes or ()) == 16 * GB
    assert sample.power_mw == 70_000


def test_a_process_id_that_is_used_again_is_somebody_else() -> None:
    world, driver = alone(WHOLE)
    (device,) = driver.devices()
    world.processes.start(10, cpu=1.0)
    driver.bind(10, device.uuid)
    driver.sample(device.uuid)
    world.run(1.0)
    world.processes.start(10, cpu=1.0)
    assert driver.sample(device.uuid)[0].processes == ()


def test_energy_is_power_over_time() -> None:
    world, driver = alone(WHOLE)
    (device,) = driver.devices()
    assert driver.sample(device.uuid)[0].energy_mj == 0
    world.run(10.0)
    assert driver.sample(device.uuid)[0].energy_mj == 90_000


def test_what_is_not_given_has_a_reason() -> None:
    world, driver = alone(SILENT, replace(WHOLE, processes_visible=False))
    silent, hidden = driver.devices()
    world.processes.start(10, cpu=1.0)
    driver.bind(10, silent.mig_devices[0].uuid)
    driver.sample(silent.uuid)
    world.run(1.0)
    for sample in [*driver.sample(silent.uuid), *driver.sample(hidden.uuid)]:
        for name in ("utilization_percent", "memory_used_bytes", "power_mw", "temperature_c", "processes"):
            assert (getattr(sample, name) is None) == (name in dict(sample.missing)), name
        assert all(p.sm_percent is None for p in sample.processes or ())
    mig = read(driver, silent.uuid)[silent.mig_devices[0].uuid]
    assert dict(mig.missing)["utilization_percent"] == "not_supported"
    assert [p.pid for p in mig.processes or ()] == [10]
    assert driver.sample("GPU-no-such") == ()


def test_a_device_is_lost_and_comes_back() -> None:
    _, driver = alone(SLICED, WHOLE)
    sliced, whole = driver.devices()
    driver.lose(sliced.uuid)
    assert [d.lost_reason for d in driver.devices()] == ["lost", None]
    lost = driver.sample(sliced.uuid)
    assert [s.uuid for s in lost] == [sliced.uuid, *(m.uuid for m in sliced.mig_devices)]
    assert all(s.processes is None and dict(s.missing)["memory_used_bytes"] == "lost" for s in lost)
    assert "lost" not in dict(driver.sample(whole.uuid)[0].missing).values()
    driver.restore(sliced.uuid)
    driver.restore(whole.uuid)
    assert [d.lost_reason for d in driver.devices()] == [None, None]
    assert driver.sample(sliced.uuid)[0].memory_used_bytes == 0


def test_the_whole_driver_fails_and_comes_back() -> None:
    _, driver = alone(WHOLE)
    driver.fail(DriverStatus("driver_not_loaded", "The driver is not loaded."))
    assert not driver.open().ok
    assert driver.devices() == ()
    assert driver.sample(FleetSpec((WHOLE,)).infos()[0].uuid) == ()
    driver.fail(DriverStatus("ok"))
    assert len(driver.devices()) == 1


def strangers(driver: SimulatedDriver) -> dict[str, int]:
    """Unit to the process of somebody else."""
    found = {}
    for device in driver.devices():
        for sample in driver.sample(device.uuid):
            for process in sample.processes or ():
                if process.pid >= FIRST_PID:
                    found[process.mig_uuid or sample.uuid] = process.pid
    return found


def test_others_come_and_go_and_leave_room() -> None:
    world = World()
    driver = SimulatedDriver(demo_fleet(), world.clock, world.processes.read)
    seen: set[frozenset[str]] = set()
    loads: set[float | None] = set()

    def look() -> None:
        there = strangers(driver)
        seen.add(frozenset(there))
        assert len(set(there.values())) == len(there)
        for device in driver.devices():
            units = [m.uuid for m in device.mig_devices] or [device.uuid]
            assert sum(unit not in there for unit in units) >= min(2, len(units))
            loads.update(s.utilization_percent for s in driver.sample(device.uuid))

    world.every(60.0, look)
    world.run(6 * 3600.0)
    assert len(seen) > 20, "nobody comes or goes"
    assert max(map(len, seen)) >= 3
    assert len(loads) > 50, "the charts do not move"


@given(st.integers(0, 40), st.floats(0.0, 900.0))
def test_others_stay_away_from_what_is_ours(periods: int, offset: float) -> None:
    world = World()
    driver = SimulatedDriver(demo_fleet(), world.clock, world.processes.read)
    world.run(periods * STAY_S + offset)
    units = [m.uuid for device in driver.devices() for m in device.mig_devices]
    free = [unit for unit in units if unit not in strangers(driver)]
    world.processes.start(1)
    driver.rebind({1: free[0]}, held=free[1:2])
    for _ in range(40):
        world.run(STAY_S / 10)
        assert not {free[0], free[1]} & set(strangers(driver))
    # Given back: free for all to see, at least until others would come anyway.
    driver.rebind({})
    assert not {free[0], free[1]} & set(strangers(driver))


def test_the_same_time_gives_the_same_others() -> None:
    def others() -> list[dict[str, int]]:
        world = World()
        driver = SimulatedDriver(demo_fleet(), world.clock, world.processes.read)
        out = []
        for _ in range(20):
            world.run(300.0)
            out.append(strangers(driver))
        return out

    assert others() == others()
