"""Files with the variables of paused kernels: each in a folder of its own, that nobody but its owner can read.

A file is removed when its variables are back in a kernel, or when the person has ended that kernel. What nobody has
brought back stays for a while.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import stat
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import registry

__all__ = ["Kept", "begun_at", "discard", "is_whole", "kept_of", "new_place", "tidy"]

log = logging.getLogger(__name__)

NAME = "variables"
#: how long a file stays whose kernel has ended without having it back, in seconds
KEEP_S = 30 * 24 * 3600.0
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Kept:
    """Where variables are, and the process that had them.

    Attributes
    ----------
    pid : int
    start : str
        As `registry.process_start` has it. While that process lives its variables are in it too.
    loaded : bool
        The kernel has them back.
    left : bool
        But for some, which are nowhere else.
    """

    path: str
    size_bytes: int
    sha256: str
    pid: int
    start: str
    loaded: bool = False
    left: bool = False

    @property
    def process_lives(self) -> bool:
        """Whether the process that had them is still there."""
        return registry.process_start(self.pid) == self.start

    def as_saved(self) -> list[dict[str, Any]]:
        """As an agent keeps it."""
        return [asdict(self)]


def kept_of(saved: Sequence[Mapping[str, Any]]) -> Kept | None:
    """What an agent keeps of it; None when it has nothing, or makes no sense."""
    for one in saved:
        texts = [one.get(name) for name in ("path", "sha256", "start")]
        numbers = [one.get(name) for name in ("size_bytes", "pid")]
        if all(isinstance(text, str) for text in texts) and all(isinstance(number, int) for number in numbers):
            return Kept(
                path=str(one["path"]),
                size_bytes=int(one["size_bytes"]),
                sha256=str(one["sha256"]),
                pid=int(one["pid"]),
                start=str(one["start"]),
                loaded=bool(one.get("loaded")),
                left=bool(one.get("left")),
            )
    return None


def begun_at(saved: Sequence[Mapping[str, Any]]) -> str | None:
    """Where a kernel was about to write when its server died."""
    paths = [one.get("path") for one in saved]
    return next((path for path in paths if isinstance(path, str)), None) if kept_of(saved) is None else None


def new_place(folder: Path, kernel_id: str) -> Path:
    """Where a kernel can write its variables.

    Raises
    ------
    OSError
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        # whoever may write there could put other variables in the place of these
        raise PermissionError(errno.EPERM, "the folder for them is not only ours")
    return Path(tempfile.mkdtemp(prefix=f"{kernel_id}.", dir=folder)) / NAME


def discard(path: str | Path) -> None:
    """Remove a file that is not needed any more, and its folder. Idempotent."""
    target = Path(path)
    if target.name == NAME:
        with contextlib.suppress(OSError):
            target.unlink(missing_ok=True)
            target.parent.rmdir()


def is_whole(kept: Kept) -> bool:
    """Whether the file is there as it was written. Reads all of it: not for the event loop."""
    found, read_bytes = hashlib.sha256(), 0
    try:
        with Path(kept.path).open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                found.update(block)
                read_bytes += len(block)
    except OSError:
        return False
    return read_bytes == kept.size_bytes and found.hexdigest() == kept.sha256


def tidy(folder: Path, kernel_ids: Collection[str]) -> None:
    """Remove what is old and nobody's; say where the rest is.

    Parameters
    ----------
    kernel_ids : collection of str
        Kernels that there are: theirs is left alone.
    """
    try:
        places = sorted(folder.iterdir())
    except OSError:
        return
    for place in places:
        if place.name.partition(".")[0] in kernel_ids:
            continue
        with contextlib.suppress(OSError):
            if time.time() - place.stat().st_mtime > KEEP_S:
                discard(place / NAME)
            elif (place / NAME).exists():
                log.warning("Variables of a kernel that has ended while it was paused are kept in %s", place / NAME)
