"""Whether the process ids that a driver tells are ours to see."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..domain.telemetry import ProcessUse

__all__ = ["in_host_pid_namespace", "visible"]

#: the inode of Linux's first PID namespace: only there are the process ids of NVML those of our ``/proc``
HOST_PID_NAMESPACE = "pid:[4026531836]"


def in_host_pid_namespace() -> bool:
    """Whether our process ids are the machine's own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == HOST_PID_NAMESPACE
    except OSError:
        return False


def visible(processes: Sequence[ProcessUse], host_pids: bool) -> tuple[ProcessUse, ...] | None:
    """The processes as far as they are ours to see; None when they live in another PID namespace.

    On the host a process id that is not there has just ended. In a container it is somebody's whom we can't see,
    and to call that "no processes" would be wrong. Signal 0 is asked instead of ``/proc``, which may hide others.
    """
    out = []
    for process in processes:
        if _exists(process.pid):
            out.append(process)
        elif not host_pids:
            return None
    return tuple(out)


def _exists(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
