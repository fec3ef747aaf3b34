"""Keeps what `History` remembers over a restart: one small file an hour and subject, written whole or not at all.

``HistoryFiles(folder).restore(history)`` once, then `HistoryFiles.save` every now and then, on any thread but one at a
time. A disk that is full costs the history of before a restart and nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from .history import BLOCK_S, KEPT_BLOCKS, History

__all__ = ["HistoryFiles"]

log = logging.getLogger(__name__)

SUFFIX = ".hour"


class HistoryFiles:
    """A folder of blocks.

    Parameters
    ----------
    folder : Path
        On a local disk; made when something is to be kept.
    now : callable
        Unix seconds: what is older than a day is removed.
    bounded : bool
        What the history has let go of for its bound is removed, too.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.time, *, bounded: bool = False) -> None:
        self._folder = folder
        self._bounded = bounded
        self._now = now
        self._failed = False
        self._removed_at = float("-inf")

    def restore(self, history: History) -> int:
        """Read what was kept; how many blocks there were. What can't be read is left out."""
        count = 0
        for path, subject, hour in self._files():
            with contextlib.suppress(OSError):
                history.restore(subject, hour, path.read_bytes())
                count += 1
        return count

    def save(self, history: History) -> None:
        """Write what has changed; what can't be written is tried again the next time. Never raises."""
        failed: OSError | None = None
        for subject, hour, content in history.changed():
            try:
                self._write(subject, hour, content)
            except OSError as error:
                failed = error
                history.not_kept(subject, hour)
        if self._now() - self._removed_at > BLOCK_S:
            self._removed_at = self._now()
            try:
                self._remove_old(history)
            except OSError as error:
                failed = error
        if failed is not None and not self._failed:
            log.warning("The history of the GPUs is not kept on disk: %s", failed.strerror)
        self._failed = failed is not None

    def _write(self, subject: str, hour: int, content: bytes) -> None:
        folder = self._folder / quote(subject, safe="")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = folder / f".{hour}.new"
        try:
            new.write_bytes(content)
            new.replace(folder / f"{hour}{SUFFIX}")
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()
            raise

    def _files(self) -> Iterator[tuple[Path, str, int]]:
        newest = int(self._now()) // BLOCK_S
        oldest = newest - KEPT_BLOCKS
        for path in sorted(self._folder.glob(f"*/*{SUFFIX}")):
            if path.stem.isdecimal() and oldest <= int(path.stem) <= newest:
                yield path, unquote(path.parent.name), int(path.stem)

    def _remove_old(self, history: History) -> None:
        """Also what a server that was killed while it wrote has left. Files that are not ours stay."""
        known = history.kept() if self._bounded else None
        kept = {path for path, *block in self._files() if known is None or tuple(block) in known}
        left = [path for path in self._folder.glob("*/.*.new") if path.stem[1:].isdecimal()]
        old = [path for path in self._folder.glob(f"*/*{SUFFIX}") if path.stem.isdecimal() and path not in kept]
        for path in left + old:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.parent.rmdir()
