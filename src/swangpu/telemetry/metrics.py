"""The names of the page at ``/metrics``; ``docs/metrics.md`` explains each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["DRIVER_STATES", "METRICS", "THROTTLE_REASONS", "USES", "Metric"]

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
#: what `swangpu.domain.telemetry.Sample.throttle_reasons` can say
THROTTLE_REASONS = ("power_cap", "hardware", "sync_boost", "software_thermal", "hardware_thermal", "power_brake")
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
    Metric(
        "swan_gpu_sm_activity_ratio", "gauge", _DEVICE, "ratio", "Part of the streaming multiprocessors that were busy."
    ),
    Metric(
        "swan_gpu_throttled",
        "gauge",
        (*_DEVICE, "reason"),
        "1",
        "1 for each reason for which the clocks are lower than they could be, 0 for the others.",
    ),
    Metric("swan_gpu_pcie_transmit_bytes_per_second", "gauge", _DEVICE, "bytes_per_second", "Sent over PCIe."),
    Metric("swan_gpu_pcie_receive_bytes_per_second", "gauge", _DEVICE, "bytes_per_second", "Received over PCIe."),
    Metric("swan_gpu_nvlink_transmit_bytes_per_second", "gauge", _DEVICE, "bytes_per_second", "Sent over NVLink."),
    Metric("swan_gpu_nvlink_receive_bytes_per_second", "gauge", _DEVICE, "bytes_per_second", "Received over NVLink."),
    Metric(
        "swan_gpu_ecc_uncorrected_errors_total",
        "counter",
        _DEVICE,
        "errors",
        "Memory errors that could not be corrected, since the driver was loaded.",
    ),
    Metric("swan_gpu_last_xid", "gauge", _DEVICE, "1", "The driver's number of the last error on this device."),
    Metric("swan_gpu_last_xid_timestamp_seconds", "gauge", _DEVICE, "seconds", "When that was, in Unix time."),
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
        "swan_gpu_driver_calls_total",
        "counter",
        (),
        "calls",
        "How often the driver was asked for its list of devices, or for the values of one.",
    ),
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
