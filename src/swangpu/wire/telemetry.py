"""Devices, what is used of them, by whom, and what cells needed."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from .sessions import ReasonView

__all__ = [
    "Device",
    "Devices",
    "HiddenProcesses",
    "History",
    "Looking",
    "MigDeviceView",
    "PodView",
    "PodsView",
    "ProcessView",
    "Processes",
    "ProfileView",
    "Profiles",
    "RemoteView",
    "SampleView",
    "UnknownSince",
]


class SampleView(Struct):
    """One reading. A field that is null has its reason in ``missing``."""

    taken_at: float
    utilization_percent: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    power_mw: int | None
    temperature_c: int | None
    process_count: int | None
    utilization_percent_max: float | None
    sm_activity_percent: float | None
    sm_clock_mhz: int | None
    throttle_reasons: list[str] | None
    pcie_tx_bytes_per_s: float | None
    pcie_rx_bytes_per_s: float | None
    nvlink_tx_bytes_per_s: float | None
    nvlink_rx_bytes_per_s: float | None
    ecc_uncorrected_count: int | None
    last_xid: int | None
    last_xid_at: float | None
    missing: dict[str, str]


class PodView(Struct):
    namespace: str
    name: str


class PodsView(Struct):
    """Which pods hold a GPU of the site: how many, and for operators which. None is not known, and has a reason."""

    count: int | None
    items: list[PodView] | None
    reason: ReasonView | None


class RemoteView(Struct):
    """Where a GPU is that is not this machine's, as the site's Prometheus knows it. It can be watched, not got.

    ``age_s``: how long ago its newest value was scraped, in seconds.
    """

    host: str
    age_s: float | None
    pods: PodsView


class MigDeviceView(Struct):
    uuid: str
    profile: str
    memory_bytes: int
    sample: SampleView | None
    #: of a GPU of another machine
    pods: PodsView | None


class Device(Struct):
    """A GPU. ``pool`` is empty for one that can't be got here."""

    uuid: str
    index: int
    name: str
    memory_bytes: int
    pool: str
    simulated: bool
    mig_devices: list[MigDeviceView]
    sample: SampleView | None
    #: why the device does not answer now
    lost: ReasonView | None
    #: of a GPU of another machine
    remote: RemoteView | None


class ProcessView(Struct):
    """A process on a device or MIG device. ``kind``: ``mine``, ``others`` (an operator sees them), or ``unheld``: it
    holds no session. ``how`` it was found to be a session's: ``tree``, ``environment`` or ``cgroup``."""

    device_uuid: str
    mig_uuid: str | None
    pid: int
    name: str
    kind: Literal["mine", "others", "unheld"]
    session_id: str | None
    kernel_id: str | None
    path: str | None
    how: str | None
    memory_bytes: int | None
    sm_percent: float | None


class HiddenProcesses(Struct):
    """What can't be told one by one of a device: how many are others', or why processes are not seen at all."""

    device_uuid: str
    mig_uuid: str | None
    count: int | None
    memory_bytes: int | None
    reason: ReasonView | None


class Processes(Struct):
    items: list[ProcessView]
    hidden: list[HiddenProcesses]
    as_of: float


class UnknownSince(Struct):
    """From when on which fields were not known, and why, until the next of them."""

    since: float
    missing: dict[str, str]


class History(Struct):
    """A down-sampled series: parallel lists, null where nothing is known; ``_max`` keeps the peaks.

    ``missing`` says why of the newest reading, ``reasons`` of all; where neither says anything, nothing was read.
    """

    subject: str
    interval_s: float
    times: list[float]
    utilization_percent: list[float | None]
    utilization_percent_min: list[float | None]
    utilization_percent_max: list[float | None]
    memory_used_bytes: list[int | None]
    memory_used_bytes_max: list[int | None]
    power_mw: list[int | None]
    power_mw_max: list[int | None]
    temperature_c_max: list[int | None]
    sm_activity_percent: list[float | None]
    sm_activity_percent_max: list[float | None]
    missing: dict[str, str]
    reasons: list[UnknownSince]


class Looking(Struct):
    """Until when there is a reading each second."""

    until: float


class ProfileView(Struct):
    """What one cell did on a GPU. A figure that is null has its reason in ``missing``.

    ``busy_percent_min`` and ``_max`` are certain, whatever happened between ``samples``; ``memory_source`` is
    ``allocator`` or ``allocator_at_most`` (of what ``allocators`` names), ``device``, or ``processes``. ``shared``:
    others use the same device, and the figures are those of the session's own processes.
    """

    session_id: str
    path: str | None
    kernel_id: str | None
    started_at: float
    ended_at: float
    wall_s: float
    busy_percent: float | None
    busy_percent_min: float | None
    busy_percent_max: float | None
    memory_peak_bytes: int | None
    memory_source: str | None
    allocators: list[str]
    energy_mj: int | None
    samples: int
    shared: bool
    missing: dict[str, str]
    #: a plain sentence where it is certain
    verdict: ReasonView | None
    simulated: bool


class Devices(Struct):
    items: list[Device]
    as_of: float
    driver: ReasonView | None
    #: why the site's other GPUs are not all here, where they are asked for
    remote: ReasonView | None


class Profiles(Struct):
    items: list[ProfileView]
    as_of: float
