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
from operator import and_
from typing import Any, NamedTuple, TypeVar

from .nvml_errors import NOT_SUPPORTED, code_of
from .nvml_values import LONG, MASKS, by_pid, value_of

__all__ = ["Counters", "NvmlCalls", "Settled", "Utilization"]

T = TypeVar("T")

_MEMORY_V2 = 0x02000028
_UTILIZATION_SAMPLES = 1
_SM_CLOCK = 1
_UNSIGNED = 1
#: NVML says "not available" by the largest number there is
_NO_MEMORY = 1 << 63
_NOT_SUPPORTED, _NOT_FOUND, _INSUFFICIENT_SIZE = 3, 6, 7
_ALL_LINKS = 0xFFFFFFFF
#: power now (mW), energy (mJ), PCIe sent and received (bytes), NVLink sent and received (KiB), double bit ECC errors
_FIELDS = ((186, 0), (83, 0), (197, 0), (198, 0), (138, _ALL_LINKS), (139, _ALL_LINKS), (4, 0))
_ALL_TOLD = (0,) * len(_FIELDS)
_FIELD_ROWS = struct.Struct("=" + "IIqqIIQ" * len(_FIELDS))
#: NVML's structures: memory (version, total, reserved, free, used), a process (id, memory, instances), what a process
#: used (time, id, percents) and the list of those (version, count, since, address)
_MEMORY = struct.Struct("=IxxxxQQQQ")
_PROCESS = struct.Struct("=IxxxxQII")
_USE = struct.Struct("=QIIIIIIIxxxx")
_USES_INFO = struct.Struct("=IIQQ")
#: the driver keeps about 20 s of samples, at most 6 a second
_SAMPLES = 256
_PROCESSES = 64

#: bits of the clocks' event reasons that slow a GPU down, with their names in `Sample.throttle_reasons`
_THROTTLE = (
    (0x04, "power_cap"),
    (0x08, "hardware"),
    (0x10, "sync_boost"),
    (0x20, "software_thermal"),
    (0x40, "hardware_thermal"),
    (0x80, "power_brake"),
)


class Utilization(NamedTuple):
    """What the driver has sampled since ``seen_us`` (its own microseconds) of the reading before, in percent."""

    mean_percent: float
    max_percent: float
    seen_us: int


class Counters(NamedTuple):
    """One batch of fields; counters run since the driver was loaded. None: not supported."""

    power_mw: int | None
    energy_mj: int | None
    pcie_tx_bytes: int | None
    pcie_rx_bytes: int | None
    nvlink_tx_bytes: int | None
    nvlink_rx_bytes: int | None
    ecc_uncorrected_count: int | None


class Settled(NamedTuple):
    """`NvmlCalls.memory`, ``processes`` and ``process_utilization`` without the search for their spelling."""

    memory: Callable[[Any], tuple[int, int]]
    processes: Callable[[Any], list[tuple[int, int | None]]]
    process_utilization: Callable[[Any, int], tuple[dict[int, float], int]]


class _Buffers(threading.local):
    """One set a thread; ``threading.local`` calls ``__init__`` in each.

    Plain bytes: to read a field of ``pynvml``'s own structures costs as much as a call of the driver.
    """

    def __init__(self, nvml: Any) -> None:
        self.memory = ctypes.create_string_buffer(_MEMORY.size)
        self.samples = ctypes.create_string_buffer(16 * _SAMPLES)
        self.kind = ctypes.c_uint()
        self.kind_ref = ctypes.byref(self.kind)
        self.count = ctypes.c_uint()
        self.count_ref = ctypes.byref(self.count)
        self.since = ctypes.c_ulonglong()
        self.fields = ctypes.create_string_buffer(_FIELD_ROWS.size)
        for number, (field, scope) in enumerate(_FIELDS):
            struct.pack_into("=II", self.fields, 40 * number, field, scope)
        self.temperature = (ctypes.c_int * 3)(nvml.nvmlTemperature_v1, 0, 0)
        self.number = ctypes.c_uint()
        self.number_ref = ctypes.byref(self.number)
        self.long = ctypes.c_ulonglong()
        self.long_ref = ctypes.byref(self.long)
        self.version = nvml.ProcessesUtilizationInfo_v1
        self.resize(_PROCESSES)

    def resize(self, count: int) -> None:
        """Room for so many processes."""
        self.room = count
        self.processes = ctypes.create_string_buffer(_PROCESS.size * count)
        self.processes_bytes = memoryview(self.processes).cast("B")
        self.uses = ctypes.create_string_buffer(_USE.size * count)
        self.uses_bytes = memoryview(self.uses).cast("B")
        self.uses_info = ctypes.create_string_buffer(_USES_INFO.size)


class _Functions(dict[str, Callable[..., int]]):
    """NVML's functions by name, looked up in the library once."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml

    def __missing__(self, name: str) -> Callable[..., int]:
        function: Callable[..., int] = self._nvml._nvmlGetFunctionPointer(name)
        self[name] = function
        return function


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
        self._functions = _Functions(nvml)
        self._spelling: dict[str, int] = {}
        self._masks: dict[tuple[int, ...], tuple[int, ...] | None] = {}

    def memory(self, handle: Any) -> tuple[int, int]:
        """Used and total, in bytes. The newer spelling leaves out what the driver keeps for itself."""
        return self._first("memory", self._memory_v2, self._memory_v1, handle)

    def utilization(
        self, handle: Any, since_us: int, unsupported: set[str], newest_us: int | None = None
    ) -> Utilization | None:
        """What the driver has sampled since a time stamp of its own; None when that is nothing new.

        Where it keeps no samples, its latest mean; ``unsupported`` is where that is remembered of a device. With
        ``newest_us`` only so many microseconds before its newest sample count.
        """
        if "samples" not in unsupported:
            try:
                return self._samples(handle, since_us, newest_us)
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
        row = _FIELD_ROWS.unpack(fields)
        masks = self._masks_of(row[4::7]) if row[5::7] == _ALL_TOLD else None
        if masks is not None:
            # what nearly every driver says
            power, energy, pcie_out, pcie_in, link_out, link_in, ecc = map(and_, row[6::7], masks)
            return Counters(power, energy, pcie_out, pcie_in, 1024 * link_out, 1024 * link_in, ecc)
        power, energy, pcie_out, pcie_in, link_out, link_in, ecc = [
            None if row[i + 5] else row[i + 6] if row[i + 4] in LONG else value_of(row[i + 4], row[i + 6])
            for i in range(0, 7 * len(_FIELDS), 7)
        ]
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

    def _masks_of(self, kinds: tuple[int, ...]) -> tuple[int, ...] | None:
        """What of the raw values counts, where all of them are whole numbers without a sign; None where not."""
        masks = self._masks.get(kinds, ())
        if masks == ():
            unsigned = all(kind in MASKS for kind in kinds)
            masks = self._masks[kinds] = tuple([MASKS[kind] for kind in kinds]) if unsigned else None
        return masks

    def refusals(self, unsupported: set[str]) -> tuple[int, ...]:
        """NVML's errors of the fields of `counters`, in its order; 0 for those that were told. Right after it."""
        if "fields" in unsupported:
            return (_NOT_SUPPORTED,) * len(_FIELDS)
        return _FIELD_ROWS.unpack(self._buffers.fields)[5::7]

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

    def processes(self, handle: Any) -> list[tuple[int, int | None]]:
        """The processes that compute on a device or MIG device: id, and memory in bytes where that is told."""
        return self._first("processes", self._processes_v3, self._processes_v2, handle)

    def process_utilization(self, handle: Any, since_us: int) -> tuple[dict[int, float], int]:
        """Percent by process id, and the newest time stamp (microseconds) to ask from the next time."""
        return self._first("process_utilization", self._uses, self._old_uses, handle, since_us)

    def settled(self) -> Settled:
        """The spellings that this driver has, for who calls often."""
        old = self._spelling
        return Settled(
            self._memory_v1 if old.get("memory") else self._memory_v2,
            self._processes_v2 if old.get("processes") else self._processes_v3,
            self._old_uses if old.get("process_utilization") else self._uses,
        )

    # -- the spellings ----------------------------------------------------------------------------

    def _memory_v2(self, handle: Any) -> tuple[int, int]:
        memory = self._buffers.memory
        _MEMORY.pack_into(memory, 0, _MEMORY_V2, 0, 0, 0, 0)
        self._call("nvmlDeviceGetMemoryInfo_v2", handle, memory)
        _, total, _, _, used = _MEMORY.unpack(memory)
        return used, total

    def _memory_v1(self, handle: Any) -> tuple[int, int]:
        found = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return int(found.used), int(found.total)

    def _samples(self, handle: Any, since_us: int, newest_us: int | None = None) -> Utilization | None:
        buffers = self._buffers
        count, kind, since = buffers.count, buffers.kind, buffers.since
        count.value, since.value = _SAMPLES, since_us
        function = self._functions["nvmlDeviceGetSamples"]
        code = function(handle, _UTILIZATION_SAMPLES, since, buffers.kind_ref, buffers.count_ref, buffers.samples)
        if code == _NOT_FOUND:
            return None
        if code:
            raise self._nvml.NVMLError(code)
        row = struct.unpack_from(f"={2 * min(count.value, _SAMPLES)}Q", buffers.samples)
        if not row:
            return None
        times, values = row[0::2], row[1::2]
        seen_us = max(times)
        if seen_us <= since_us:
            return None
        if newest_us is not None:
            since_us = max(since_us, seen_us - newest_us)
        if kind.value != _UNSIGNED or min(times) <= since_us:
            values = tuple(value_of(kind.value, v) for at, v in zip(times, values, strict=True) if at > since_us)
        else:
            # The union's other half is not the driver's to fill.
            values = tuple([v & 0xFFFFFFFF for v in values])
        return Utilization(sum(values) / len(values), float(max(values)), seen_us)

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
        self._call("nvmlDeviceGetTemperatureV", handle, self._buffers.temperature)
        return self._buffers.temperature[2]

    def _temperature_old(self, handle: Any) -> int:
        return int(self._nvml.nvmlDeviceGetTemperature(handle, 0))

    def _event_reasons(self, handle: Any) -> int:
        self._call("nvmlDeviceGetCurrentClocksEventReasons", handle, self._buffers.long_ref)
        return self._buffers.long.value

    def _old_reasons(self, handle: Any) -> int:
        self._call("nvmlDeviceGetCurrentClocksThrottleReasons", handle, self._buffers.long_ref)
        return self._buffers.long.value

    def _processes_v3(self, handle: Any) -> list[tuple[int, int | None]]:
        return self._running("nvmlDeviceGetComputeRunningProcesses_v3", handle)

    def _processes_v2(self, handle: Any) -> list[tuple[int, int | None]]:
        return self._running("nvmlDeviceGetComputeRunningProcesses_v2", handle)

    def _running(self, name: str, handle: Any) -> list[tuple[int, int | None]]:
        buffers = self._buffers
        function = self._functions[name]
        while True:
            buffers.count.value = buffers.room
            code = function(handle, buffers.count_ref, buffers.processes)
            count = buffers.count.value
            if code == _INSUFFICIENT_SIZE:
                buffers.resize(2 * max(buffers.room, count))
                continue
            if code:
                raise self._nvml.NVMLError(code)
            rows = _PROCESS.iter_unpack(buffers.processes_bytes[: count * _PROCESS.size])
            return [(row[0], row[1] if row[1] < _NO_MEMORY else None) for row in rows]

    def _uses(self, handle: Any, since_us: int) -> tuple[dict[int, float], int]:
        buffers = self._buffers
        function = self._functions["nvmlDeviceGetProcessesUtilizationInfo"]
        while True:
            info = buffers.uses_info
            _USES_INFO.pack_into(info, 0, buffers.version, buffers.room, since_us, ctypes.addressof(buffers.uses))
            code = function(handle, info)
            if code == _NOT_FOUND:
                return {}, since_us
            count = _USES_INFO.unpack(info)[1]
            if code == _INSUFFICIENT_SIZE:
                buffers.resize(2 * max(buffers.room, count))
                continue
            if code:
                raise self._nvml.NVMLError(code)
            size = count * _USE.size
            rows = list(_USE.iter_unpack(buffers.uses_bytes[:size]))
            # What a driver leaves unfilled the next time must not be read as another device's processes.
            buffers.uses_bytes[:size] = bytes(size)
            return by_pid(rows, since_us)

    def _old_uses(self, handle: Any, since_us: int) -> tuple[dict[int, float], int]:
        try:
            found = self._nvml.nvmlDeviceGetProcessUtilization(handle, since_us)
        except self._nvml.NVMLError as error:
            if code_of(error) == _NOT_FOUND:
                return {}, since_us
            raise
        return by_pid([(u.timeStamp, u.pid, u.smUtil) for u in found], since_us)

    # -- calling ----------------------------------------------------------------------------------

    def _call(self, name: str, *args: Any) -> None:
        code = self._functions[name](*args)
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
