"""Time for the live system."""

from __future__ import annotations

import asyncio
import time

__all__ = ["SystemClock", "wait_at_most"]


class SystemClock:
    """Wall-clock time read once, then carried on by the monotonic clock.

    Somebody who sets the machine's clock while leases run must neither end them all nor make them last for ever.
    """

    def __init__(self) -> None:
        self._wall = time.time()
        self._start = time.monotonic()

    def now(self) -> float:
        """Unix seconds, never going back and never jumping."""
        return self._wall + (time.monotonic() - self._start)

    def monotonic(self) -> float:
        """Seconds since some time in the past."""
        return time.monotonic()


async def wait_at_most(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for an event, or for some seconds if it does not come.

    Not ``asyncio.wait_for``: before Python 3.12 that can swallow a cancellation that comes together with the event,
    and a loop around it then never ends.
    """
    timer = asyncio.get_running_loop().call_later(seconds, event.set) if seconds is not None else None
    try:
        await event.wait()
    finally:
        if timer is not None:
            timer.cancel()
