"""NVML's error numbers in our words. Pure: numbers in, words out."""

from __future__ import annotations

from ..domain.telemetry import DriverStatus

__all__ = ["LOST", "NOT_SUPPORTED", "REOPEN", "code_of", "reason_for", "status_for"]

_NO_PERMISSION = 4
_UNKNOWN = 999

#: not supported, function not found, argument version mismatch, deprecated
NOT_SUPPORTED = frozenset({3, 13, 25, 26})
#: GPU is lost, reset required, GPU not found
LOST = frozenset({15, 16, 28})
#: invalid argument, not found: what a MIG device's handle answers once it has been taken down
_GONE = frozenset({2, 6})
#: uninitialized, driver not loaded: the whole library has to be opened again
REOPEN = frozenset({1, 9})

_STATUS = {
    "library_missing": (
        "No NVIDIA driver here (libnvidia-ml not found).",
        "On a machine with an NVIDIA GPU, install the driver; in a container, start it with the GPU.",
    ),
    "driver_not_loaded": (
        "The NVIDIA driver is not loaded.",
        "This is usual for a GPU image on a machine without a GPU; otherwise load the driver "
        "(modprobe nvidia) or restart the machine.",
    ),
    "no_permission": (
        "This account may not use the NVIDIA driver.",
        "Ask for access to /dev/nvidia*.",
    ),
    "version_mismatch": (
        "The NVIDIA driver and its library have different versions.",
        "This follows an update of the driver: restart the machine, or reload the driver's modules.",
    ),
    "not_answering": (
        "The NVIDIA driver does not answer.",
        "It is asked again every now and then; nvidia-smi and the system's log tell more.",
    ),
    "failed": (
        "The NVIDIA driver can't be used.",
        "nvidia-smi and the system's log tell more.",
    ),
}

_CODES = {
    4: "no_permission",
    9: "driver_not_loaded",
    10: "not_answering",
    12: "library_missing",
    13: "version_mismatch",
    18: "version_mismatch",
    27: "not_answering",
}


def code_of(error: BaseException | None) -> int:
    """NVML's number of an error, 999 ("unknown") when it is not one of NVML's."""
    value = getattr(error, "value", _UNKNOWN)
    return value if isinstance(value, int) else _UNKNOWN


def status_for(error: BaseException | None, *, code: str | None = None) -> DriverStatus:
    """What a failed initialization means."""
    code = code or _CODES.get(code_of(error), "failed")
    text, hint = _STATUS[code]
    if code == "failed" and error is not None:
        text = f"The NVIDIA driver can't be used: {error}."
    return DriverStatus(code, text, hint)


def reason_for(error: BaseException) -> str:
    """The reason in ``Sample.missing`` and ``DeviceInfo.lost_reason``."""
    return reason_for_code(code_of(error))


def reason_for_code(number: int) -> str:
    """`reason_for` an error of NVML by its number."""
    if number in NOT_SUPPORTED:
        return "not_supported"
    if number == _NO_PERMISSION:
        return "no_permission"
    if number in LOST | REOPEN | _GONE:
        return "lost"
    return "not_answering"
