"""One reading of a device, with a reason for everything that is not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["DeviceInfo", "DriverStatus", "MigInfo", "ProcessUse", "Sample"]


@dataclass(frozen=True)
class MigInfo:
    """A MIG device: its UUID, profile (``1g.10gb``) and memory."""

    uuid: str
    profile: str
    memory_bytes: int


@dataclass(frozen=True)
class DeviceInfo:
    """What does not change while a device is up.

    ``lost_reason`` is set when the device was seen before and does not answer now.
    """

    uuid: str
    index: int
    name: str
    memory_bytes: int
    mig_enabled: bool = False
    mig_devices: tuple[MigInfo, ...] = ()
    lost_reason: str | None = None


class ProcessUse(NamedTuple):
    """A process on a device. ``memory_bytes`` is None where the driver does not tell."""

    pid: int
    memory_bytes: int | None
    mig_uuid: str | None = None
    sm_percent: float | None = None


class Sample(NamedTuple):
    """One reading of one device or MIG device (``uuid``) at one time. A tuple: many are made, and it is made fast.

    A field that the driver does not give is None, and ``missing`` says why:
    ``(("utilization_percent", "not_supported"), …)``. Reasons: ``not_supported``, ``no_permission``,
    ``lost``, ``not_answering``, ``not_visible``, ``not_yet`` (what is told of two readings, at the first).

    Attributes
    ----------
    utilization_percent, utilization_percent_max : float or None
        Percent of time in which at least one kernel ran, since the reading before: the mean and the highest of the
        driver's own samples. It is not occupancy.
    sm_activity_percent : float or None
        Percent of the multiprocessors that were busy.
    throttle_reasons : tuple of str or None
        Why the clocks are lower than they could be: ``power_cap``, ``hardware``, ``sync_boost``,
        ``software_thermal``, ``hardware_thermal``, ``power_brake``. Empty when they are not.
    pcie_tx_bytes_per_s, pcie_rx_bytes_per_s, nvlink_tx_bytes_per_s, nvlink_rx_bytes_per_s : float or None
        Sent and received by the device, of byte counters; NVLink's are those of all its links.
    ecc_uncorrected_count : int or None
        Memory errors that could not be corrected, since the driver was loaded.
    last_xid, last_xid_at : int and float, or None
        The driver's number of the last error on this device since we look, and when (Unix seconds).
    processes : tuple of ProcessUse or None
        None when not visible (a foreign PID namespace), empty when there are none.
    """

    uuid: str
    taken_at: float
    utilization_percent: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    power_mw: int | None = None
    energy_mj: int | None = None
    temperature_c: int | None = None
    sm_clock_mhz: int | None = None
    utilization_percent_max: float | None = None
    sm_activity_percent: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    pcie_tx_bytes_per_s: float | None = None
    pcie_rx_bytes_per_s: float | None = None
    nvlink_tx_bytes_per_s: float | None = None
    nvlink_rx_bytes_per_s: float | None = None
    ecc_uncorrected_count: int | None = None
    last_xid: int | None = None
    last_xid_at: float | None = None
    processes: tuple[ProcessUse, ...] | None = None
    missing: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class DriverStatus:
    """Whether the driver can be used, and if not why, in words for a person.

    ``code``: ``ok``, ``library_missing``, ``driver_not_loaded``, ``no_permission``, ``version_mismatch``,
    ``not_answering``, ``failed``.
    """

    code: str
    text: str = ""
    hint: str = ""
    driver_version: str | None = None

    @property
    def ok(self) -> bool:
        return self.code == "ok"
