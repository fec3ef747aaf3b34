"""What the sampler reads, on the event loop, and what each session uses of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..domain.sessions import Session
from ..domain.telemetry import DeviceInfo, DriverStatus, Sample
from ..telemetry.sampler import Sampler, Snapshot, Watch

__all__ = ["SiteTelemetry", "TelemetrySnapshot", "session_sample"]


@dataclass(frozen=True)
class TelemetrySnapshot:
    """The newest reading: devices and samples by UUID; ``silent_since`` for devices that do not answer in time."""

    as_of: float
    driver: DriverStatus
    devices: Mapping[str, DeviceInfo]
    samples: Mapping[str, Sample]
    silent_since: Mapping[str, float]


class SiteTelemetry:
    """Hands the sampler's readings to whoever looks, on the event loop.

    Parameters
    ----------
    sampler : Sampler
    sessions : callable
        The sessions that hold something now: their use is kept as series under their ids.
    """

    def __init__(self, sampler: Sampler, sessions: Callable[[], Iterable[Session]]) -> None:
        self._sampler = sampler
        self._sessions = sessions
        self._subscribers: list[Callable[[TelemetrySnapshot], None]] = []
        self._session_watch: Watch | None = None
        self._loop = asyncio.get_running_loop()
        self._stop = sampler.subscribe(self._hop)

    def watch(self) -> Watch:
        """Somebody looks, until the answer is closed."""
        return self._sampler.watch("look")

    def latest(self) -> TelemetrySnapshot:
        return _translate(self._sampler.snapshot)

    def subscribe(self, callback: Callable[[TelemetrySnapshot], None]) -> Callable[[], None]:
        """Have each reading, on the event loop; the answer ends it."""
        self._subscribers.append(callback)

        def end() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return end

    def history(self, subject: str, start: float, end: float, points: int) -> Mapping[str, Any]:
        """A down-sampled series, as the fields of `swangpu.wire.History`."""
        series = self._sampler.history.series(subject, start, end, points)
        return {
            "subject": series.subject,
            "interval_s": series.interval_s,
            "times": list(series.times),
            "utilization_percent": list(series.utilization_percent),
            "utilization_percent_max": list(series.utilization_percent_max),
            "memory_used_bytes": list(series.memory_used_bytes),
            "memory_used_bytes_max": list(series.memory_used_bytes_max),
            "missing": dict(series.missing),
        }

    def of_session(self, session: Session) -> Sample | None:
        """What a session uses now."""
        return session_sample(session, self._sampler.snapshot.samples)

    def watch_sessions(self, active: bool) -> None:
        """While sessions are active their use is read, at a slower pace, though nobody looks."""
        if active and self._session_watch is None:
            self._session_watch = self._sampler.watch("session")
        elif not active and self._session_watch is not None:
            self._session_watch.close()
            self._session_watch = None

    def close(self) -> None:
        self.watch_sessions(False)
        self._stop()

    def _hop(self, snapshot: Snapshot) -> None:
        """On the sampler's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, snapshot)

    def _deliver(self, snapshot: Snapshot) -> None:
        for session in self._sessions():
            sample = session_sample(session, snapshot.samples)
            if sample is not None:
                self._sampler.history.add(
                    session.id,
                    sample.taken_at,
                    utilization_percent=sample.utilization_percent,
                    memory_used_bytes=sample.memory_used_bytes,
                    missing=dict(sample.missing),
                )
        translated = _translate(snapshot)
        for callback in list(self._subscribers):
            callback(translated)


def session_sample(session: Session, samples: Mapping[str, Sample]) -> Sample | None:
    """What a session's shares do: the mean of their utilization, the sum of their memory.

    On a slice of a device that is shared in time the device's values are all there is, and they are the device's.
    """
    found = [s for share in session.shares if (s := samples.get(share.mig_uuid or share.device_uuid)) is not None]
    if not found:
        return None
    if len(found) == 1:
        return found[0]
    utilizations = [s.utilization_percent for s in found if s.utilization_percent is not None]
    used = [s.memory_used_bytes for s in found if s.memory_used_bytes is not None]
    totals = [s.memory_total_bytes for s in found if s.memory_total_bytes is not None]
    return Sample(
        uuid=session.id,
        taken_at=max(s.taken_at for s in found),
        utilization_percent=sum(utilizations) / len(utilizations) if utilizations else None,
        memory_used_bytes=sum(used) if used else None,
        memory_total_bytes=sum(totals) if totals else None,
        missing=tuple(dict.fromkeys(m for s in found for m in s.missing)),
    )


def _translate(snapshot: Snapshot) -> TelemetrySnapshot:
    return TelemetrySnapshot(snapshot.as_of, snapshot.status, snapshot.devices, snapshot.samples, snapshot.silent_since)
