"""What a process of this machine has used: the load of a simulated device is made from it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import psutil

__all__ = ["ProcessReading", "read_process"]


@dataclass(frozen=True)
class ProcessReading:
    """A process and its children.

    Parameters
    ----------
    started_at : float
        When the process began, in Unix seconds: with its id, this is who it is.
    cpu_s : float
        Processor time so far, in seconds, that of children which have ended included.
    rss_bytes : int
        Resident memory now.
    """

    started_at: float
    cpu_s: float
    rss_bytes: int


def read_process(pid: int) -> ProcessReading | None:
    """Read a process, or None when there is none of that id."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            started_at = process.create_time()
            times = process.cpu_times()
            cpu_s = times.user + times.system + times.children_user + times.children_system
            rss_bytes = process.memory_info().rss
        children = process.children(recursive=True)
    except psutil.AccessDenied:
        return ProcessReading(0.0, 0.0, 0)
    except psutil.Error:
        return None
    for child in children:
        # One that has just ended counts with its parent's ended children.
        with contextlib.suppress(psutil.Error):
            times = child.cpu_times()
            cpu_s += times.user + times.system + times.children_user + times.children_system
            rss_bytes += child.memory_info().rss
    return ProcessReading(started_at, cpu_s, rss_bytes)
