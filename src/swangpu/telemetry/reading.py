"""One sample in the making: each field fails alone, with a reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..domain.telemetry import ProcessUse, Sample
from .nvml_errors import NOT_SUPPORTED, code_of, reason_for

__all__ = ["DEVICE_ONLY", "Reading", "nothing", "of_migs"]

#: what is read, and the fields of `Sample` that come of it
_FIELDS = {
    "utilization": ("utilization_percent", "utilization_percent_max"),
    "memory": ("memory_used_bytes", "memory_total_bytes"),
    "counters": (
        "power_mw",
        "energy_mj",
        "pcie_tx_bytes_per_s",
        "pcie_rx_bytes_per_s",
        "nvlink_tx_bytes_per_s",
        "nvlink_rx_bytes_per_s",
        "ecc_uncorrected_count",
    ),
    "temperature": ("temperature_c",),
    "clock": ("sm_clock_mhz",),
    "reasons": ("throttle_reasons",),
    "activity": ("sm_activity_percent",),
    "processes": ("processes",),
}
#: what belongs to the whole device and is not asked of a MIG device
DEVICE_ONLY = ("counters", "temperature", "clock", "reasons")
_ALL_FIELDS = tuple(name for names in _FIELDS.values() for name in names)


class Reading:
    """One sample in the making: what could not be read is put down with its reason, and the rest goes on.

    Errors whose number is ``fatal`` are about the whole device and are raised.
    """

    def __init__(self, unsupported: set[str], fatal: frozenset[int]) -> None:
        self.missing: dict[str, str] = {}
        self._unsupported = unsupported
        self._fatal = fatal

    def of(self, what: str, call: Callable[..., Any], *args: Any) -> Any:
        """What the call gives, or None with the reason put down under the names of its fields."""
        if what not in self._unsupported:
            try:
                return call(*args)
            except Exception as error:  # one field fails alone
                if code_of(error) in self._fatal:
                    raise
                if code_of(error) in NOT_SUPPORTED:
                    self._unsupported.add(what)
                return self.lacks(what, reason_for(error))
        return self.lacks(what, "not_supported")

    def lacks(self, what: str, reason: str) -> None:
        """Put down that something is not known, and why."""
        for name in _FIELDS.get(what, ()):
            self.missing[name] = reason

    def why(self, what: str) -> str | None:
        """Why something is not known; None when it is."""
        return self.missing.get(_FIELDS[what][0])


def of_migs(migs: Sequence[Sample], missing: dict[str, str]) -> tuple[ProcessUse, ...] | None:
    """The processes of a device whose MIG mode is on: only its MIG devices tell them without special rights."""
    for mig in migs:
        if mig.processes is None:
            missing["processes"] = dict(mig.missing).get("processes", "not_visible")
            return None
    return tuple(process for mig in migs for process in mig.processes or ())


def nothing(uuid: str, now: float, reason: str) -> Sample:
    """A sample of which nothing could be read, for one reason."""
    return Sample(uuid, now, missing=tuple((name, reason) for name in _ALL_FIELDS))
