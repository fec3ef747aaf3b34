"""The kernel's process, seen from its parent: what it has started goes with it, and another can take its place.

The agent loads this: standard library only, and cheap to import.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swangpu.kernels import registry

__all__ = ["Child"]

#: as a shell says it of a command that could not be started, in a wait status
NOT_STARTED = 127 << 8


class Child:
    """A kernel that this process has started.

    Parameters
    ----------
    pid : int
        The leader of its own process group.
    spawn : callable
        Starts it again with these changes of the environment, None unsets a variable; its pid. May raise OSError.
    record_path : Path
        The agent's record, in which the kernel's process is kept up to date.

    Attributes
    ----------
    replaced : int
        How often another has taken its place.
    """

    def __init__(self, pid: int, spawn: Callable[[dict[str, str | None]], int], record_path: Path) -> None:
        self.pid = pid
        self.replaced = 0
        self._spawn = spawn
        self._path = record_path
        self._changes: dict[str, str | None] | None = None

    @property
    def going(self) -> bool:
        """Whether it has been ended for another that is not there yet."""
        return self._changes is not None

    def signal(self, number: int) -> None:
        """To its process group: what the kernel has started is the kernel's."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def write(self, record: registry.Record) -> None:
        """Replace the record, with the process as it is."""
        registry.write(self._path, {**record, "kernel_pid": self.pid, "kernel_start": registry.process_start(self.pid)})

    def replace(self, pid: Any, changes: Any) -> bool:
        """End it, and have another in its place once it is gone. Said twice it is done once.

        Parameters
        ----------
        pid : int
            Which process is meant.
        changes : dict
            Of the environment.

        Returns
        -------
        bool
            False when it can't be done, and nothing was.
        """
        if pid != self.pid or self.going:
            return True
        record = registry.read(self._path)
        if record is None or not isinstance(changes, dict):
            return False
        try:
            # said before it is done: who finds no kernel must not take its agent for dead
            self.write({**record, "replacing": True})
        except OSError:
            return False
        self._changes = {str(k): None if v is None else str(v) for k, v in changes.items()}
        self.signal(signal.SIGKILL)
        return True

    def look(self) -> int | None:
        """Its wait status once it has ended for good."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return None
        if self._changes is None:
            return status
        # what it had started may have a device still
        self.signal(signal.SIGKILL)
        record = registry.read(self._path)
        for file in registry.socket_files(record) if record is not None else ():
            # a process that has left the group may hold them still: nobody must connect to what it does not answer
            with contextlib.suppress(OSError):
                file.unlink()
        try:
            self.pid = self._spawn(self._changes)
        except OSError:
            return NOT_STARTED
        self._changes = None
        self.replaced += 1
        # who reads it as it was before takes the kernel for one that is being replaced
        with contextlib.suppress(OSError):
            if record is not None:
                self.write({**record, "replacing": False})
        return None
