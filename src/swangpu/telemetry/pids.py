"""Whether the process ids that a driver tells are ours to see."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

__all__ = ["in_host_pid_namespace", "visible"]

T = TypeVar("T")

#: the inode of Linux's first PID namespace: only there are the process ids of NVML those of our ``/proc``
HOST_PID_NAMESPACE = "pid:[4026531836]"


def in_host_pid_namespace() -> bool:
    """Whether our process ids are the machine's own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == HOST_PID_NAMESPACE
    except OSError:
        return False


def visible(found: Sequence[tuple[int, T]], host_pids: bool) -> list[tuple[int, T]] | None:
    """The processes as far as they are ours to see; None when they live in another PID namespace.

    On the host a process id that is not there has just ended. In a container it is somebody's whom we can't see,
    and to call that "no processes" would be wrong. Signal 0 is asked instead of ``/proc``, which may hide others.

    Parameters
    ----------
    found : sequence of (process id, anything)
    host_pids : bool
        Whether the process ids are those of our own namespace.
    """
    kill = os.kill
    out = []
    for process in found:
        try:
            if process[0] > 0:
                kill(process[0], 0)
                out.append(process)
        except PermissionError:
            out.append(process)
        except (OSError, OverflowError):
            if not host_pids:
                return None
    return out
