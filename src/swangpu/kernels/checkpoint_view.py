"""What `Checkpointer` has to know of devices, out of what a driver tells. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ..domain.telemetry import DeviceInfo, DriverStatus, Sample
from .checkpoint import DeviceReading, Held
from .checkpoint_machine import DeviceFacts

__all__ = ["held_of", "reading_of"]


def reading_of(status: DriverStatus, devices: Iterable[DeviceInfo], samples: Mapping[str, Sample]) -> DeviceReading:
    """The driver's version, and the devices that answer.

    Parameters
    ----------
    samples : mapping of str to Sample
        By UUID.
    """
    if not status.ok:
        return DeviceReading()
    facts = []
    for device in devices:
        sample = samples.get(device.uuid)
        if device.lost_reason or sample is None:
            continue
        used = sample.memory_used_bytes
        free = None if used is None else max(0, device.memory_bytes - used)
        facts.append(DeviceFacts(device.uuid, device.name, device.mig_enabled, used, free))
    return DeviceReading(status.driver_version or "", tuple(facts))


def held_of(
    status: DriverStatus, devices: Iterable[DeviceInfo], samples: Mapping[str, Sample], pids: Collection[int]
) -> list[Held] | None:
    """What these processes hold of devices, or None where some device does not show its processes.

    What a process holds of a device that does not answer is not known, and to take that for nothing would be wrong.
    """
    if not status.ok:
        return None
    held: list[Held] = []
    for device in devices:
        sample = samples.get(device.uuid)
        if sample is None or sample.processes is None:
            return None
        held += [Held(one.pid, device.uuid, one.memory_bytes) for one in sample.processes if one.pid in pids]
    return held
