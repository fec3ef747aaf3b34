"""GPU performance monitoring: how busy the multiprocessors were between two readings. Hopper and later.

It is the only source of utilization for MIG devices. Each reading is a sample of the driver's counters; what is told is
made of the last two.
"""

from __future__ import annotations

import ctypes
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

__all__ = ["Activity", "Gpm"]

_VERSION = 1
#: part of the time in which any kernel ran, and part of the multiprocessors that were busy, both in percent
_GRAPHICS, _SM = 1, 2


@dataclass(frozen=True)
class Activity:
    """Between the last two readings, in percent; None where the driver does not say."""

    time_percent: float | None
    sm_percent: float | None


class _Pair:
    """The driver's memory for two readings."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self.samples: list[Any] = []
        #: the first of them has been taken
        self.taken = False
        while len(self.samples) < 2:
            self.samples.append(nvml.nvmlGpmSampleAlloc())

    def __del__(self) -> None:
        # Threads that probe come and go, and each has its own.
        for sample in self.samples:
            with suppress(Exception):
                self._nvml.nvmlGpmSampleFree(sample)


class _Kept(threading.local):
    """Of each thread its own: a call that hangs holds what it was given."""

    def __init__(self, nvml: Any) -> None:
        self.pairs: dict[str, _Pair] = {}
        self.metrics = nvml.c_nvmlGpmMetricsGet_t()
        self.metrics.version, self.metrics.numMetrics = _VERSION, 2
        self.metrics.metrics[0].metricId, self.metrics.metrics[1].metricId = _GRAPHICS, _SM
        self.metrics_ref = ctypes.byref(self.metrics)


class Gpm:
    """Reads activity of devices and MIG devices.

    Parameters
    ----------
    nvml : module
        ``pynvml``, initialized. All methods raise its errors.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._kept = _Kept(nvml)

    def supports(self, handle: Any) -> bool:
        try:
            return bool(self._nvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice)
        except (self._nvml.NVMLError, AttributeError):
            return False

    def activity(self, uuid: str, handle: Any, gpu_instance: int | None, anew: bool = False) -> Activity | None:
        """Since the reading before; None at the first one.

        Parameters
        ----------
        handle
            Of the whole device.
        gpu_instance : int or None
            The MIG device's, None for the whole device.
        anew : bool
            The reading before is too long ago to say anything about now: this is the first one.
        """
        nvml, kept = self._nvml, self._kept
        pair = kept.pairs.get(uuid)
        if pair is None:
            pair = kept.pairs[uuid] = _Pair(nvml)
        if anew or not pair.taken:
            self._take(handle, gpu_instance, pair.samples[0])
            pair.taken = True
            return None
        self._take(handle, gpu_instance, pair.samples[1])
        metrics = kept.metrics
        metrics.sample1, metrics.sample2 = pair.samples
        pair.samples.reverse()
        nvml.nvmlGpmMetricsGet(metrics)
        time_percent, sm_percent = (
            None if metrics.metrics[i].nvmlReturn else float(metrics.metrics[i].value) for i in range(2)
        )
        return Activity(time_percent, sm_percent)

    def _take(self, handle: Any, gpu_instance: int | None, sample: Any) -> None:
        if gpu_instance is None:
            self._nvml.nvmlGpmSampleGet(handle, sample)
        else:
            self._nvml.nvmlGpmMigSampleGet(handle, gpu_instance, sample)
