"""``swangpu doctor --suspend-test``: whether GPU state of processes can be suspended on this machine, by trying it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence

from .doctor import Finding
from .domain.telemetry import DeviceInfo, DriverStatus, Sample
from .kernel_side import words
from .kernels import checkpoint_machine, checkpoint_record, checkpoint_trial
from .kernels.checkpoint import DeviceReading, DeviceView, Held
from .kernels.checkpoint_view import held_of, reading_of
from .telemetry.nvml import NvmlDriver

__all__ = ["NvmlView", "examine_by_trying", "suspend_findings"]

_TITLES = {"suspend": "Suspend", "remap": "Resume on another device"}


class NvmlView:
    """The driver as NVML tells of it. Its calls may block."""

    def __init__(self, driver: NvmlDriver) -> None:
        self._driver = driver

    def read(self) -> DeviceReading:
        return reading_of(*self._now())

    def held_by(self, pids: Collection[int]) -> Sequence[Held] | None:
        return held_of(*self._now(), pids)

    def _now(self) -> tuple[DriverStatus, Sequence[DeviceInfo], dict[str, Sample]]:
        status = self._driver.open()
        devices = self._driver.devices() if status.ok else ()
        return status, devices, {device.uuid: self._driver.sample(device.uuid)[0] for device in devices}


def examine_by_trying(view: DeviceView | None = None) -> list[Finding]:
    """Suspend and resume a process on each model of device, record what has passed, and say what was found."""
    # what is logged is said in the findings
    logging.getLogger("swangpu").addHandler(logging.NullHandler())
    driver = NvmlDriver()
    try:
        steps = asyncio.run(checkpoint_trial.suspend_test(view or NvmlView(driver)))
    finally:
        driver.close()
    found = [Finding(one.check, one.status, _TITLES[one.check], words.clean(one.text), one.hint) for one in steps]
    if any(one.status == "ok" for one in found):
        found += [Finding("suspend", "info", "Limits", text) for text in checkpoint_machine.LIMITS]
    return found


def suspend_findings() -> list[Finding]:
    """Whether suspending is on, without trying anything."""
    driver = NvmlDriver()
    try:
        reading = NvmlView(driver).read()
    finally:
        driver.close()
    machine = checkpoint_machine.look("", reading.driver_version)
    passed = checkpoint_record.read(checkpoint_record.record_path())
    able = checkpoint_machine.judge(machine, reading.devices, passed)
    if not able.suspend.able:
        return [Finding("suspend", "info", "Suspend", able.suspend.text, able.suspend.hint)]
    other = "also on another device" if able.remap.able else f"on its own device. {able.remap.text}"
    return [Finding("suspend", "ok", "Suspend", f"on; a kernel resumes {other}")]
