"""The calls of NVML that are made every second, each once, with structures that are made once.

``pynvml`` asks most lists twice (for their length, then for them) and makes a structure for each call. Here its own
functions and structures are used, but the structures are kept, one set for each thread: a call that hangs holds those
of a thread that is left behind, and can't write into anybody else's when it comes back after all.

Calls that have been renamed over the years are tried in the newest spelling first, and the one that this driver has is
remembered.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ..domain.telemetry import ProcessUse
from .nvml_errors import NOT_SUPPORTED, code_of

__all__ = ["Counters", "NvmlCalls", "Utilization"]

T = TypeVar("T")

_MEMORY_V2 = 0x02000028
_UTILIZATION_SAMPLES = 1
_SM_CLOCK = 1
_NOT_SUPPORTED, _NOT_FOUND, _INSUFFICIENT_SIZE = 3, 6, 7
_ALL_LINKS = 0xFFFFFFFF
#: power now (mW), energy (mJ), PCIe sent and received (bytes), NVLink sent and received (KiB), double bit ECC errors
_FIELDS = ((186, 0), (83, 0), (197, 0), (198, 0), (138, _ALL_LINKS), (139, _ALL_LINKS), (4, 0))
_FIELD_ROWS = struct.Struct("=" + "IIqqIIQ" * len(_FIELDS))
#: the driver keeps about 20 s of samples, at most 6 a second
_SAMPLES = 256
_PROCESSES = 64
_MIB = 1 << 20

#: bits of the clocks' event reasons that slow a GPU down, with their names in `Sample.throttle_reasons`
_THROTTLE = (
    (0x04, "power_cap"),
    (0x08, "hardware"),
    (0x10, "sync_boost"),
    (0x20, "software_thermal"),
    (0x40, "hardware_thermal"),
    (0x80, "power_brake"),
)


@dataclass(frozen=True)
class Utilization:
    """What the driver has sampled since ``seen_us`` (its own microseconds) of the reading before, in percent."""

    mean_percent: float
    max_percent: float
    seen_us: int


@dataclass(frozen=True)
class Counters:
    """One batch of fields; counters run since the driver was loaded. None: not supported."""

    power_mw: int | None
    energy_mj: int | None
    pcie_tx_bytes: int | None
    pcie_rx_bytes: int | None
    nvlink_tx_bytes: int | None
    nvlink_rx_bytes: int | None
    ecc_uncorrected_count: int | None


class _Buffers(threading.local):
    """One set a thread; ``threading.local`` calls ``__init__`` in each."""

    def __init__(self, nvml: Any) -> None:
        self.memory = nvml.c_nvmlMemory_v2_t()
        self.memory_ref = ctypes.byref(self.memory)
        self.samples = (nvml.c_nvmlSample_t * _SAMPLES)()
        self.sample_words = memoryview(self.samples).cast("B").cast("Q")
        self.kind = ctypes.c_uint()
        self.kind_ref = ctypes.byref(self.kind)
        self.count = ctypes.c_uint()
        self.count_ref = ctypes.byref(self.count)
        self.fields = (nvml.c_nvmlFieldValue_t * len(_FIELDS))()
        for slot, (number, scope) in zip(self.fields, _FIELDS, strict=True):
            slot.fieldId, slot.scopeId = number, scope
        self.temperature = nvml.c_nvmlTemperature_v1_t()
        self.temperature.version = nvml.nvmlTemperature_v1
        self.temperature_ref = ctypes.byref(self.temperature)
        self.number = ctypes.c_uint()
        self.number_ref = ctypes.byref(self.number)
        self.long = ctypes.c_ulonglong()
        self.long_ref = ctypes.byref(self.long)
        self.resize(nvml, _PROCESSES)

    def resize(self, nvml: Any, count: int) -> None:
        """Room for so many processes."""
        self.room = count
        self.processes = (nvml.c_nvmlProcessInfo_v3_t * count)()
        self.uses = (nvml.c_nvmlProcessUtilizationInfo_v1_t * count)()
        self.uses_info = nvml.c_nvmlProcessesUtilizationInfo_v1_t()
        self.uses_info.version = nvml.ProcessesUtilizationInfo_v1
        self.uses_info.procUtilArray = self.uses
        self.uses_ref = ctypes.byref(self.uses_info)


class NvmlCalls:
    """Reads of one device, each one call of NVML.

    Parameters
    ----------
    nvml : module
        ``pynvml``, initialized.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._buffers = _Buffers(nvml)
        self._functions: dict[str, Callable[..., int]] = {}
        self._spelling: dict[str, int] = {}

    def memory(self, handle: Any) -> tuple[int, int]:
        """Used and total, in bytes. The newer spelling leaves out what the driver keeps for itself."""
        return self._first("memory", self._memory_v2, self._memory_v1, handle)

    def utilization(self, handle: Any, since_us: int, unsupported: set[str]) -> Utilization | None:
        """What the driver has sampled since a time stamp of its own; None when that is nothing new.

        Where it keeps no samples, its latest mean; ``unsupported`` is where that is remembered of a device.
        """
        if "samples" not in unsupported:
            try:
                return self._samples(handle, since_us)
            except (self._nvml.NVMLError, AttributeError) as error:
                if code_of(error) not in NOT_SUPPORTED and not isinstance(error, AttributeError):
                    raise
                unsupported.add("samples")
        percent = float(self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        return Utilization(percent, percent, since_us)

    def counters(self, handle: Any, unsupported: set[str]) -> Counters:
        """Power, energy, traffic and errors, in one call; only the power, where a device has no such call."""
        fields = self._buffers.fields
        if "fields" not in unsupported:
            try:
                self._call("nvmlDeviceGetFieldValues", handle, len(_FIELDS), fields)
            except self._nvml.NVMLError as error:
                if code_of(error) not in NOT_SUPPORTED:
                    raise
                unsupported.add("fields")
        if "fields" in unsupported:
            return Counters(self._power(handle, unsupported), None, None, None, None, None, None)
        row = _FIELD_ROWS.unpack_from(fields)
        power, energy, pcie_out, pcie_in, link_out, link_in, ecc = (
            None if row[7 * i + 5] else _value(row[7 * i + 4], row[7 * i + 6]) for i in range(len(_FIELDS))
        )
        if power is None:
            power = self._power(handle, unsupported)
        return Counters(
            power,
            energy,
            pcie_out,
            pcie_in,
            None if link_out is None else 1024 * link_out,
            None if link_in is None else 1024 * link_in,
            ecc,
        )

    def temperature(self, handle: Any) -> int:
        """Degrees Celsius."""
        return self._first("temperature", self._temperature_v, self._temperature_old, handle)

    def sm_clock_mhz(self, handle: Any) -> int:
        buffers = self._buffers
        self._call("nvmlDeviceGetClockInfo", handle, _SM_CLOCK, buffers.number_ref)
        return int(buffers.number.value)

    def throttle_reasons(self, handle: Any) -> tuple[str, ...]:
        """Why the clocks are lower than they could be; empty when they are not."""
        bits = self._first("reasons", self._event_reasons, self._old_reasons, handle)
        return tuple(name for bit, name in _THROTTLE if bits & bit)

    def processes(self, handle: Any, mig_uuid: str | None) -> tuple[ProcessUse, ...]:
        """The processes that compute on a device or MIG device."""
        return self._first("processes", self._processes_v3, self._processes_v2, handle, mig_uuid)

    def process_utilization(self, handle: Any, since_us: int) -> tuple[dict[int, float], int]:
        """Percent by process id, and the newest time stamp (microseconds) to ask from the next time."""
        return self._first("process_utilization", self._uses, self._old_uses, handle, since_us)

    # -- the spellings ----------------------------------------------------------------------------

    def _memory_v2(self, handle: Any) -> tuple[int, int]:
        memory = self._buffers.memory
        memory.version = _MEMORY_V2
        self._call("nvmlDeviceGetMemoryInfo_v2", handle, self._buffers.memory_ref)
        return memory.used, memory.total

    def _memory_v1(self, handle: Any) -> tuple[int, int]:
        found = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return int(found.used), int(found.total)

    def _samples(self, handle: Any, since_us: int) -> Utilization | None:
        buffers = self._buffers
        buffers.count.value = _SAMPLES
        try:
            self._call(
                "nvmlDeviceGetSamples",
                handle,
                _UTILIZATION_SAMPLES,
                ctypes.c_ulonglong(since_us),
                buffers.kind_ref,
                buffers.count_ref,
                buffers.samples,
            )
        except self._nvml.NVMLError as error:
            if code_of(error) == _NOT_FOUND:
                return None
            raise
        count = min(buffers.count.value, _SAMPLES)
        if not count:
            return None
        words = buffers.sample_words
        seen = max(words[0 : 2 * count : 2])
        if seen <= since_us:
            return None
        kind = buffers.kind.value
        values = [_value(kind, words[2 * i + 1]) for i in range(count) if words[2 * i] > since_us]
        return Utilization(sum(values) / len(values), float(max(values)), seen)

    def _power(self, handle: Any, unsupported: set[str]) -> int | None:
        if "power" in unsupported:
            return None
        try:
            return int(self._nvml.nvmlDeviceGetPowerUsage(handle))
        except self._nvml.NVMLError as error:
            if code_of(error) not in NOT_SUPPORTED:
                raise
            unsupported.add("power")
            return None

    def _temperature_v(self, handle: Any) -> int:
        self._call("nvmlDeviceGetTemperatureV", handle, self._buffers.temperature_ref)
        return int(self._buffers.temperature.temperature)

    def _temperature_old(self, handle: Any) -> int:
        return int(self._nvml.nvmlDeviceGetTemperature(handle, 0))

    def _event_reasons(self, handle: Any) -> int:
        self._call("nvmlDeviceGetCurrentClocksEventReasons", handle, self._buffers.long_ref)
        return self._buffers.long.value

    def _old_reasons(self, handle: Any) -> int:
        self._call("nvmlDeviceGetCurrentClocksThrottleReasons", handle, self._buffers.long_ref)
        return self._buffers.long.value

    def _processes_v3(self, handle: Any, mig_uuid: str | None) -> tuple[ProcessUse, ...]:
        return self._running("nvmlDeviceGetComputeRunningProcesses_v3", handle, mig_uuid)

    def _processes_v2(self, handle: Any, mig_uuid: str | None) -> tuple[ProcessUse, ...]:
        return self._running("nvmlDeviceGetComputeRunningProcesses_v2", handle, mig_uuid)

    def _running(self, name: str, handle: Any, mig_uuid: str | None) -> tuple[ProcessUse, ...]:
        buffers = self._buffers
        while True:
            buffers.count.value = buffers.room
            try:
                self._call(name, handle, buffers.count_ref, buffers.processes)
            except self._nvml.NVMLError as error:
                if code_of(error) != _INSUFFICIENT_SIZE:
                    raise
                buffers.resize(self._nvml, 2 * max(buffers.room, buffers.count.value))
                continue
            found = buffers.processes[: buffers.count.value]
            return tuple(ProcessUse(p.pid, _bytes_or_none(p.usedGpuMemory), mig_uuid) for p in found)

    def _uses(self, handle: Any, since_us: int) -> tuple[dict[int, float], int]:
        buffers = self._buffers
        while True:
            info = buffers.uses_info
            info.processSamplesCount, info.lastSeenTimeStamp = buffers.room, since_us
            try:
                self._call("nvmlDeviceGetProcessesUtilizationInfo", handle, buffers.uses_ref)
            except self._nvml.NVMLError as error:
                if code_of(error) == _NOT_FOUND:
                    return {}, since_us
                if code_of(error) != _INSUFFICIENT_SIZE:
                    raise
                buffers.resize(self._nvml, 2 * max(buffers.room, info.processSamplesCount))
                continue
            return _by_pid(buffers.uses[: info.processSamplesCount], since_us)

    def _old_uses(self, handle: Any, since_us: int) -> tuple[dict[int, float], int]:
        try:
            found = self._nvml.nvmlDeviceGetProcessUtilization(handle, since_us)
        except self._nvml.NVMLError as error:
            if code_of(error) == _NOT_FOUND:
                return {}, since_us
            raise
        return _by_pid(found, since_us)

    # -- calling ----------------------------------------------------------------------------------

    def _call(self, name: str, *args: Any) -> None:
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = self._nvml._nvmlGetFunctionPointer(name)
        code = function(*args)
        if code:
            raise self._nvml.NVMLError(code)

    def _first(self, what: str, newer: Callable[..., T], older: Callable[..., T], *args: Any) -> T:
        if self._spelling.get(what):
            return older(*args)
        try:
            return newer(*args)
        except (self._nvml.NVMLError, AttributeError) as error:
            if not isinstance(error, AttributeError) and code_of(error) not in NOT_SUPPORTED - {_NOT_SUPPORTED}:
                raise
            found = older(*args)
            self._spelling[what] = 1
            return found


def _value(kind: int, raw: int) -> Any:
    """A value of NVML's union by its type: double, unsigned, unsigned long (two kinds), and signed ones."""
    if kind == 1:
        return raw & 0xFFFFFFFF
    if kind in (2, 3):
        return raw
    if kind == 0:
        return struct.unpack("=d", struct.pack("=Q", raw))[0]
    if kind == 4:
        return raw - (1 << 64) if raw >> 63 else raw
    low = raw & 0xFFFFFFFF
    return (low - (1 << 32) if low >> 31 else low) if kind == 5 else raw & 0xFFFF


def _by_pid(found: Any, since_us: int) -> tuple[dict[int, float], int]:
    out: dict[int, float] = {}
    newest = since_us
    for use in found:
        # Drivers have been seen to leave rubbish in slots that they do not fill.
        pid, percent = use.pid, use.smUtil
        if pid and 0 <= percent <= 100:
            out[pid] = max(out.get(pid, 0.0), float(percent))
            newest = max(newest, use.timeStamp)
    return out, newest


def _bytes_or_none(value: int | None) -> int | None:
    return None if value is None or value >= 2**63 else int(value)
