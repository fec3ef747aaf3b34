"""Time for the live system."""

from __future__ import annotations

import time

__all__ = ["SystemClock"]


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
