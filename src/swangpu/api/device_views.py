"""Devices and their readings in the words of the wire. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping

from .. import wire
from ..domain.telemetry import DeviceInfo, DriverStatus, Sample

__all__ = ["device_view", "driver_view", "sample_view"]


def sample_view(sample: Sample) -> wire.SampleView:
    return wire.SampleView(
        taken_at=round(sample.taken_at, 3),
        utilization_percent=_tenth(sample.utilization_percent),
        memory_used_bytes=sample.memory_used_bytes,
        memory_total_bytes=sample.memory_total_bytes,
        power_mw=sample.power_mw,
        temperature_c=sample.temperature_c,
        process_count=len(sample.processes) if sample.processes is not None else None,
        utilization_percent_max=_tenth(sample.utilization_percent_max),
        sm_activity_percent=_tenth(sample.sm_activity_percent),
        sm_clock_mhz=sample.sm_clock_mhz,
        throttle_reasons=None if sample.throttle_reasons is None else list(sample.throttle_reasons),
        pcie_tx_bytes_per_s=sample.pcie_tx_bytes_per_s,
        pcie_rx_bytes_per_s=sample.pcie_rx_bytes_per_s,
        nvlink_tx_bytes_per_s=sample.nvlink_tx_bytes_per_s,
        nvlink_rx_bytes_per_s=sample.nvlink_rx_bytes_per_s,
        ecc_uncorrected_count=sample.ecc_uncorrected_count,
        last_xid=sample.last_xid,
        last_xid_at=sample.last_xid_at,
        missing=dict(sample.missing),
    )


def _tenth(percent: float | None) -> float | None:
    """More is not known, and would have to be sent."""
    return None if percent is None else round(percent, 1)


def device_view(
    info: DeviceInfo, samples: Mapping[str, Sample], pool: str, *, simulated: bool, silent_since: float | None = None
) -> wire.Device:
    """A device and its MIG devices with the latest readings.

    Parameters
    ----------
    silent_since : float, optional
        Since when a call about it has not come back (Unix seconds).
    """
    sample = samples.get(info.uuid)
    lost = None
    if info.lost_reason == "not_answering" and silent_since is not None:
        at = time.strftime("%H:%M UTC", time.gmtime(silent_since))
        text = f"It has not answered since {at}: the driver takes too long."
        lost = wire.ReasonView(code="device_silent", params={"since": round(silent_since, 3)}, text=text)
    elif info.lost_reason:
        text = _LOST_WORDS.get(info.lost_reason, f"It does not answer: {info.lost_reason}.")
        lost = wire.ReasonView(code=info.lost_reason, params={}, text=text)
    return wire.Device(
        uuid=info.uuid,
        index=info.index,
        name=info.name,
        memory_bytes=info.memory_bytes,
        pool=pool,
        simulated=simulated,
        mig_devices=[
            wire.MigDeviceView(
                uuid=m.uuid,
                profile=m.profile,
                memory_bytes=m.memory_bytes,
                sample=sample_view(samples[m.uuid]) if m.uuid in samples else None,
                pods=None,
            )
            for m in info.mig_devices
        ],
        sample=sample_view(sample) if sample is not None else None,
        lost=lost,
        remote=None,
    )


def driver_view(status: DriverStatus) -> wire.ReasonView | None:
    """What is wrong with the driver, or None."""
    if status.ok:
        return None
    return wire.ReasonView(code=status.code, params={"hint": status.hint}, text=status.text)


_LOST_WORDS = {
    "lost": "The device stopped answering. It may come back by itself.",
    "not_answering": "The driver takes too long to answer for this device.",
    "no_permission": "The driver does not let this user read this device.",
}
