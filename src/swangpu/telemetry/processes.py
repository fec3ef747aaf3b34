"""What the machine says of a process; remembered for a while, since the same few are asked about every second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .attribution import ProcessFacts

__all__ = ["ProcessReader"]

#: how long something is believed, in seconds: a process id can be given to another process
BELIEVED_S = 10.0
#: those that were not asked about for the longest time are forgotten first
MOST = 4096


class ProcessReader:
    """Answers with `ProcessFacts`. Used from one thread.

    Parameters
    ----------
    monotonic : callable
        Seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._known: dict[int, tuple[float, ProcessFacts | None]] = {}

    def facts(self, pid: int) -> ProcessFacts | None:
        """None when there is no such process, or it can't be seen."""
        now = self._monotonic()
        known = self._known.get(pid)
        if known is None or now - known[0] > BELIEVED_S:
            while len(self._known) >= MOST:
                del self._known[next(iter(self._known))]
            known = self._known[pid] = (now, _read(pid))
        return known[1]


def _read(pid: int) -> ProcessFacts | None:
    import psutil

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            parent_pid = process.ppid()
            name = process.name()
            try:
                user_id: int | None = process.uids().real
            except psutil.Error:
                user_id = None
            try:
                environment = process.environ()
            except (psutil.Error, OSError):
                # Another user's: nothing is known of it but that it is there.
                environment = {}
    except (psutil.Error, ValueError, OverflowError):
        return None
    return ProcessFacts(
        pid,
        parent_pid,
        user_id,
        name,
        environment.get("SWANGPU_SESSION_ID"),
        environment.get("SWANGPU_KERNEL_ID"),
        _cgroup(pid),
    )


def _cgroup(pid: int) -> str | None:
    """The path in the unified hierarchy, or where there is none, of the first."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    paths = {line.split(":", 2)[0]: line.split(":", 2)[2] for line in lines if line.count(":") >= 2}
    return paths.get("0") or next(iter(paths.values()), None)
