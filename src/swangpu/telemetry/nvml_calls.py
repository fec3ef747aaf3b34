"""The calls of NVML that have been renamed over the years, and whose answers need a second look."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..domain.telemetry import ProcessUse
from .nvml_errors import NOT_SUPPORTED, code_of

__all__ = ["NvmlCalls", "in_host_pid_namespace", "visible"]

#: the inode of Linux's first PID namespace: only there are the process ids of NVML those of our ``/proc``
HOST_PID_NAMESPACE = "pid:[4026531836]"

_FIELD_ENERGY = 83
_FIELD_POWER_NOW = 186
_MEMORY_V2 = 0x02000028
_NO_SAMPLES = frozenset({0, 6})


class NvmlCalls:
    """Reads that try the newest spelling first and remember which one this driver has.

    Parameters
    ----------
    nvml : module
        ``pynvml``.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._spelling: dict[str, int] = {}

    def memory(self, handle: Any) -> tuple[int, int]:
        """Used and total, in bytes. The newer spelling leaves out what the driver keeps for itself."""
        nvml = self._nvml
        found = self._first(
            "memory",
            lambda: nvml.nvmlDeviceGetMemoryInfo(handle, _MEMORY_V2),
            lambda: nvml.nvmlDeviceGetMemoryInfo(handle),
        )
        return int(found.used), int(found.total)

    def power(self, handle: Any, unsupported: set[str]) -> tuple[int | None, int | None]:
        """Power now in mW and energy since the driver was loaded in mJ, in one call where the driver has it."""
        nvml = self._nvml
        power = energy = None
        if "power_fields" not in unsupported:
            try:
                power, energy = map(
                    _field_value, nvml.nvmlDeviceGetFieldValues(handle, [_FIELD_POWER_NOW, _FIELD_ENERGY])
                )
            except nvml.NVMLError as error:
                if code_of(error) not in NOT_SUPPORTED:
                    raise
                unsupported.add("power_fields")
        if power is None and "power_usage" not in unsupported:
            try:
                power = int(nvml.nvmlDeviceGetPowerUsage(handle))
            except nvml.NVMLError as error:
                if code_of(error) not in NOT_SUPPORTED:
                    raise
                unsupported.add("power_usage")
        return power, energy

    def temperature(self, handle: Any) -> int:
        """Degrees Celsius."""
        nvml = self._nvml
        return int(
            self._first(
                "temperature",
                lambda: nvml.nvmlDeviceGetTemperatureV(handle, 0),
                lambda: nvml.nvmlDeviceGetTemperature(handle, 0),
            )
        )

    def processes(self, handle: Any, mig_uuid: str | None) -> tuple[ProcessUse, ...]:
        """The processes that compute on a device or MIG device."""
        nvml = self._nvml
        found = self._first(
            "processes",
            lambda: nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle),
            lambda: nvml.nvmlDeviceGetComputeRunningProcesses_v2(handle),
        )
        return tuple(ProcessUse(int(p.pid), _bytes_or_none(p.usedGpuMemory), mig_uuid) for p in found)

    def process_utilization(self, handle: Any, since_us: int) -> tuple[dict[int, float], int]:
        """Percent by process id, and the newest time stamp (microseconds) to ask from the next time."""
        nvml = self._nvml
        try:
            found = self._first(
                "process_utilization",
                lambda: nvml.nvmlDeviceGetProcessesUtilizationInfo(handle, since_us),
                lambda: nvml.nvmlDeviceGetProcessUtilization(handle, since_us),
            )
        except nvml.NVMLError as error:
            if code_of(error) in _NO_SAMPLES:
                return {}, since_us
            raise
        out: dict[int, float] = {}
        for use in found:
            # Drivers have been seen to leave rubbish in slots that they do not fill.
            if use.pid and 0 <= use.smUtil <= 100:
                out[int(use.pid)] = max(out.get(int(use.pid), 0.0), float(use.smUtil))
        return out, max([since_us, *(int(u.timeStamp) for u in found if u.pid)])

    def _first(self, what: str, *spellings: Callable[[], Any]) -> Any:
        at = self._spelling.get(what, 0)
        while True:
            try:
                return spellings[at]()
            except (self._nvml.NVMLError, AttributeError) as error:
                renamed = isinstance(error, AttributeError) or code_of(error) in NOT_SUPPORTED - {3}
                if not renamed or at + 1 == len(spellings):
                    raise
                at += 1
                self._spelling[what] = at


def _field_value(found: Any) -> int | None:
    if found.nvmlReturn != 0:
        return None
    value = found.value
    by_type = (value.dVal, value.uiVal, value.ulVal, value.ullVal, value.sllVal, value.siVal, value.usVal)
    return int(by_type[found.valueType]) if found.valueType < len(by_type) else None


def _bytes_or_none(value: int | None) -> int | None:
    return None if value is None or value >= 2**63 else int(value)


def in_host_pid_namespace() -> bool:
    """Whether our process ids are the machine's own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == HOST_PID_NAMESPACE
    except OSError:
        return False


def visible(processes: Sequence[ProcessUse], host_pids: bool) -> tuple[ProcessUse, ...] | None:
    """The processes as far as they are ours to see; None when they live in another PID namespace.

    On the host a process id that is not there has just ended. In a container it is somebody's whom we can't see,
    and to call that "no processes" would be wrong. Signal 0 is asked instead of ``/proc``, which may hide others.
    """
    out = []
    for process in processes:
        if _exists(process.pid):
            out.append(process)
        elif not host_pids:
            return None
    return tuple(out)


def _exists(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
