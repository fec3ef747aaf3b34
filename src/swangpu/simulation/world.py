"""Virtual time and virtual processes: what takes a day passes in milliseconds, the same way every time.

::

    world = World()
    world.at(3600.0, lambda: ...)            # in an hour from now
    world.processes.start(4711, cpu=0.5)     # computes half of the time
    world.run(86400.0)                       # a day passes
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from .processes import ProcessReading

__all__ = ["VirtualClock", "VirtualProcesses", "World"]


@dataclass
class VirtualClock:
    """Implements `swangpu.ports.Clock`; time passes only when it is told to.

    Parameters
    ----------
    time_s : float
        Unix seconds at the beginning.
    """

    time_s: float = 1_700_000_000.0
    _elapsed_s: float = field(default=0.0, init=False)
    _jumped_s: float = field(default=0.0, init=False)

    def now(self) -> float:
        """Unix seconds."""
        return self.time_s + self._elapsed_s + self._jumped_s

    def monotonic(self) -> float:
        """Seconds since the beginning, whatever was done to the wall clock."""
        return self._elapsed_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if seconds < 0.0:
            raise ValueError("time does not go back; to set the wall clock, use jump")
        self._elapsed_s += seconds

    def advance_to(self, monotonic_s: float) -> None:
        """Let time pass until `monotonic` gives exactly this; nothing happens if that is past."""
        self._elapsed_s = max(self._elapsed_s, monotonic_s)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or a time server does."""
        self._jumped_s += seconds


@dataclass
class VirtualProcesses:
    """Processes that use processor time at a rate; read by `SimulatedDriver` in place of real ones."""

    clock: VirtualClock
    _rows: dict[int, tuple[ProcessReading, float, float]] = field(default_factory=dict, init=False)

    def start(self, pid: int, *, cpu: float = 0.0, rss_bytes: int = 0) -> None:
        """A new process; ``cpu`` is seconds of processor time in each second."""
        now = self.clock.monotonic()
        self._rows[pid] = (ProcessReading(self.clock.now(), 0.0, rss_bytes), cpu, now)

    def change(self, pid: int, *, cpu: float | None = None, rss_bytes: int | None = None) -> None:
        """From now on it uses so much."""
        reading, rate = self._settled(pid)
        size = reading.rss_bytes if rss_bytes is None else rss_bytes
        self._rows[pid] = (replace(reading, rss_bytes=size), rate if cpu is None else cpu, self.clock.monotonic())

    def end(self, pid: int) -> None:
        """It is gone."""
        self._rows.pop(pid, None)

    def read(self, pid: int) -> ProcessReading | None:
        """What `swangpu.simulation.processes.read_process` is for real processes."""
        return self._settled(pid)[0] if pid in self._rows else None

    def _settled(self, pid: int) -> tuple[ProcessReading, float]:
        reading, rate, since = self._rows[pid]
        return replace(reading, cpu_s=reading.cpu_s + rate * (self.clock.monotonic() - since)), rate


class World:
    """A clock, processes, and what is to happen when.

    Things due at the same time happen in the order in which they were planned.
    """

    def __init__(self, time_s: float = 1_700_000_000.0) -> None:
        self.clock = VirtualClock(time_s)
        self.processes = VirtualProcesses(self.clock)
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, in_s: float, action: Callable[[], None]) -> None:
        """Plan something, some seconds from now; what is in the past is done next."""
        self._count += 1
        heapq.heappush(self._planned, (self.clock.monotonic() + max(0.0, in_s), self._count, action))

    def every(self, period_s: float, action: Callable[[], None]) -> None:
        """Plan something again and again, first one period from now."""
        if period_s <= 0.0:
            raise ValueError("a period must be longer than nothing")

        def again() -> None:
            action()
            self.at(period_s, again)

        self.at(period_s, again)

    def run(self, for_s: float) -> None:
        """Let time pass, and do what is planned when it is due."""
        end = self.clock.monotonic() + for_s
        while self._planned and self._planned[0][0] <= end:
            due, _, action = heapq.heappop(self._planned)
            self.clock.advance_to(due)
            action()
        self.clock.advance_to(end)
