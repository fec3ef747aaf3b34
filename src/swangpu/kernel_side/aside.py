"""All variables of this kernel go to a file, or none do: for a pause that takes the kernel's process with it.

Nobody has been asked, so what would not come back as it was is a reason not to do it, and is named. Otherwise than over
a restart that the person has asked for, names that start with an underscore come along, changes of the environment,
and the states of the common random number generators.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import carry
from .chance import give_back, states
from .standing import standing

__all__ = ["back", "out"]

Report = dict[str, Any]

#: how much is written between two looks at the room that is left
LOOK_EVERY_BYTES = 64 << 20
#: shares' own, and what the server tells a kernel
_NOT_THEIRS = ("CUDA_", "SWANGPU_", "JPY_", "XLA_PYTHON_CLIENT_", "TF_FORCE_GPU_", "CUPY_GPU_MEMORY_LIMIT")


def out(path: str | Path, leave_bytes: int = 0, namespace: dict[str, Any] | None = None) -> Report:
    """Write all variables to a file, on disk when this returns; the kernel keeps them.

    Parameters
    ----------
    path : str or Path
        In a folder that is there.
    leave_bytes : int
        How much room is to be left on its disk.

    Returns
    -------
    dict
        ``{"ok", "size_bytes", "sha256", "count"}``. Otherwise there is no file, and ``left`` has what can't be
        carried as ``{"name", "why"}``, or ``error`` a sentence. Never raises.
    """
    target = Path(path)
    try:
        left = standing()
        descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w+b") as plain:
            file = _Watched(plain, leave_bytes)
            names, more = carry.write_whole(file, namespace, {"environment": _environment(), "random": states()})
            left += more
            if not left:
                plain.flush()
                os.fsync(plain.fileno())
        if left:
            target.unlink()
            return {"ok": False, "left": left}
        _sync_folder(target.parent)
    except BaseException as error:  # an interrupt too: half a file is of no use
        with contextlib.suppress(OSError):
            target.unlink()
        return {"ok": False, "left": [], "error": carry.sentence(error)}
    return {"ok": True, "size_bytes": file.size_bytes, "sha256": file.digest(), "count": len(names)}


def back(path: str | Path, namespace: dict[str, Any] | None = None) -> Report:
    """Bring them back; the file stays. Never raises.

    Returns
    -------
    dict
        As `swangpu_kernel.carry.load` has it. What is in ``left`` is in the file still, and the next cell says so.
    """
    target = Path(path)
    try:
        with target.open("rb") as file:
            header = carry.header_of(file)
        for name, value in header["environment"].items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        found = carry.load(target, namespace, keep=True)
        if found.get("error"):
            return found
        # last: what is imported on the way may draw from them
        anew = give_back(header["random"])
    except BaseException as error:  # an interrupt too: it is tried again
        return {"carried": [], "left": [], "error": carry.sentence(error)}
    names = ", ".join(one["name"] for one in found["left"])
    said = [f"could not be brought back after the pause: {names}. All is kept in {target}"] if names else []
    said += [f"the random numbers of {name} begin anew after the pause" for name in anew]
    carry.tell_next_cell(said)
    return found


class _Watched:
    """A file that knows the digest of what was written to it, and does not fill its disk."""

    def __init__(self, file: Any, leave_bytes: int) -> None:
        self._file = file
        self._leave_bytes = leave_bytes
        self._hash = hashlib.sha256()
        self._unseen_bytes = LOOK_EVERY_BYTES
        self.size_bytes = 0

    def digest(self) -> str:
        return self._hash.hexdigest()

    def seek(self, offset: int) -> None:
        """To the beginning: what was written is written anew."""
        self._file.seek(offset)
        self._hash, self.size_bytes = hashlib.sha256(), 0

    def truncate(self) -> None:
        self._file.truncate()

    def tell(self) -> int:
        return self.size_bytes

    def write(self, data: Any) -> None:
        view = memoryview(data).cast("B")
        for start in range(0, view.nbytes, LOOK_EVERY_BYTES):
            part = view[start : start + LOOK_EVERY_BYTES]
            self._unseen_bytes += part.nbytes
            if self._unseen_bytes >= LOOK_EVERY_BYTES:
                self._look(part.nbytes)
            self._file.write(part)
            self._hash.update(part)
            self.size_bytes += part.nbytes

    def _look(self, size_bytes: int) -> None:
        self._unseen_bytes = 0
        self._file.flush()
        found = os.fstatvfs(self._file.fileno())
        if found.f_bavail * found.f_frsize < self._leave_bytes + size_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _environment() -> dict[str, str | None]:
    """What has changed in this process's environment since it began; nothing where that can't be seen."""
    try:
        raw = Path("/proc/self/environ").read_bytes()
    except OSError:
        return {}
    before = dict(os.fsdecode(one).partition("=")[::2] for one in raw.split(b"\0") if b"=" in one)
    names: Sequence[str] = sorted({*before, *os.environ})
    theirs = [name for name in names if not name.startswith(_NOT_THEIRS)]
    changes = {name: os.environ.get(name) for name in theirs if os.environ.get(name) != before.get(name)}
    # not all that the system takes for a text can be written as one
    return {name: value for name, value in changes.items() if _is_text(name) and _is_text(value or "")}


def _is_text(value: str) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """So that the file is found there after the machine has failed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
