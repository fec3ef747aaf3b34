"""What is known here at ``/metrics``, as ``swan_gpu_*``; ``docs/metrics.md`` explains each.

``expose(sampler, counts, now)`` puts one collector into prometheus_client's default registry, so that it comes out
wherever that is shown: at Jupyter Server's own ``/metrics``, which sites scrape already. Scraping is not looking: it
never makes a call of the driver, and readings older than a minute are not shown. What is not known has no sample. No
label holds a user's name unless the operator wants it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ..domain.telemetry import Sample
from .own_cost import ThreadTime

if TYPE_CHECKING:
    from .sampler import Snapshot

__all__ = ["METRICS", "FlavorCounts", "Metric", "PoolCounts", "SiteCounts", "UserCounts", "Waits", "expose", "families"]

log = logging.getLogger(__name__)

#: readings older than this, in seconds, say nothing about now
STALE_S = 60.0
#: devices and MIG devices shown at most, whatever a driver says it has
MAX_DEVICES = 512

#: what `swangpu.domain.telemetry.DriverStatus` can say; anything else is told as "failed"
DRIVER_STATES = (
    "ok",
    "library_missing",
    "driver_not_loaded",
    "no_permission",
    "version_mismatch",
    "not_answering",
    "failed",
)
USES = ("free", "busy", "held_idle", "taken")

_DEVICE = ("gpu", "uuid", "model", "profile")
_FLAVOR = ("pool", "flavor")


@dataclass(frozen=True)
class Metric:
    """One family of the page. ``unit`` is the base unit, or what is counted."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    labels: tuple[str, ...]
    unit: str
    text: str

    def family(self) -> Any:
        """It, without samples."""
        from prometheus_client import core

        if self.kind == "histogram":
            return core.HistogramMetricFamily(self.name, self.text, labels=self.labels)
        of_kind = core.CounterMetricFamily if self.kind == "counter" else core.GaugeMetricFamily
        return of_kind(self.name, self.text, labels=self.labels)


METRICS = (
    Metric("swan_gpu_info", "gauge", ("version", "simulated"), "1", "Always 1; its labels say who answers."),
    Metric(
        "swan_gpu_utilization_ratio",
        "gauge",
        _DEVICE,
        "ratio",
        "Part of the time in which at least one kernel ran (not occupancy).",
    ),
    Metric("swan_gpu_memory_used_bytes", "gauge", _DEVICE, "bytes", "Device memory in use."),
    Metric("swan_gpu_memory_total_bytes", "gauge", _DEVICE, "bytes", "Device memory there is."),
    Metric("swan_gpu_power_watts", "gauge", _DEVICE, "watts", "Power drawn."),
    Metric("swan_gpu_energy_joules_total", "counter", _DEVICE, "joules", "Energy used since the driver was loaded."),
    Metric("swan_gpu_temperature_celsius", "gauge", _DEVICE, "celsius", "Temperature of the chip."),
    Metric("swan_gpu_sm_clock_hertz", "gauge", _DEVICE, "hertz", "Clock of the streaming multiprocessors."),
    Metric("swan_gpu_device_up", "gauge", _DEVICE, "1", "Whether a device that was seen answers: 1 or 0."),
    Metric(
        "swan_gpu_devices_left_out", "gauge", (), "devices", "Devices and MIG devices that this page has no room for."
    ),
    Metric(
        "swan_gpu_driver_state", "gauge", ("code",), "1", "1 for the state that the driver is in, 0 for the others."
    ),
    Metric("swan_gpu_reading_age_seconds", "gauge", (), "seconds", "Time since the driver was read."),
    Metric("swan_gpu_readings_total", "counter", (), "readings", "Readings of the driver."),
    Metric(
        "swan_gpu_sampler_cpu_seconds_total",
        "counter",
        (),
        "seconds",
        "Processor time of the threads that read the driver.",
    ),
    Metric("swan_gpu_pool_available", "gauge", ("pool",), "1", "Whether a pool can be used: 1 or 0."),
    Metric("swan_gpu_pool_age_seconds", "gauge", ("pool",), "seconds", "Time since a pool said what it has."),
    Metric(
        "swan_gpu_shares", "gauge", (*_FLAVOR, "use"), "shares", "Shares by what is done with them; the sum is all."
    ),
    Metric("swan_gpu_held_seconds_total", "counter", _FLAVOR, "seconds", "Share-seconds held by sessions."),
    Metric("swan_gpu_busy_seconds_total", "counter", _FLAVOR, "seconds", "Share-seconds held while a cell or job ran."),
    Metric("swan_gpu_sessions", "gauge", ("state",), "sessions", "Sessions by state."),
    Metric("swan_gpu_sessions_ended_total", "counter", ("reason",), "sessions", "Sessions that ended, by why."),
    Metric("swan_gpu_queue_length", "gauge", (), "sessions", "Sessions that wait for a GPU."),
    Metric(
        "swan_gpu_flavor_queue_length",
        "gauge",
        _FLAVOR,
        "sessions",
        "Sessions that wait and that this flavor could serve; one that several could serve counts in each.",
    ),
    Metric(
        "swan_gpu_queue_oldest_wait_seconds", "gauge", (), "seconds", "How long the oldest in the queue has waited."
    ),
    Metric("swan_gpu_queue_wait_seconds", "histogram", (), "seconds", "Waits that ended with a GPU."),
    Metric("swan_gpu_user_sessions", "gauge", ("user",), "sessions", "Sessions of a user that have not ended."),
    Metric("swan_gpu_user_held_seconds_total", "counter", ("user",), "seconds", "Share-seconds held by a user."),
)

_OF_SAMPLE: Mapping[str, Callable[[Sample], float | None]] = {
    "swan_gpu_utilization_ratio": lambda s: _part(s.utilization_percent, 100),
    "swan_gpu_memory_used_bytes": lambda s: s.memory_used_bytes,
    "swan_gpu_memory_total_bytes": lambda s: s.memory_total_bytes,
    "swan_gpu_power_watts": lambda s: _part(s.power_mw, 1000),
    "swan_gpu_energy_joules_total": lambda s: _part(s.energy_mj, 1000),
    "swan_gpu_temperature_celsius": lambda s: s.temperature_c,
    "swan_gpu_sm_clock_hertz": lambda s: None if s.sm_clock_mhz is None else s.sm_clock_mhz * 1e6,
}


@dataclass(frozen=True)
class FlavorCounts:
    """Shares of one flavor by what is done with them, and how many sessions wait for one; seconds since the start."""

    free: int = 0
    busy: int = 0
    held_idle: int = 0
    taken: int = 0
    queued: int = 0
    held_s: float = 0.0
    busy_s: float = 0.0


@dataclass(frozen=True)
class PoolCounts:
    """Whether a pool can be used, and when it last said so (Unix seconds; 0 for never)."""

    available: bool
    as_of: float


@dataclass(frozen=True)
class UserCounts:
    """Sessions of one user that have not ended, and share-seconds held since the start."""

    sessions: int = 0
    held_s: float = 0.0


@dataclass(frozen=True)
class Waits:
    """Waits that ended with a GPU: upper bounds of buckets in seconds, how many each has alone, their sum."""

    bounds: tuple[float, ...]
    numbers: tuple[int, ...]
    sum_s: float


@dataclass(frozen=True)
class SiteCounts:
    """What the broker knows, counted. Every mapping is of bounded size; this page adds nothing up.

    Attributes
    ----------
    sessions, ended : mapping of str to int
        By state, those that have not ended; by reason, those that ended since the start.
    queue_length : int
    oldest_wait_s : float or None
        None when nobody waits.
    flavors : mapping of (str, str) to FlavorCounts
        By pool and flavor.
    users : mapping of str to UserCounts
        Empty unless names are wanted.
    """

    version: str = ""
    simulated: bool = False
    sessions: Mapping[str, int] = field(default_factory=dict)
    ended: Mapping[str, int] = field(default_factory=dict)
    queue_length: int = 0
    oldest_wait_s: float | None = None
    waits: Waits | None = None
    pools: Mapping[str, PoolCounts] = field(default_factory=dict)
    flavors: Mapping[tuple[str, str], FlavorCounts] = field(default_factory=dict)
    users: Mapping[str, UserCounts] = field(default_factory=dict)


class _Sampler(Protocol):
    @property
    def snapshot(self) -> Snapshot: ...


def families(
    snapshot: Snapshot | None, counts: SiteCounts | None, now: float, sampler_cpu_s: float | None = None
) -> Iterator[Any]:
    """The metrics of one scrape. Pure.

    Parameters
    ----------
    snapshot : Snapshot or None
    counts : SiteCounts or None
    now : float
        Unix seconds.
    sampler_cpu_s : float or None
        Processor time that reading has cost so far.
    """
    page = {metric.name: metric.family() for metric in METRICS}
    if sampler_cpu_s is not None:
        page["swan_gpu_sampler_cpu_seconds_total"].add_metric((), sampler_cpu_s)
    if snapshot is not None and snapshot.number > 0:
        page["swan_gpu_reading_age_seconds"].add_metric((), max(0.0, now - snapshot.as_of))
        page["swan_gpu_readings_total"].add_metric((), snapshot.number)
        if now - snapshot.as_of <= STALE_S:
            _add_readings(page, snapshot)
    if counts is not None:
        _add_site(page, counts)
        _add_pools(page, counts, now)
        for user, of_user in sorted(counts.users.items()):
            page["swan_gpu_user_sessions"].add_metric((user,), of_user.sessions)
            page["swan_gpu_user_held_seconds_total"].add_metric((user,), of_user.held_s)
    yield from page.values()


def _add_readings(page: Mapping[str, Any], snapshot: Snapshot) -> None:
    code = snapshot.status.code if snapshot.status.code in DRIVER_STATES else "failed"
    for state in DRIVER_STATES:
        page["swan_gpu_driver_state"].add_metric((state,), float(state == code))
    units = _units(snapshot)
    for labels, uuid, lost in islice(units, MAX_DEVICES):
        if not labels[3]:  # a MIG device is up when its device is
            page["swan_gpu_device_up"].add_metric(labels, 0.0 if lost else 1.0)
        sample = snapshot.samples.get(uuid)
        if sample is None:
            continue
        for name, value_of in _OF_SAMPLE.items():
            value = value_of(sample)
            if value is not None:
                page[name].add_metric(labels, value)
    page["swan_gpu_devices_left_out"].add_metric((), sum(1 for _ in units))


def _units(snapshot: Snapshot) -> Iterator[tuple[tuple[str, ...], str, bool]]:
    """Labels, UUID and whether it is lost, of devices and MIG devices."""
    for device in snapshot.devices.values():
        for uuid, profile in ((device.uuid, ""), *((m.uuid, m.profile) for m in device.mig_devices)):
            yield (str(device.index), uuid, device.name, profile), uuid, device.lost_reason is not None


def _add_site(page: Mapping[str, Any], counts: SiteCounts) -> None:
    page["swan_gpu_info"].add_metric((counts.version, "true" if counts.simulated else "false"), 1.0)
    for state, number in sorted(counts.sessions.items()):
        page["swan_gpu_sessions"].add_metric((state,), number)
    for reason, number in sorted(counts.ended.items()):
        page["swan_gpu_sessions_ended_total"].add_metric((reason,), number)
    page["swan_gpu_queue_length"].add_metric((), counts.queue_length)
    if counts.oldest_wait_s is not None:
        page["swan_gpu_queue_oldest_wait_seconds"].add_metric((), counts.oldest_wait_s)
    if counts.waits is not None:
        page["swan_gpu_queue_wait_seconds"].add_metric((), _cumulative(counts.waits), counts.waits.sum_s)


def _add_pools(page: Mapping[str, Any], counts: SiteCounts, now: float) -> None:
    for pool, known in sorted(counts.pools.items()):
        page["swan_gpu_pool_available"].add_metric((pool,), float(known.available))
        if known.as_of > 0.0:
            page["swan_gpu_pool_age_seconds"].add_metric((pool,), max(0.0, now - known.as_of))
    for where, flavor in sorted(counts.flavors.items()):
        for use in USES:
            page["swan_gpu_shares"].add_metric((*where, use), getattr(flavor, use))
        page["swan_gpu_flavor_queue_length"].add_metric(where, flavor.queued)
        page["swan_gpu_held_seconds_total"].add_metric(where, flavor.held_s)
        page["swan_gpu_busy_seconds_total"].add_metric(where, flavor.busy_s)


def _cumulative(waits: Waits) -> list[tuple[str, float]]:
    bounds = [*map(str, waits.bounds), "+Inf"]
    return list(zip(bounds, map(float, accumulate(waits.numbers)), strict=True))


def _part(value: float | None, of: float) -> float | None:
    return None if value is None else value / of


class _Collector:
    """What the registry asks at each scrape; which sampler it shows can change, the registration happens once."""

    def __init__(self) -> None:
        self.source: tuple[_Sampler, Callable[[], SiteCounts], Callable[[], float]] | None = None
        self._cost = ThreadTime()

    def describe(self) -> Iterator[Any]:
        return families(None, None, 0.0)

    def collect(self) -> Iterator[Any]:
        source = self.source
        if source is None:
            return iter(())
        sampler, count, now = source
        # Ours must not take everybody else's metrics along.
        counts: SiteCounts | None = None
        try:
            counts = count()
        except Exception:
            log.exception("The broker's counts could not be made")
        try:
            return iter(list(families(sampler.snapshot, counts, now(), self._cost.seconds())))
        except Exception:
            log.exception("The metrics could not be made")
            return iter(())


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
