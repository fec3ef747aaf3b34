"""The file by which kernels, the command line and other servers of the same person find this server."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from ..kernel_side import discovery

__all__ = ["RuntimeFile"]


class RuntimeFile:
    """``swangpu-<pid>.json`` in Jupyter's runtime directory, for its owner only.

    Parameters
    ----------
    serverapp : ServerApp
    token : str
        Good for our API only: a server with a password publishes no token of its own.
    """

    def __init__(self, serverapp: Any, token: str) -> None:
        self._place = discovery.Place(str(serverapp.connection_url), token, os.getpid(), time.time())
        self._directory = Path(serverapp.runtime_dir)

    def write(self) -> None:
        with contextlib.suppress(OSError):
            discovery.write(self._place, self._directory)

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            discovery.runtime_file(os.getpid(), self._directory).unlink()
