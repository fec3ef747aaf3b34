"""Where things lie: what must survive in the data directory, what is of this boot on a local disk."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from ..errors import Misconfigured

__all__ = ["carried_path", "ledger_path", "local_runtime_dir"]


def local_runtime_dir(configured: str = "") -> Path:
    """A directory of this user on a local disk, 0700: locks and sockets must not be on a network home.

    Raises
    ------
    Misconfigured
        Something there is not ours.
    """
    if configured:
        path = Path(configured)
    elif (run := os.environ.get("XDG_RUNTIME_DIR")) and os.access(run, os.W_OK):
        path = Path(run) / "swangpu"
    else:
        path = Path(tempfile.gettempdir()) / f"swangpu-{os.getuid()}"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    # A directory in /tmp could have been put there by somebody else, to read what we write.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Misconfigured(
            f"{path} does not belong to you.",
            hint="Set SwanGpu.runtime_dir to a directory of yours.",
            trait="runtime_dir",
        )
    path.chmod(0o700)
    return path


def ledger_path(data_dir: Path, host: str) -> Path:
    """The ledger of this user on this host: a home that several hosts mount holds one for each."""
    return data_dir / f"ledger-{_safe(host)}.sqlite"


def carried_path(folder: Path, host: str) -> Path:
    """Where this user's kernels on this host put their variables while they are paused; others may use the folder."""
    return folder / f"carried-{_safe(host)}-{os.getuid()}"


def _safe(host: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "-" for c in host)[:100] or "host"
