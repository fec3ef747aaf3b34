"""NVIDIA's driver through NVML (``nvidia-ml-py``, the module ``pynvml``).

``NvmlDriver(now=time.time)`` implements `swangpu.ports.GpuDriver`. Nothing here raises: a driver that can't be used is
said in ``DriverStatus``, a device that does not answer in ``DeviceInfo.lost_reason``, a field that is not given in
``Sample.missing``. The calls block; `swangpu.telemetry.sampler.Sampler` makes them on a thread of its own.

A sample of a device is seven calls of NVML (six when nothing runs on it), and two more for each of its MIG devices.
What a device once said not to support is not asked again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..domain.telemetry import DeviceInfo, DriverStatus, MigInfo, ProcessUse, Sample
from .nvml_calls import NvmlCalls, in_host_pid_namespace, visible
from .nvml_errors import LOST, NOT_SUPPORTED, REOPEN, code_of, reason_for, status_for
from .reading import DEVICE_ONLY, Reading, nothing, of_migs

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NvmlDriver"]

log = logging.getLogger(__name__)

_SM_CLOCK = 1


@dataclass
class _Mig:
    info: MigInfo
    handle: Any
    unsupported: set[str] = field(default_factory=set)


@dataclass
class _Device:
    info: DeviceInfo
    handle: Any
    migs: tuple[_Mig, ...] = ()
    unsupported: set[str] = field(default_factory=set)
    #: NVML's own time stamp (microseconds) of the last per-process utilization seen
    seen_us: int = 0


class NvmlDriver:
    """The NVIDIA GPUs of this machine.

    Parameters
    ----------
    now : callable
        Unix seconds, for ``Sample.taken_at``.
    host_pids : bool, optional
        Whether NVML's process ids are those of our own PID namespace; found out when not given.
    reopen_s : tuple of float
        Shortest and longest pause, in seconds, between attempts to get a lost device back: each of them shuts NVML
        down and initializes it again, which can take long without NVIDIA's persistence daemon.
    """

    simulated = False

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        *,
        host_pids: bool | None = None,
        reopen_s: tuple[float, float] = (5.0, 60.0),
    ) -> None:
        self._now = now
        self._host_pids = in_host_pid_namespace() if host_pids is None else host_pids
        self._nvml: Any = None
        self._calls: Any = None
        self._status: DriverStatus | None = None
        self._devices: dict[str, _Device] = {}
        self._reopen_s = reopen_s
        self._reopen_wait_s = reopen_s[0]
        self._reopened_at = float("-inf")
        self._in_flight = 0
        self._count_lock = threading.Lock()

    # -- the port ---------------------------------------------------------------------------------

    def open(self) -> DriverStatus:
        """Load NVML, or try again after a failure. One attribute look-up when it is open."""
        if self._status is not None and self._status.ok:
            return self._status
        before = self._status
        with self._calling():
            self._status = self._initialize()
        if before is None or before.code != self._status.code:
            log.info("NVIDIA driver: %s", self._status.text or self._status.code)
        return self._status

    def devices(self) -> Sequence[DeviceInfo]:
        """All devices and their MIG devices; those that were there before and do not answer are said to be lost."""
        with self._calling():
            if self.open().ok:
                self._reopen()
                try:
                    self._enumerate()
                except Exception as error:  # whatever a driver does, the caller hears it in words
                    self._failed(status_for(error))
            if self._status is None or not self._status.ok:
                for device in self._devices.values():
                    self._lose(device, "lost")
            return tuple(d.info for d in sorted(self._devices.values(), key=lambda d: (d.info.index, d.info.uuid)))

    def sample(self, uuid: str) -> Sequence[Sample]:
        """One sample of the device, then one of each of its MIG devices."""
        with self._calling():
            device = self._devices.get(uuid)
            if device is None:
                return (nothing(uuid, self._now(), "lost"),)
            if device.info.lost_reason is None and self.open().ok:
                try:
                    return self._sample(device)
                except Exception as error:
                    self._lose(device, reason_for(error))
                    if code_of(error) in REOPEN:
                        self._failed(status_for(error))
            reason = device.info.lost_reason or "lost"
            now = self._now()
            return tuple(nothing(u, now, reason) for u in (uuid, *(m.info.uuid for m in device.migs)))

    def close(self) -> None:
        """Let go of the library, unless a call hangs in it. `open` brings it back."""
        if self._in_flight == 0:
            self._shut_down()

    # -- opening ----------------------------------------------------------------------------------

    def _initialize(self) -> DriverStatus:
        try:
            import pynvml
        except ImportError:
            return DriverStatus(
                "library_missing",
                "The Python package nvidia-ml-py is not installed.",
                "pip install nvidia-ml-py",
            )
        self._nvml, self._calls = pynvml, NvmlCalls(pynvml)
        try:
            pynvml.nvmlInit()
        except Exception as error:
            return status_for(error)
        try:
            version = str(pynvml.nvmlSystemGetDriverVersion())
        except Exception:  # a driver without a version is a driver still
            version = None
        if self._all_refused():
            self._status = DriverStatus("ok")
            self._shut_down()
            return status_for(None, code="no_permission")
        return DriverStatus("ok", driver_version=version)

    def _all_refused(self) -> bool:
        """Whether the library answers, and this account may use none of the devices."""
        try:
            count = int(self._nvml.nvmlDeviceGetCount())
        except Exception:  # `devices` says what it is
            return False
        for index in range(count):
            try:
                self._nvml.nvmlDeviceGetHandleByIndex(index)
                return False
            except Exception as error:
                if reason_for(error) != "no_permission":
                    return False
        return count > 0

    def _shut_down(self) -> None:
        was_open, self._status = self._status is not None and self._status.ok, None
        if was_open:
            try:
                self._nvml.nvmlShutdown()
            except Exception as error:
                log.debug("NVML did not shut down: %s", error)

    def _reopen(self) -> None:
        """Shut down and initialize again, which is what brings a lost device's handle back.

        Not while another call is under way: that would pull the library from under it.
        """
        if not any(d.info.lost_reason for d in self._devices.values()):
            self._reopen_wait_s = self._reopen_s[0]
            return
        now = time.monotonic()
        if self._in_flight > 1 or now - self._reopened_at < self._reopen_wait_s:
            return
        self._reopened_at = now
        self._reopen_wait_s = min(2 * self._reopen_wait_s, self._reopen_s[1])
        self._shut_down()
        self.open()

    def _failed(self, status: DriverStatus) -> None:
        """The library has to be opened again before anything else works."""
        if self._in_flight <= 1:
            self._shut_down()
        self._status = status
        log.warning("NVIDIA driver: %s", status.text)

    @contextmanager
    def _calling(self) -> Iterator[None]:
        with self._count_lock:
            self._in_flight += 1
        try:
            yield
        finally:
            with self._count_lock:
                self._in_flight -= 1

    # -- devices ----------------------------------------------------------------------------------

    def _enumerate(self) -> None:
        nvml = self._nvml
        seen: set[str] = set()
        refused = hidden = silent = 0
        count = int(nvml.nvmlDeviceGetCount())
        for index in range(count):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                uuid = str(nvml.nvmlDeviceGetUUID(handle))
                self._devices[uuid] = self._look_at(uuid, index, handle)
                seen.add(uuid)
            except Exception as error:
                if code_of(error) in REOPEN:
                    raise
                before = [d for d in self._devices.values() if d.info.index == index and d.info.uuid not in seen]
                for device in before:
                    self._lose(device, reason_for(error))
                    seen.add(device.info.uuid)
                not_allowed = reason_for(error) == "no_permission"
                refused += not_allowed
                hidden += not_allowed and not before
                silent += not not_allowed and not before
        for uuid, device in self._devices.items():
            if uuid not in seen:
                self._lose(device, "lost")
        if refused == count > 0:
            self._failed(status_for(None, code="no_permission"))
        else:
            self._say_unseen(hidden, silent, count)

    def _say_unseen(self, hidden: int, silent: int, count: int) -> None:
        """Devices that never told their UUID can't be shown one by one: the status tells of them."""
        version = self._status.driver_version if self._status else None
        if hidden:
            text = f"{hidden} of {count} GPUs may not be used by this account."
            self._status = DriverStatus("ok", text, "Ask for access to /dev/nvidia*.", version)
        elif silent:
            text = f"{silent} of {count} GPUs {'does' if silent == 1 else 'do'} not answer."
            hint = "nvidia-smi and the system's log tell more."
            self._status = DriverStatus("ok", text, hint, version)
        else:
            self._status = DriverStatus("ok", driver_version=version)

    def _look_at(self, uuid: str, index: int, handle: Any) -> _Device:
        known = self._devices.get(uuid)
        mig_on = self._mig_on(known, handle)
        if known is not None and known.info.lost_reason is None and known.info.mig_enabled == mig_on:
            name, memory = known.info.name, known.info.memory_bytes
            unsupported, seen_us = known.unsupported, known.seen_us
        else:
            name, memory = str(self._nvml.nvmlDeviceGetName(handle)), self._calls.memory(handle)[1]
            unsupported, seen_us = (set() if mig_on else {"mig"} & (known.unsupported if known else set())), 0
        migs = tuple(self._migs(known, handle)) if mig_on else ()
        info = DeviceInfo(uuid, index, name, memory, mig_on, tuple(m.info for m in migs))
        return _Device(info, handle, migs, unsupported, seen_us)

    def _mig_on(self, known: _Device | None, handle: Any) -> bool:
        if known is not None and "mig" in known.unsupported:
            return False
        try:
            return bool(self._nvml.nvmlDeviceGetMigMode(handle)[0])
        except Exception as error:
            if code_of(error) in LOST | REOPEN:
                raise
            if known is not None and code_of(error) in NOT_SUPPORTED:
                known.unsupported.add("mig")
            return False

    def _migs(self, known: _Device | None, handle: Any) -> Iterator[_Mig]:
        nvml = self._nvml
        before = {m.info.uuid: m for m in known.migs} if known is not None else {}
        for index in range(int(nvml.nvmlDeviceGetMaxMigDeviceCount(handle))):
            try:
                mig = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
                uuid = str(nvml.nvmlDeviceGetUUID(mig))
                if uuid in before:
                    yield _Mig(before[uuid].info, mig, before[uuid].unsupported)
                    continue
                memory = self._calls.memory(mig)[1]
                yield _Mig(MigInfo(uuid, self._profile(mig, memory), memory), mig)
            except Exception as error:
                if code_of(error) in LOST | REOPEN:
                    raise
                # No MIG device at this index, or one that is being made or taken down just now.

    def _profile(self, mig: Any, memory_bytes: int) -> str:
        """``1g.10gb``: the last word of the MIG device's name, as ``nvidia-smi -L`` shows it."""
        words = str(self._nvml.nvmlDeviceGetName(mig)).split()
        if len(words) > 1 and words[-2] == "MIG":
            return words[-1]
        try:
            slices = int(self._nvml.nvmlDeviceGetAttributes(mig).gpuInstanceSliceCount)
        except Exception:
            slices = 1
        return f"{slices}g.{round(memory_bytes / 2**30)}gb"

    def _lose(self, device: _Device, reason: str) -> None:
        if device.info.lost_reason is None:
            log.warning("GPU %d (%s) does not answer: %s", device.info.index, device.info.name, reason)
        device.info = replace(device.info, lost_reason=reason)

    # -- samples ----------------------------------------------------------------------------------

    def _sample(self, device: _Device) -> tuple[Sample, ...]:
        migs = tuple(self._sample_mig(mig) for mig in device.migs)
        own = self._sample_device(device, migs)
        failed = {reason for _, reason in own.missing} & {"lost", "not_answering"}
        if failed and own.memory_used_bytes is None and own.temperature_c is None:
            # A device that has fallen off the bus often answers "unknown error" to everything.
            self._lose(device, "lost")
        return (own, *migs)

    def _sample_device(self, device: _Device, migs: Sequence[Sample]) -> Sample:
        handle, calls = device.handle, self._calls
        reading = Reading(device.unsupported, fatal=LOST | REOPEN)
        utilization = reading.of("utilization", self._nvml.nvmlDeviceGetUtilizationRates, handle)
        used, total = reading.of("memory", calls.memory, handle) or (None, None)
        power, energy = reading.of("power", calls.power, handle, device.unsupported) or (None, None)
        temperature = reading.of("temperature", calls.temperature, handle)
        clock = reading.of("clock", self._nvml.nvmlDeviceGetClockInfo, handle, _SM_CLOCK)
        if device.info.mig_enabled:
            processes = of_migs(migs, reading.missing)
        else:
            processes = self._processes(reading, handle, None)
            if processes:
                found = reading.of("process_utilization", calls.process_utilization, handle, device.seen_us)
                percent: dict[int, float] = {}
                percent, device.seen_us = found or (percent, device.seen_us)
                processes = tuple(ProcessUse(p.pid, p.memory_bytes, None, percent.get(p.pid)) for p in processes)
        if power is None:
            reading.missing.setdefault("power_mw", "not_supported")
        if energy is None:
            reading.missing.setdefault("energy_mj", "not_supported")
        return Sample(
            uuid=device.info.uuid,
            taken_at=self._now(),
            utilization_percent=None if utilization is None else float(utilization.gpu),
            memory_used_bytes=used,
            memory_total_bytes=total,
            power_mw=power,
            energy_mj=energy,
            temperature_c=temperature,
            sm_clock_mhz=clock,
            processes=processes,
            missing=tuple(reading.missing.items()),
        )

    def _sample_mig(self, mig: _Mig) -> Sample:
        mig.unsupported.update(DEVICE_ONLY)
        reading = Reading(mig.unsupported, fatal=REOPEN)
        utilization = reading.of("utilization", self._nvml.nvmlDeviceGetUtilizationRates, mig.handle)
        used, total = reading.of("memory", self._calls.memory, mig.handle) or (None, None)
        for what in DEVICE_ONLY:
            reading.of(what, lambda: None)
        return Sample(
            uuid=mig.info.uuid,
            taken_at=self._now(),
            utilization_percent=None if utilization is None else float(utilization.gpu),
            memory_used_bytes=used,
            memory_total_bytes=total,
            processes=self._processes(reading, mig.handle, mig.info.uuid),
            missing=tuple(reading.missing.items()),
        )

    def _processes(self, reading: Reading, handle: Any, mig_uuid: str | None) -> tuple[ProcessUse, ...] | None:
        found = reading.of("processes", self._calls.processes, handle, mig_uuid)
        if found is None:
            return None
        seen = visible(found, self._host_pids)
        if seen is None:
            reading.missing["processes"] = "not_visible"
        return seen
