"""GPUs of other machines, read live from the Prometheus that scrapes their dcgm-exporter.

``DcgmSource(prometheus)`` implements `swangpu.ports.GpuDriver`, so that `swangpu.telemetry.sampler.Sampler` reads a
site's GPUs as it reads the machine's own. No call raises, and nothing is newer than the last scrape: each sample's
``taken_at`` is when it was scraped, and a device of which nothing came for ``stale_s`` does not answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..domain.telemetry import DeviceInfo, DriverStatus, Sample
from ..errors import BadInput, SwanGpuError
from .dcgm import FB_USED, GPU_UTIL, GR_ENGINE, Subject, subject_of
from .dcgm_live import METRICS, NO_METRICS, Live, Point, live
from .promql import PromQl
from .reading import nothing

__all__ = ["DcgmSource", "label_name"]

#: a job's renaming of labels is looked up over so much time, and again after so much
_RENAMING_SPAN_S = 86400.0
_RENAMING_AGAIN_S = 600.0
#: a device that did not answer for so long is no longer listed
_FORGET_S = 86400.0
#: what is told of it, by the code of an error
_STATES = {
    "prometheus_forbidden": "no_permission",
    "prometheus_unreachable": "not_answering",
    "prometheus_too_much": "not_answering",
}


class DcgmSource:
    """The GPUs that a Prometheus knows through dcgm-exporter.

    Parameters
    ----------
    prometheus : PromQl
        With a timeout below the time that the sampler waits. Closed with this.
    only : mapping of str to str, optional
        Labels and their values, such as ``{"Hostname": "gpu-node-01"}``: other series are left out.
    read_s : float
        Prometheus is asked again after so many seconds, whatever is asked in between.
    hints : mapping of str to str, optional
        What helps, by the code of an error, where the reader of the status is not the reader of a command's output.
    stale_s : float
        A device whose newest value is older (seconds) does not answer. Twice the longest scrape interval is right.
    now, monotonic : callable
        Unix seconds, and seconds that never go back.
    """

    simulated = False

    def __init__(
        self,
        prometheus: PromQl,
        *,
        only: Mapping[str, str] | None = None,
        hints: Mapping[str, str] | None = None,
        read_s: float = 5.0,
        stale_s: float = 120.0,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prometheus = prometheus
        self._only = "".join(f",{label_name(name)}={_quoted(value)}" for name, value in (only or {}).items())
        self._hints = hints or {}
        self._read_s = read_s
        self._stale_s = stale_s
        self._now = now
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._live: dict[str, Live] = {}
        self._lost: dict[str, str] = {}
        self._fresh_at: dict[str, float] = {}
        self._status = NO_METRICS
        self._read_at = self._renaming_at = float("-inf")
        self._renaming: frozenset[str] = frozenset()

    # -- swangpu.ports.GpuDriver ------------------------------------------------------------------

    def open(self) -> DriverStatus:
        """Ask Prometheus, unless that was just done."""
        with self._lock:
            if self._monotonic() - self._read_at >= self._read_s:
                try:
                    self._read()
                except SwanGpuError as error:
                    hint = self._hints.get(error.code, error.hint)
                    self._status = DriverStatus(_STATES.get(error.code, "failed"), error.detail, hint)
                self._read_at = self._monotonic()
            return self._status

    def devices(self) -> Sequence[DeviceInfo]:
        """All devices that were seen in the last day, by host and index; ``lost_reason`` where one does not answer."""
        with self._lock:
            known = sorted(self._live.values(), key=lambda one: (one.host, one.info.index, one.info.uuid))
            return tuple(replace(one.info, lost_reason=self._lost.get(one.info.uuid)) for one in known)

    def sample(self, uuid: str) -> Sequence[Sample]:
        """What was scraped last of a device and its MIG instances."""
        with self._lock:
            found, reason = self._live.get(uuid), self._lost.get(uuid)
            if found is None:
                return (nothing(uuid, self._now(), "lost"),)
            if reason is None:
                return found.samples
            return tuple(nothing(one.uuid, self._now(), reason) for one in found.samples)

    def close(self) -> None:
        self._prometheus.close()

    # -- what a driver of this machine has no word for ---------------------------------------------

    def seen(self, uuid: str) -> Live | None:
        """Where a device is, which pods hold it, and how old that is; as it was when it answered last.

        Does not wait while Prometheus is asked, so it may be called on an event loop.
        """
        return self._live.get(uuid)

    # ---------------------------------------------------------------------------------------------

    def _read(self) -> None:
        every = f'__name__=~"{"|".join(METRICS)}"{self._only}'
        if self._monotonic() - self._renaming_at >= _RENAMING_AGAIN_S:
            now, match = self._now(), f'{{{every},exported_pod!=""}}'
            self._renaming = frozenset(self._prometheus.label_values("job", match, now - _RENAMING_SPAN_S, now))
            self._renaming_at = self._monotonic()
        values = self._prometheus.at(f"{{{every}}}")
        # by the server's own clock: an instant query says when it was asked, and timestamp() when that was scraped
        stamps = " or ".join(f"timestamp({name}{{{self._only[1:]}}})" for name in (GPU_UTIL, GR_ENGINE, FB_USED))
        ages: dict[Subject | None, float] = {}
        for one in self._prometheus.at(stamps):
            if one.value is not None:
                subject, age_s = subject_of(one.metric), max(0.0, one.value[0] - float(one.value[1]))
                ages[subject] = min(age_s, ages.get(subject, age_s))
        points = [
            Point(one.metric, float(one.value[1]), ages[subject_of(one.metric)])
            for one in values
            if one.value is not None and subject_of(one.metric) in ages
        ]
        jobs = {one.metric.get("job", "") for one in values if "exported_pod" in one.metric}
        self._renaming |= jobs
        self._take(live(points, self._now(), self._renaming))

    def _take(self, found: Mapping[str, Live]) -> None:
        fresh = {uuid: one for uuid, one in found.items() if one.age_s <= self._stale_s}
        self._lost = dict.fromkeys(self._live.keys() | found.keys(), "not_answering")
        for uuid in fresh:
            del self._lost[uuid]
        self._fresh_at.update(dict.fromkeys(fresh, self._monotonic()))
        # one that answers no more is kept as it was, for a while
        self._live.update({uuid: one for uuid, one in found.items() if uuid in fresh or uuid not in self._live})
        for uuid in self._live.keys() - found.keys():
            if self._monotonic() - self._fresh_at.get(uuid, float("-inf")) > _FORGET_S:
                del self._live[uuid], self._lost[uuid]
                self._fresh_at.pop(uuid, None)
        versions = {one.driver_version for one in fresh.values()} - {None}
        if self._live:
            self._status = DriverStatus("ok", driver_version=versions.pop() if len(versions) == 1 else None)
        else:
            self._status = NO_METRICS


def label_name(name: str) -> str:
    """The same, if Prometheus can have a label of this name.

    Raises
    ------
    BadInput
    """
    if not (name.isascii() and name.isidentifier()):
        raise BadInput(f"{name!r} is not the name of a label.")
    return name


def _quoted(value: str) -> str:
    """As a string of PromQL: nothing in it ends it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
