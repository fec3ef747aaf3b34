"""XID errors: the driver's word for what went wrong on a device. They come as events and in no field."""

from __future__ import annotations

import ctypes
import logging
from typing import Any

from .nvml_errors import code_of

__all__ = ["XidEvents"]

log = logging.getLogger(__name__)

_XID = 0x8
_TIMEOUT = 10
_AT_MOST = 16


class XidEvents:
    """Collects XID errors of the devices that are registered.

    Parameters
    ----------
    nvml : module
        ``pynvml``, initialized; to be made anew after it was shut down.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._set: Any = None
        self._uuids: dict[int | None, str] = {}

    def register(self, uuid: str, handle: Any) -> None:
        """Hear of a device. Nothing happens where that is not supported or permitted."""
        if uuid in self._uuids.values():
            return
        try:
            if self._set is None:
                self._set = self._nvml.nvmlEventSetCreate()
            self._nvml.nvmlDeviceRegisterEvents(handle, _XID, self._set)
        except (self._nvml.NVMLError, AttributeError) as error:
            log.debug("No events of %s: %s", uuid, error)
        self._uuids[_address(handle)] = uuid

    def poll(self) -> list[tuple[str, int]]:
        """UUID and number of each error since this was last asked; does not wait."""
        out: list[tuple[str, int]] = []
        while self._set is not None and len(out) < _AT_MOST:
            try:
                event = self._nvml.nvmlEventSetWait_v2(self._set, 0)
            except self._nvml.NVMLError as error:
                if code_of(error) != _TIMEOUT:
                    log.debug("No events: %s", error)
                break
            uuid = self._uuids.get(_address(event.device))
            if uuid is not None and event.eventType == _XID:
                out.append((uuid, int(event.eventData)))
        return out

    def close(self) -> None:
        """Let go of the set, before the library is shut down."""
        if self._set is not None:
            try:
                self._nvml.nvmlEventSetFree(self._set)
            except self._nvml.NVMLError as error:
                log.debug("The event set stays: %s", error)
        self._set = None
        self._uuids.clear()


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value
