"""Tells when memory gets short on a device on which paused sessions have stayed: they are moved out of it then.

Who holds the device was promised what it asked for. Nothing keeps it from taking more, and what has stayed there must
not be why it fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from ..broker import events as ev
from ..broker.residents import everybody, place_of
from ..domain.telemetry import Sample
from ..runtime import Runtime
from ..tasks import end

__all__ = ["FREE_BYTES", "FREE_PART", "RoomWatch", "is_short"]

log = logging.getLogger(__name__)

#: free memory is little when it is less than this part of the device, or than so many bytes
FREE_PART = 0.05
FREE_BYTES = 512 * 2**20
#: what was told is being done: it is not told again before, in seconds
QUIET_S = 5.0


def is_short(sample: Sample) -> bool:
    """Whether little is left of a device's memory; what is not known is not short."""
    if sample.memory_used_bytes is None or sample.memory_total_bytes is None:
        return False
    wanted = max(FREE_PART * sample.memory_total_bytes, FREE_BYTES)
    return sample.memory_total_bytes - sample.memory_used_bytes < wanted


class RoomWatch:
    """Looks at each reading while paused sessions have stayed on a device.

    Parameters
    ----------
    runtime : Runtime
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._told: dict[str, float] = {}
        self._telling: set[asyncio.Task[None]] = set()

    def look(self, samples: Mapping[str, Sample]) -> None:
        """Take a reading, on the event loop."""
        now = self._runtime.now()
        for uuid in self._places():
            sample = samples.get(uuid)
            if sample is None or not is_short(sample) or now - self._told.get(uuid, float("-inf")) < QUIET_S:
                continue
            self._told[uuid] = now
            log.info("Memory is short on %s: what has stayed there of paused sessions is moved out", uuid)
            task = asyncio.ensure_future(self._runtime.report(ev.MemoryShort(uuid)))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def close(self) -> None:
        await end(*self._telling)

    # -- inside -----------------------------------------------------------------------------------

    def _places(self) -> list[str]:
        """The devices and MIG devices on which somebody has stayed."""
        staying = everybody(self._runtime.broker.state)
        return sorted({share.mig_uuid or share.device_uuid for one in staying for share in place_of(one)})
