"""The files by which kernels, the command line and other servers of the same person find this server."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from ..kernel_side import discovery

__all__ = ["RuntimeFile", "neighbours_dir"]


class RuntimeFile:
    """``swangpu-<pid>.json`` in a directory, for its owner only.

    Parameters
    ----------
    directory : Path
    url, token : str
        The token is good for our API only: a server with a password publishes no token of its own.
    """

    def __init__(self, directory: Path, url: str, token: str) -> None:
        self._directory = directory
        self._place = discovery.Place(url, token, os.getpid(), time.time())

    def write(self) -> None:
        """Say where we are."""
        with contextlib.suppress(OSError):
            discovery.write(self._place, self._directory)

    def clear(self) -> None:
        """Remove those of servers that died without a word: all that are here ran on this host."""
        with contextlib.suppress(OSError):
            for path in self._directory.glob("swangpu-*.json"):
                pid = path.stem.partition("-")[2]
                if pid.isdecimal() and not discovery.alive(int(pid)):
                    path.unlink(missing_ok=True)

    def remove(self) -> None:
        discovery.forget(os.getpid(), self._directory)


def neighbours_dir(runtime_dir: Path) -> Path:
    """Where the servers that share a leader find each other.

    Beside the lock of the election: who could lead us writes there, and nobody else can. Jupyter's runtime directory
    may be on a home that other hosts mount too, where a process id says nothing.
    """
    return runtime_dir / "servers"
