"""The newest reading at ``/metrics``, as ``swan_gpu_*``.

``expose(sampler, counts, now)`` puts one collector into prometheus_client's default registry, so that it comes out
wherever that is shown: at Jupyter Server's own ``/metrics``, which sites scrape already. Scraping is not looking: it
never makes a call of the driver, and what is older than a minute is not shown. What is not known has no sample. No
label holds a user's name.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..domain.telemetry import Sample
from .sampler import Snapshot

__all__ = ["SiteCounts", "expose", "families"]

log = logging.getLogger(__name__)

#: readings older than this, in seconds, say nothing about now
STALE_S = 60.0
#: devices and MIG devices shown at most, whatever a driver says it has
MAX_DEVICES = 512

_DEVICE_LABELS = ("gpu", "uuid", "model", "profile")
_FLAVOR_LABELS = ("pool", "flavor")

_DEVICE_METRICS: tuple[tuple[str, str, Callable[[Sample], float | None]], ...] = (
    (
        "swan_gpu_utilization_ratio",
        "Part of the time in which at least one kernel ran (not occupancy).",
        lambda s: None if s.utilization_percent is None else s.utilization_percent / 100,
    ),
    ("swan_gpu_memory_used_bytes", "Device memory in use.", lambda s: s.memory_used_bytes),
    ("swan_gpu_memory_total_bytes", "Device memory there is.", lambda s: s.memory_total_bytes),
    ("swan_gpu_power_watts", "Power drawn.", lambda s: None if s.power_mw is None else s.power_mw / 1000),
    ("swan_gpu_temperature_celsius", "Temperature of the chip.", lambda s: s.temperature_c),
)


@dataclass(frozen=True)
class SiteCounts:
    """What the broker knows, counted.

    Attributes
    ----------
    sessions : mapping of str to int
        By state.
    queue_length : int
        Sessions that wait.
    shares : mapping of (str, str) to (int, int)
        By pool and flavor: how many there are, and how many of them are free.
    """

    sessions: Mapping[str, int] = field(default_factory=dict)
    queue_length: int = 0
    shares: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)


class _Sampler(Protocol):
    @property
    def snapshot(self) -> Snapshot: ...


def families(snapshot: Snapshot | None, counts: SiteCounts | None, now: float) -> Iterator[Any]:
    """The metrics of one scrape. Pure.

    Parameters
    ----------
    snapshot : Snapshot or None
    counts : SiteCounts or None
    now : float
        Unix seconds.
    """
    from prometheus_client.core import GaugeMetricFamily

    fresh = snapshot is not None and now - snapshot.as_of <= STALE_S
    labelled = list(_labelled(snapshot))[:MAX_DEVICES] if fresh and snapshot is not None else []
    for name, text, value_of in _DEVICE_METRICS:
        family = GaugeMetricFamily(name, text, labels=_DEVICE_LABELS)
        for labels, sample in labelled:
            value = value_of(sample)
            if value is not None:
                family.add_metric(labels, value)
        yield family
    sessions = GaugeMetricFamily("swan_gpu_sessions", "Sessions by state.", labels=("state",))
    queue = GaugeMetricFamily("swan_gpu_queue_length", "Sessions that wait for a GPU.")
    total = GaugeMetricFamily("swan_gpu_shares_total", "Shares that exist.", labels=_FLAVOR_LABELS)
    free = GaugeMetricFamily("swan_gpu_shares_free", "Shares that nobody holds.", labels=_FLAVOR_LABELS)
    if counts is not None:
        for state, number in sorted(counts.sessions.items()):
            sessions.add_metric((state,), number)
        queue.add_metric((), counts.queue_length)
        for where, (there, unheld) in sorted(counts.shares.items()):
            total.add_metric(where, there)
            free.add_metric(where, unheld)
    yield from (sessions, queue, total, free)


def _labelled(snapshot: Snapshot | None) -> Iterator[tuple[tuple[str, ...], Sample]]:
    for device in snapshot.devices.values() if snapshot is not None else ():
        profiles = {device.uuid: "", **{m.uuid: m.profile for m in device.mig_devices}}
        for uuid, profile in profiles.items():
            sample = snapshot.samples.get(uuid) if snapshot is not None else None
            if sample is not None:
                yield (str(device.index), uuid, device.name, profile), sample


class _Collector:
    """What the registry asks at each scrape; which sampler it shows can change, the registration happens once."""

    def __init__(self) -> None:
        self.source: tuple[_Sampler, Callable[[], SiteCounts], Callable[[], float]] | None = None

    def describe(self) -> Iterator[Any]:
        return families(None, None, 0.0)

    def collect(self) -> Iterator[Any]:
        source = self.source
        if source is None:
            return iter(())
        sampler, count, now = source
        try:
            counts = count()
        except Exception:  # ours must not take everybody else's metrics along
            log.exception("The broker's counts could not be made")
            counts = None
        return families(sampler.snapshot, counts, now())


_collector: _Collector | None = None
_lock = threading.Lock()


def expose(sampler: _Sampler, counts: Callable[[], SiteCounts], now: Callable[[], float]) -> Callable[[], None]:
    """Show a sampler and the broker's counts at ``/metrics``; the answer takes them away again.

    Calling it again replaces what is shown: a registry takes each name once, and servers restart within a process.

    Parameters
    ----------
    sampler : Sampler
    counts : callable
        The broker's counts, quick: it is called at each scrape, on the thread that scrapes.
    now : callable
        Unix seconds, of the sampler's own clock.
    """
    from prometheus_client import REGISTRY

    global _collector
    source = (sampler, counts, now)
    with _lock:
        if _collector is None:
            _collector = _Collector()
            REGISTRY.register(_collector)
        collector = _collector
        collector.source = source

    def withdraw() -> None:
        if collector.source is source:
            collector.source = None

    return withdraw
