"""What the sampler reads, on the event loop, and what each session uses of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..domain.devices import ShareKind
from ..domain.sessions import Session
from ..domain.telemetry import DeviceInfo, DriverStatus, Sample
from ..telemetry.attribution import Attributed, Owner, attribute
from ..telemetry.history import Series
from ..telemetry.history_files import HistoryFiles
from ..telemetry.processes import ProcessReader
from ..telemetry.sampler import Pace, Sampler, Snapshot, Watch
from ..wire import UnknownSince

if TYPE_CHECKING:
    from ..telemetry.remote import RemoteGpus, RemoteSnapshot

#: a restart of the server loses at most so much of the history, in seconds
SAVE_EVERY_S = 30.0

__all__ = ["SiteTelemetry", "TelemetrySnapshot", "history_fields", "session_sample"]


@dataclass(frozen=True)
class TelemetrySnapshot:
    """The newest reading: devices and samples by UUID; ``silent_since`` for devices that do not answer in time.

    ``remote``: the site's other GPUs, where its Prometheus is asked. They are in nothing else.
    """

    as_of: float
    driver: DriverStatus
    devices: Mapping[str, DeviceInfo]
    samples: Mapping[str, Sample]
    silent_since: Mapping[str, float]
    number: int = 0
    remote: RemoteSnapshot | None = None


class SiteTelemetry:
    """Hands the sampler's readings to whoever looks, on the event loop.

    Parameters
    ----------
    sampler : Sampler
    sessions : callable
        The sessions that hold something now: their use is kept as series under their ids.
    owners : callable
        The processes that stand for kernels and commands of sessions, by process id. Called on the sampler's thread.
    files : HistoryFiles, optional
        Where the history is kept over a restart; at most `SAVE_EVERY_S` of it is lost.
    remote : RemoteGpus, optional
        The site's other GPUs; closed with this.
    """

    def __init__(
        self,
        sampler: Sampler,
        sessions: Callable[[], Iterable[Session]],
        files: HistoryFiles | None = None,
        owners: Callable[[], Mapping[int, Owner]] = dict,
        remote: RemoteGpus | None = None,
    ) -> None:
        self._sampler = sampler
        self._remote = remote
        self._owners = owners
        self._processes = ProcessReader(time.monotonic)
        self._attributed: tuple[Attributed, ...] = ()
        self._files = files
        self._saving: asyncio.Future[None] | None = None
        self._saved_at = float("-inf")
        self._sessions = sessions
        self._subscribers: list[Callable[[TelemetrySnapshot], None]] = []
        self._session_watch: Watch | None = None
        self._session_pace: Pace | None = None
        self._made: tuple[Snapshot, TelemetrySnapshot] | None = None
        self._loop = asyncio.get_running_loop()
        self._stop = sampler.subscribe(self._hop)

    async def restore(self) -> None:
        """Bring back what was kept of before a restart."""
        if self._files is not None:
            await asyncio.to_thread(self._files.restore, self._sampler.history)
        if self._remote is not None:
            await asyncio.to_thread(self._remote.restore)

    def watch(self) -> Watch:
        """Somebody looks, until the answer is closed."""
        return self._sampler.watch("look")

    def watch_remote(self) -> AbstractContextManager[object]:
        """Somebody looks at the site's other GPUs, for the length of a ``with``."""
        return self._remote.watch() if self._remote is not None else nullcontext()

    async def look_at_remote(self) -> None:
        """Have a new reading of the site's other GPUs, if that does not take long."""
        if self._remote is not None:
            await self._remote.look()

    def latest(self) -> TelemetrySnapshot:
        return self._translate(self._sampler.snapshot)

    def subscribe(self, callback: Callable[[TelemetrySnapshot], None]) -> Callable[[], None]:
        """Have each reading, on the event loop; the answer ends it."""
        self._subscribers.append(callback)

        def end() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return end

    def history(self, subject: str, start: float, end: float, points: int) -> Mapping[str, Any]:
        """A down-sampled series, as the fields of `swangpu.wire.History`."""
        history, remote = self._sampler.history, self.latest().remote
        if self._remote is not None and remote is not None and subject in remote.samples:
            history = self._remote.history
        return history_fields(history.series(subject, start, end, points))

    def of_session(self, session: Session) -> Sample | None:
        """What a session uses now."""
        return session_sample(session, self._sampler.snapshot.samples, self._attributed)

    def processes(self) -> tuple[Attributed, ...]:
        """The processes on all devices at the newest reading, and whose they are."""
        return self._attributed

    def watch_sessions(self, active: bool, wanted: bool = False) -> None:
        """While sessions are active their use is read though nobody looks: at a slower pace, and each second while
        what they hold is ``wanted`` by somebody, who waits for one of them to be idle."""
        pace: Pace | None = None if not active else "look" if wanted else "session"
        if pace == self._session_pace:
            return
        before, self._session_pace = self._session_watch, pace
        self._session_watch = self._sampler.watch(pace) if pace is not None else None
        if before is not None:
            before.close()

    async def close(self) -> None:
        self.watch_sessions(False)
        self._stop()
        if self._saving is not None:
            await asyncio.gather(self._saving, return_exceptions=True)
        if self._files is not None:
            await asyncio.to_thread(self._files.save, self._sampler.history)
        if self._remote is not None:
            await asyncio.to_thread(self._remote.close)

    def _hop(self, snapshot: Snapshot) -> None:
        """On the sampler's thread."""
        found = attribute(snapshot.devices, snapshot.samples, self._owners(), self._processes.facts)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, snapshot, found)

    def _deliver(self, snapshot: Snapshot, attributed: tuple[Attributed, ...]) -> None:
        self._attributed = attributed
        for session in self._sessions():
            sample = session_sample(session, snapshot.samples, attributed)
            if sample is not None:
                self._sampler.history.add(
                    session.id,
                    sample.taken_at,
                    utilization_percent=sample.utilization_percent,
                    utilization_percent_max=sample.utilization_percent_max,
                    memory_used_bytes=sample.memory_used_bytes,
                    memory_total_bytes=sample.memory_total_bytes,
                    power_mw=sample.power_mw if all(s.kind is ShareKind.WHOLE for s in session.shares) else None,
                    sm_activity_percent=sample.sm_activity_percent,
                    missing=dict(sample.missing),
                )
        self._save_now_and_then()
        translated = self._translate(snapshot)
        for callback in list(self._subscribers):
            callback(translated)

    def _save_now_and_then(self) -> None:
        """Only while there are readings: a server at which nobody looks does nothing."""
        now = self._loop.time()
        if self._files is None or now - self._saved_at < SAVE_EVERY_S or (self._saving and not self._saving.done()):
            return
        self._saved_at = now
        self._saving = self._loop.run_in_executor(None, self._save, self._files)

    def _save(self, files: HistoryFiles) -> None:
        files.save(self._sampler.history)
        if self._remote is not None:
            self._remote.save()

    def _translate(self, read: Snapshot) -> TelemetrySnapshot:
        """Made once for all who look at the same reading."""
        remote = self._remote.snapshot(read.devices) if self._remote is not None else None
        made = self._made
        if made is None or made[0] is not read or made[1].remote is not remote:
            seen = TelemetrySnapshot(
                read.as_of, read.status, read.devices, read.samples, read.silent_since, read.number, remote
            )
            made = self._made = (read, seen)
        return made[1]


def history_fields(series: Series) -> dict[str, Any]:
    """The fields of `swangpu.wire.History`."""
    return {
        "subject": series.subject,
        "interval_s": series.interval_s,
        "times": list(series.times),
        "utilization_percent": list(series.utilization_percent),
        "utilization_percent_min": list(series.utilization_percent_min),
        "utilization_percent_max": list(series.utilization_percent_max),
        "memory_used_bytes": list(series.memory_used_bytes),
        "memory_used_bytes_max": list(series.memory_used_bytes_max),
        "power_mw": list(series.power_mw),
        "power_mw_max": list(series.power_mw_max),
        "temperature_c_max": list(series.temperature_c_max),
        "sm_activity_percent": list(series.sm_activity_percent),
        "sm_activity_percent_max": list(series.sm_activity_percent_max),
        "missing": dict(series.missing),
        "reasons": [UnknownSince(since, dict(missing)) for since, missing in series.reasons],
    }


def session_sample(
    session: Session, samples: Mapping[str, Sample], attributed: Sequence[Attributed] = ()
) -> Sample | None:
    """What a session's shares do: the mean of their utilization, the sum of their memory.

    Of a device that is shared in time or by MPS, only what the session's own processes use.
    """
    found = [s for share in session.shares if (s := samples.get(share.mig_uuid or share.device_uuid)) is not None]
    if not found:
        return None
    if any(share.kind in (ShareKind.TIME_SLICE, ShareKind.MPS) for share in session.shares):
        return _of_processes(session, found, attributed)
    if len(found) == 1:
        return found[0]
    utilizations = [s.utilization_percent for s in found if s.utilization_percent is not None]
    highest = [s.utilization_percent_max for s in found if s.utilization_percent_max is not None]
    activities = [s.sm_activity_percent for s in found if s.sm_activity_percent is not None]
    powers = [s.power_mw for s in found if s.power_mw is not None]
    used = [s.memory_used_bytes for s in found if s.memory_used_bytes is not None]
    totals = [s.memory_total_bytes for s in found if s.memory_total_bytes is not None]
    return Sample(
        uuid=session.id,
        taken_at=max(s.taken_at for s in found),
        utilization_percent=sum(utilizations) / len(utilizations) if utilizations else None,
        utilization_percent_max=max(highest) if highest else None,
        sm_activity_percent=sum(activities) / len(activities) if activities else None,
        power_mw=sum(powers) if len(powers) == len(found) else None,
        memory_used_bytes=sum(used) if used else None,
        memory_total_bytes=sum(totals) if totals else None,
        missing=tuple(dict.fromkeys(m for s in found for m in s.missing)),
    )


def _of_processes(session: Session, found: Sequence[Sample], attributed: Sequence[Attributed]) -> Sample:
    """What a session's processes use of devices that others use too."""
    mine = [a.use for a in attributed if a.owner is not None and a.owner.session_id == session.id]
    why = next((dict(s.missing).get("processes", "not_known") for s in found if s.processes is None), None)
    used: int | None = None
    busy: float | None = None
    missing = {name: reason for s in found for name, reason in s.missing if name not in _OF_PROCESSES}
    missing.update(dict.fromkeys(("power_mw", "energy_mj"), "shared"))
    if why is None:
        amounts = [use.memory_bytes for use in mine]
        used = sum(a for a in amounts if a is not None) if None not in amounts else None
        percents = [use.sm_percent for use in mine]
        # Each device's own sum is at most 100 %: over several of them it is the mean, as for whole devices.
        total = sum(p for p in percents if p is not None)
        busy = min(100.0, total / len({s.uuid for s in found})) if None not in percents else None
    if used is None:
        missing["memory_used_bytes"] = why or "not_supported"
    if busy is None:
        missing.update(dict.fromkeys(("utilization_percent", "utilization_percent_max"), why or "shared"))
    for name in _OF_DEVICE:
        missing.setdefault(name, "shared")
    return Sample(
        uuid=session.id,
        taken_at=max(s.taken_at for s in found),
        utilization_percent=busy,
        utilization_percent_max=busy,
        memory_used_bytes=used,
        memory_total_bytes=sum(share.memory_bytes for share in session.shares),
        temperature_c=found[0].temperature_c,
        sm_clock_mhz=found[0].sm_clock_mhz,
        throttle_reasons=found[0].throttle_reasons,
        processes=tuple(mine) if why is None else None,
        missing=tuple(missing.items()),
    )


#: what a device tells of all who share it
_OF_DEVICE = (
    "sm_activity_percent",
    "pcie_tx_bytes_per_s",
    "pcie_rx_bytes_per_s",
    "nvlink_tx_bytes_per_s",
    "nvlink_rx_bytes_per_s",
)
_OF_PROCESSES = frozenset({"utilization_percent", "utilization_percent_max", "memory_used_bytes"})
