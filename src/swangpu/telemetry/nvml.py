"""NVIDIA's driver through NVML (``nvidia-ml-py``, the module ``pynvml``).

``NvmlDriver(now=time.time)`` implements `swangpu.ports.GpuDriver`. Nothing here raises: a driver that can't be used is
said in ``DriverStatus``, a device that does not answer in ``DeviceInfo.lost_reason``, a field that is not given in
``Sample.missing``. The calls block; `swangpu.telemetry.sampler.Sampler` makes them on a thread of its own.

A sample of a device is six calls of NVML (five when nothing runs on it), two more where the driver has GPM, and two to
four more for each of its MIG devices; see `swangpu.telemetry.nvml_sample`. What a device once said not to support is
not asked again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..domain.telemetry import DeviceInfo, DriverStatus, MigInfo, Sample
from .nvml_calls import NvmlCalls
from .nvml_errors import LOST, NOT_SUPPORTED, REOPEN, code_of, reason_for, status_for
from .nvml_events import XidEvents
from .nvml_gpm import Gpm
from .nvml_sample import TURNS, Device, Mig, Sampling
from .pids import in_host_pid_namespace
from .reading import nothing

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NvmlDriver"]

log = logging.getLogger(__name__)

#: devices are told apart anew after so long (seconds), though none seems to have come or gone
RELIST_S = 30.0


class _Counted:
    """How many threads are in the library now; a context manager."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.count += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self.count -= 1


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
        self._gpm: Any = None
        self._sampling: Any = None
        self._events: XidEvents | None = None
        self._enumerated_at = float("-inf")
        self._status: DriverStatus | None = None
        self._devices: dict[str, Device] = {}
        self._reopen_s = reopen_s
        self._reopen_wait_s = reopen_s[0]
        self._reopened_at = float("-inf")
        self._calling = _Counted()

    # -- the port ---------------------------------------------------------------------------------

    def open(self) -> DriverStatus:
        """Load NVML, or try again after a failure. One attribute look-up when it is open."""
        if self._status is not None and self._status.ok:
            return self._status
        before = self._status
        with self._calling:
            self._status = self._initialize()
        if before is None or before.code != self._status.code:
            log.info("NVIDIA driver: %s", self._status.text or self._status.code)
        return self._status

    def devices(self) -> Sequence[DeviceInfo]:
        """All devices and their MIG devices; those that were there before and do not answer are said to be lost."""
        with self._calling:
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
        with self._calling:
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
        if self._calling.count == 0:
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
        try:
            pynvml.nvmlInit()
        except Exception as error:
            return status_for(error)
        if self._nvml is None:
            self._nvml, self._calls, self._gpm = pynvml, NvmlCalls(pynvml), Gpm(pynvml)
            self._sampling = Sampling(self._calls, self._gpm, self._now, self._host_pids)
        self._events, self._enumerated_at = XidEvents(pynvml), float("-inf")
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
        events, self._events = self._events, None
        if events is not None:
            events.close()
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
        if self._calling.count > 1 or now - self._reopened_at < self._reopen_wait_s:
            return
        self._reopened_at = now
        self._reopen_wait_s = min(2 * self._reopen_wait_s, self._reopen_s[1])
        self._shut_down()
        self.open()

    def _failed(self, status: DriverStatus) -> None:
        """The library has to be opened again before anything else works."""
        if self._calling.count <= 1:
            self._shut_down()
        self._status = status
        log.warning("NVIDIA driver: %s", status.text)

    # -- devices ----------------------------------------------------------------------------------

    def _enumerate(self) -> None:
        nvml = self._nvml
        count = int(nvml.nvmlDeviceGetCount())
        if self._only_migs_can_differ(count):
            return
        self._enumerated_at = time.monotonic()
        seen: set[str] = set()
        refused = hidden = silent = 0
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

    def _only_migs_can_differ(self, count: int) -> bool:
        """Look at MIG devices only, where all devices are as they were a moment ago; whether that was enough."""
        fresh = time.monotonic() - self._enumerated_at < RELIST_S
        whole = count == len(self._devices) and not any(d.info.lost_reason for d in self._devices.values())
        if not fresh or not whole or self._status is None or self._status.text:
            return False
        try:
            for uuid, device in list(self._devices.items()):
                mig_on = self._mig_on(device, device.handle)
                if mig_on or device.info.mig_enabled:
                    self._devices[uuid] = self._look_at(uuid, device.info.index, device.handle)
        except self._nvml.NVMLError as error:
            if code_of(error) in REOPEN:
                raise
            return False
        return True

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

    def _look_at(self, uuid: str, index: int, handle: Any) -> Device:
        known = self._devices.get(uuid)
        mig_on = self._mig_on(known, handle)
        if self._events is not None:
            self._events.register(uuid, handle)
        if known is None or known.info.lost_reason is not None or known.info.mig_enabled != mig_on:
            known = self._make(known, uuid, index, handle, mig_on)
        known.handle = handle
        known.migs = tuple(self._migs(known, handle)) if mig_on else ()
        known.info = replace(known.info, index=index, mig_devices=tuple(m.info for m in known.migs))
        return known

    def _make(self, before: Device | None, uuid: str, index: int, handle: Any, mig_on: bool) -> Device:
        """A device as it is after it has come, come back, or changed its MIG mode."""
        name, memory = str(self._nvml.nvmlDeviceGetName(handle)), self._calls.memory(handle)[1]
        no_mig = set() if mig_on or before is None else {"mig"} & before.unsupported
        return Device(
            info=DeviceInfo(uuid, index, name, memory, mig_on),
            handle=handle,
            gpm=self._gpm.supports(handle),
            unsupported=no_mig,
            xid=before.xid if before is not None else None,
        )

    def _mig_on(self, known: Device | None, handle: Any) -> bool:
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

    def _migs(self, known: Device | None, handle: Any) -> Iterator[Mig]:
        nvml = self._nvml
        before = {m.info.uuid: m for m in known.migs} if known is not None else {}
        for index in range(int(nvml.nvmlDeviceGetMaxMigDeviceCount(handle))):
            try:
                mig = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
                uuid = str(nvml.nvmlDeviceGetUUID(mig))
                if uuid in before:
                    before[uuid].handle = mig
                    yield before[uuid]
                    continue
                memory = self._calls.memory(mig)[1]
                instance = int(nvml.nvmlDeviceGetGpuInstanceId(mig)) if known is not None and known.gpm else None
                yield Mig(MigInfo(uuid, self._profile(mig, memory), memory), mig, instance)
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

    def _lose(self, device: Device, reason: str) -> None:
        if device.info.lost_reason is None:
            log.warning("GPU %d (%s) does not answer: %s", device.info.index, device.info.name, reason)
        device.info = replace(device.info, lost_reason=reason)

    # -- samples ----------------------------------------------------------------------------------

    def _sample(self, device: Device) -> tuple[Sample, ...]:
        self._hear(device)
        own, *migs = self._sampling.sample(device)
        if own.memory_used_bytes is None and own.temperature_c is None:
            reasons = {reason for _, reason in own.missing}
            # A device that has fallen off the bus often answers "unknown error" to everything.
            if reasons & {"lost", "not_answering"}:
                self._lose(device, "lost")
            elif "no_permission" in reasons:
                self._lose(device, "no_permission")
        return (own, *migs)

    def _hear(self, device: Device) -> None:
        """XID errors of all devices, asked for once every few readings and with one of them."""
        first = next(iter(self._devices.values()), None)
        if device is not first or self._events is None or device.turn % TURNS != TURNS - 1:
            return
        for uuid, number in self._events.poll():
            known = self._devices.get(uuid)
            if known is not None:
                known.xid = (number, self._now())
                log.warning("GPU %d (%s): XID error %d", known.info.index, known.info.name, number)
