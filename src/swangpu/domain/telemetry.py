"""One reading of a device, with a reason for everything that is not known."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class ProcessUse:
    """A process on a device. ``memory_bytes`` is None where the driver does not tell."""

    pid: int
    memory_bytes: int | None
    mig_uuid: str | None = None
    sm_percent: float | None = None


@dataclass(frozen=True)
class Sample:
    """One reading of one device or MIG device (``uuid``) at one time.

    A field that the driver does not give is None, and ``missing`` says why:
    ``(("utilization_percent", "not_supported"), …)``. Reasons: ``not_supported``, ``no_permission``,
    ``lost``, ``not_answering``, ``not_visible``.

    Attributes
    ----------
    utilization_percent : float or None
        Percent of time in which at least one kernel ran. It is not occupancy.
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
