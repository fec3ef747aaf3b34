"""What the machine says of a process; remembered for a while, since the same few are asked about every second."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from .attribution import ProcessFacts

__all__ = ["ProcessReader", "started_at"]

#: how long something is believed, in seconds: a process id can be given to another process
BELIEVED_S = 10.0
#: those that were not asked about for the longest time are forgotten first
MOST = 4096
#: a process stuck in the kernel can keep who reads its command or environment waiting: not longer than this, in seconds
WAIT_S = 0.25
#: so many threads may wait for such processes; until one of them comes back no other process is asked
MAX_STUCK = 3

_OURS = ("SWANGPU_SESSION_ID", "SWANGPU_KERNEL_ID")

_Begun = tuple[str, Mapping[str, str]]
_NOTHING: _Begun = ("", {})

K = TypeVar("K")
V = TypeVar("V")


class ProcessReader:
    """Answers with `ProcessFacts`. Used from one thread.

    Parameters
    ----------
    monotonic : callable
        Seconds.
    begun : callable, optional
        The name of a process and the environment that it was started with; may block.
    """

    def __init__(self, monotonic: Callable[[], float], begun: Callable[[int], _Begun] | None = None) -> None:
        self._monotonic = monotonic
        self._read_begun = begun or _begun
        self._known: dict[int, tuple[float, ProcessFacts | None]] = {}
        #: by process id and start: what never changes of a process is read once
        self._begun: dict[tuple[int, float], _Begun] = {}
        self._stuck: list[threading.Thread] = []

    def facts(self, pid: int) -> ProcessFacts | None:
        """None when there is no such process, or it can't be seen."""
        now = self._monotonic()
        known = self._known.get(pid)
        if known is None or now - known[0] > BELIEVED_S:
            known = (now, self._read(pid))
            _keep(self._known, pid, known)
        return known[1]

    def _read(self, pid: int) -> ProcessFacts | None:
        import psutil

        if pid <= 0:  # nobody's, though some systems have a process of that id
            return None
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                started, parent_pid = process.create_time(), process.ppid()
                try:
                    user_id: int | None = process.uids().real
                except psutil.Error:
                    user_id = None
        except (psutil.Error, ValueError, OverflowError):
            return None
        name, environment = self._begun.get((pid, started)) or self._ask(pid, started)
        return ProcessFacts(
            pid,
            parent_pid,
            user_id,
            name,
            environment.get("SWANGPU_SESSION_ID"),
            environment.get("SWANGPU_KERNEL_ID"),
            _cgroup(pid),
            started,
        )

    def _ask(self, pid: int, started: float) -> _Begun:
        """Read what may block on a thread that can be left behind; its answer counts also when it comes late."""
        self._stuck = [thread for thread in self._stuck if thread.is_alive()]
        if len(self._stuck) >= MAX_STUCK:
            return _NOTHING
        _keep(self._begun, (pid, started), _NOTHING)
        answers: queue.SimpleQueue[None] = queue.SimpleQueue()

        def read() -> None:
            self._begun[pid, started] = self._read_begun(pid)
            answers.put(None)

        thread = threading.Thread(target=read, name="swangpu-process", daemon=True)
        thread.start()
        try:
            answers.get(timeout=WAIT_S)
        except queue.Empty:
            self._stuck.append(thread)
        return self._begun.get((pid, started), _NOTHING)


def started_at(pid: int) -> float | None:
    """When a process began, in Unix seconds; None when there is none, or it can't be seen."""
    import psutil

    try:
        return float(psutil.Process(pid).create_time()) if pid > 0 else None
    except (psutil.Error, ValueError, OverflowError):
        return None


def _keep(known: dict[K, V], key: K, value: V) -> None:
    while len(known) >= MOST:
        known.pop(next(iter(known)), None)
    known[key] = value


def _begun(pid: int) -> _Begun:
    import psutil

    try:
        process = psutil.Process(pid)
        name = process.name()
    except (psutil.Error, ValueError, OSError):
        return _NOTHING
    try:
        environment = process.environ()
        # The rest is none of our business, and may be secret.
        return name, {key: environment[key] for key in _OURS if key in environment}
    except (psutil.Error, OSError):
        # Another user's: nothing is known of it but that it is there.
        return name, {}


def _cgroup(pid: int) -> str | None:
    """The path in the unified hierarchy, or where there is none, of the first."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    paths = {line.split(":", 2)[0]: line.split(":", 2)[2] for line in lines if line.count(":") >= 2}
    return paths.get("0") or next(iter(paths.values()), None)
