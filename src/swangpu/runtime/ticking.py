"""Has the broker handle what time alone brings about, when it is due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ..errors import SwanGpuError
from ..tasks import wait_at_most

__all__ = ["Ticker"]

log = logging.getLogger(__name__)

#: the deadline is looked at again after so many seconds, though nothing has happened
AT_MOST_S = 3600.0


class Ticker:
    """A loop that sleeps until the next deadline.

    Parameters
    ----------
    now : callable
        Unix seconds.
    deadline : callable
        When something is due next (Unix seconds), or None.
    tick : callable
        Handles what is due; whether anything came of it.
    """

    def __init__(
        self, now: Callable[[], float], deadline: Callable[[], float | None], tick: Callable[[], Awaitable[bool]]
    ) -> None:
        self._now, self._deadline, self._tick = now, deadline, tick
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """The deadline may be another one now."""
        self._woken.set()

    async def run(self) -> None:
        while True:
            deadline = self._deadline()
            self._woken.clear()
            if deadline is None or deadline > self._now():
                await wait_at_most(self._woken, None if deadline is None else min(AT_MOST_S, deadline - self._now()))
                continue
            try:
                if not await self._tick():
                    # What is due and brings nothing about must not make this loop spin.
                    await asyncio.sleep(0.05)
            except SwanGpuError as error:
                log.warning("Time could not be handled: %s", error.detail)
                await asyncio.sleep(1.0)
