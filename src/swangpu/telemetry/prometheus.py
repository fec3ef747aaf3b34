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
from typing import TYPE_CHECKING, Any, Protocol

from ..domain.telemetry import Sample
from .metrics import DRIVER_STATES, METRICS, THROTTLE_REASONS, USES
from .own_cost import ThreadTime

if TYPE_CHECKING:
    from .sampler import Snapshot

__all__ = ["METRICS", "FlavorCounts", "PoolCounts", "SiteCounts", "UserCounts", "Waits", "expose", "families"]

log = logging.getLogger(__name__)

#: readings older than this, in seconds, say nothing about now
STALE_S = 60.0
#: devices and MIG devices shown at most, whatever a driver says it has
MAX_DEVICES = 512

_OF_SAMPLE: Mapping[str, Callable[[Sample], float | None]] = {
    "swan_gpu_utilization_ratio": lambda s: _part(s.utilization_percent, 100),
    "swan_gpu_memory_used_bytes": lambda s: s.memory_used_bytes,
    "swan_gpu_memory_total_bytes": lambda s: s.memory_total_bytes,
    "swan_gpu_power_watts": lambda s: _part(s.power_mw, 1000),
    "swan_gpu_energy_joules_total": lambda s: _part(s.energy_mj, 1000),
    "swan_gpu_temperature_celsius": lambda s: s.temperature_c,
    "swan_gpu_sm_activity_ratio": lambda s: _part(s.sm_activity_percent, 100),
    "swan_gpu_pcie_transmit_bytes_per_second": lambda s: s.pcie_tx_bytes_per_s,
    "swan_gpu_pcie_receive_bytes_per_second": lambda s: s.pcie_rx_bytes_per_s,
    "swan_gpu_nvlink_transmit_bytes_per_second": lambda s: s.nvlink_tx_bytes_per_s,
    "swan_gpu_nvlink_receive_bytes_per_second": lambda s: s.nvlink_rx_bytes_per_s,
    "swan_gpu_ecc_uncorrected_errors_total": lambda s: s.ecc_uncorrected_count,
    "swan_gpu_last_xid": lambda s: s.last_xid,
    "swan_gpu_last_xid_timestamp_seconds": lambda s: s.last_xid_at,
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
        page["swan_gpu_driver_calls_total"].add_metric((), snapshot.calls)
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
        for reason in THROTTLE_REASONS if sample.throttle_reasons is not None else ():
            page["swan_gpu_throttled"].add_metric((*labels, reason), float(reason in (sample.throttle_reasons or ())))
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
