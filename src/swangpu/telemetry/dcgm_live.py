"""The present of a site's GPUs, from the newest values of dcgm-exporter's series. Pure: series in, samples out."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from ..domain.telemetry import DeviceInfo, DriverStatus, MigInfo, Sample
from .dcgm import FB_USED, GPU_UTIL, GR_ENGINE, Holder, Subject, holder_of, subject_of

__all__ = ["METRICS", "NO_METRICS", "Live", "Point", "live"]

_MIB = 2**20
_FB_FREE, _FB_RESERVED, _FB_TOTAL = "DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_FB_RESERVED", "DCGM_FI_DEV_FB_TOTAL"
_SM_ACTIVE = "DCGM_FI_PROF_SM_ACTIVE"
_XID = "DCGM_FI_DEV_XID_ERRORS"
#: what belongs to the whole device, the field of `Sample` and how many of its units one of the exporter's is
_OF_DEVICE = {
    "DCGM_FI_DEV_POWER_USAGE": ("power_mw", 1000),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ("energy_mj", 1),
    "DCGM_FI_DEV_GPU_TEMP": ("temperature_c", 1),
    "DCGM_FI_DEV_SM_CLOCK": ("sm_clock_mhz", 1),
}
METRICS = (GPU_UTIL, GR_ENGINE, FB_USED, _FB_FREE, _FB_RESERVED, _FB_TOTAL, _SM_ACTIVE, _XID, *_OF_DEVICE)

#: what a sample is made of besides what says whose it is
_FIELDS = tuple(name for name in Sample._fields if name not in ("uuid", "taken_at", "missing"))
#: none of an error that did not happen, and of when it did
_MAY_BE_NONE = frozenset({"last_xid", "last_xid_at"})
#: where a Prometheus answers, and has none of them
NO_METRICS = DriverStatus(
    "failed",
    "Prometheus has no metrics of dcgm-exporter now.",
    "Look whether the exporter runs, and whether this Prometheus scrapes it.",
)


@dataclass(frozen=True)
class Point:
    """The newest value of one series.

    ``age_s``: how long ago it was scraped.
    """

    labels: Mapping[str, str]
    value: float
    age_s: float


@dataclass(frozen=True)
class Live:
    """One GPU and its MIG instances, as they were scraped last.

    Attributes
    ----------
    info : DeviceInfo
        MIG instances are called ``<UUID of the GPU>/<GPU_I_ID>``: the exporter does not tell their UUIDs.
        ``memory_bytes`` is 0 where neither a metric nor a name tells it; then the sample says that it is missing.
    samples : tuple of Sample
        Of the device, then of its MIG instances.
    host : str
    holders : mapping of str to tuple of Holder
        Which pods hold it, by UUID. Several: the device is time-sliced, and what is measured is the device's, of which
        nobody knows the parts.
    age_s : float
        Of the newest value.
    """

    info: DeviceInfo
    samples: tuple[Sample, ...]
    host: str
    holders: Mapping[str, tuple[Holder, ...]]
    age_s: float
    driver_version: str | None = None


def live(points: Iterable[Point], now: float, renaming_jobs: Container[str] = ()) -> dict[str, Live]:
    """All devices of these series, by UUID.

    Copies of a value (of the pods of a time-sliced GPU, of a GPU that is scraped twice) are merged and never added up.

    Parameters
    ----------
    now : float
        Unix seconds; what the ages count from.
    """
    devices: dict[str, dict[Subject, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        subject = subject_of(point.labels)
        if subject is not None and math.isfinite(point.value):
            devices[subject.device][subject].append(point)
    return {uuid: _device(uuid, found, now, renaming_jobs) for uuid, found in sorted(devices.items())}


def _device(uuid: str, found: Mapping[Subject, list[Point]], now: float, renaming_jobs: Container[str]) -> Live:
    own = [p for subject, points in found.items() if subject.instance is None for p in points]
    everything = [p for points in found.values() for p in points]
    slices = sorted((s for s in found if s.instance is not None), key=lambda s: (s.instance or "", s.profile or ""))
    age_s = min(p.age_s for p in everything)
    samples = [_sample(uuid, now - age_s, _values(own), _values(everything))]
    migs, holders = [], {uuid: _holders(own, renaming_jobs)}
    for subject in slices:
        name = f"{uuid}/{subject.instance}"
        taken_at = now - min(p.age_s for p in found[subject])
        sample = _sample(name, taken_at, _values(found[subject]), {}, of_slice=True)
        samples.append(sample)
        holders[name] = _holders(found[subject], renaming_jobs)
        size = sample.memory_total_bytes or _named_bytes(subject.profile)
        migs.append(MigInfo(name, subject.profile or "", size))
    first = next(iter(found))
    info = DeviceInfo(
        uuid=uuid,
        index=int(first.index) if first.index.isdecimal() else 0,
        name=first.model,
        memory_bytes=samples[0].memory_total_bytes or _named_bytes(first.model),
        mig_enabled=bool(slices),
        mig_devices=tuple(migs),
    )
    version = next((v for p in everything if (v := p.labels.get("DCGM_FI_DRIVER_VERSION"))), None)
    return Live(info, tuple(samples), first.host, holders, age_s, version)


def _values(points: Iterable[Point]) -> dict[str, float]:
    """One value of each metric: of copies the highest, so that their order does not matter."""
    out: dict[str, float] = {}
    for point in points:
        name = point.labels.get("__name__", "")
        out[name] = max(point.value, out.get(name, -math.inf))
    return out


def _holders(points: Iterable[Point], renaming_jobs: Container[str]) -> tuple[Holder, ...]:
    return tuple(sorted({h for p in points if (h := holder_of(p.labels, renaming_jobs)) is not None}))


def _sample(
    uuid: str,
    taken_at: float,
    own: Mapping[str, float],
    device: Mapping[str, float],
    *,
    of_slice: bool = False,
) -> Sample:
    """``device``: what any series of the device says; of the whole device that is told by its instances' series too."""
    known: dict[str, float | int | None] = {}
    part = None if GR_ENGINE not in own else 100 * own[GR_ENGINE]
    percent = own.get(GPU_UTIL)
    # a device's value that is repeated for its instances would not be theirs
    busy = (percent if part is None else part) if of_slice else (part if percent is None else percent)
    known["utilization_percent"] = busy
    if _SM_ACTIVE in own:
        known["sm_activity_percent"] = 100 * own[_SM_ACTIVE]
    if FB_USED in own:
        known["memory_used_bytes"] = round(own[FB_USED] * _MIB)
    known["memory_total_bytes"] = _total_bytes(own)
    for metric, (name, factor) in _OF_DEVICE.items():
        if metric in device:
            known[name] = round(device[metric] * factor)
    if device.get(_XID):
        known["last_xid"] = round(device[_XID])
    missing = {name: "not_supported" for name in _FIELDS if known.get(name) is None and name not in _MAY_BE_NONE}
    missing["processes"] = "not_visible"
    values = {name: value for name, value in known.items() if value is not None}
    return Sample(uuid, taken_at, missing=tuple(sorted(missing.items())), **values)  # type: ignore[arg-type]


def _total_bytes(own: Mapping[str, float]) -> int | None:
    if _FB_TOTAL in own:
        return round(own[_FB_TOTAL] * _MIB)
    if FB_USED in own and _FB_FREE in own:
        return round((own[FB_USED] + own[_FB_FREE] + own.get(_FB_RESERVED, 0.0)) * _MIB)
    return None


def _named_bytes(name: str | None) -> int:
    """``1g.5gb``, ``NVIDIA A100-PCIE-40GB``: the size it is sold with; 0 when its name does not say."""
    found = re.search(r"(\d+)\s?gb\b", name or "", re.IGNORECASE)
    return int(found[1]) * 10**9 if found else 0
