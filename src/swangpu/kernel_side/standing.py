"""What a restart of this kernel would end, though it is no variable: widgets, threads, tasks, open files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["standing"]

#: who has threads and tasks in every kernel, or such as come again by themselves
_KERNELS_OWN = frozenset({"IPython", "_pydevd_bundle", "debugpy", "ipykernel", "tornado", "tqdm", "zmq"})
#: IPython's own, under every name that SQLite gives its files
_HISTORY = "history.sqlite"


def standing() -> list[dict[str, str]]:
    """Each as ``{"name", "why"}``, as variables are that can't be carried."""
    found = [("its widgets", "they are connected to this kernel")] if _comms() else []
    found += [(f"the thread {name}", "it runs") for name in _threads()]
    found += [(f"the task {name}", "it runs in the background") for name in _tasks()]
    found += [(f"the file {name}", "it is open for writing") for name in _files()]
    return [{"name": name, "why": why} for name, why in found]


def _comms() -> bool:
    module: Any = sys.modules.get("comm")
    with contextlib.suppress(Exception):
        return bool(module.get_comm_manager().comms)
    return False


def _threads() -> Iterator[str]:
    for thread in threading.enumerate():
        run: Any = getattr(thread, "_target", None) or type(thread)
        if thread is threading.main_thread() or _is_kernels_own(run.__module__, type(thread).__module__):
            continue
        yield thread.name


def _tasks() -> Iterator[str]:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    mine = asyncio.current_task(loop)
    for task in asyncio.all_tasks(loop):
        work: Any = task.get_coro()
        frame = getattr(work, "cr_frame", None) or getattr(work, "gi_frame", None)
        module = frame.f_globals.get("__name__", "") if frame is not None else ""
        if task is not mine and not task.done() and not _is_kernels_own(module):
            yield getattr(work, "__qualname__", "") or task.get_name()


def _is_kernels_own(*modules: str | None) -> bool:
    return any(str(module or "").partition(".")[0] in _KERNELS_OWN for module in modules)


def _files() -> Iterator[str]:
    """Files that this process may still write to; none are known where there is no ``/proc``."""
    # what the kernel was given to write its own messages to
    given = {_identity(f"/proc/{pid}/fd/{fd}") for pid in (os.getpid(), os.getppid()) for fd in (0, 1, 2)}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers are wanted, not paths
            path = f"/proc/self/fd/{name}"
            identity = _identity(path)
            if identity is None or identity in given or not _is_for_writing(name):
                continue
            with contextlib.suppress(OSError):
                target = Path(os.readlink(path))  # noqa: PTH115 - as text: it may end in " (deleted)"
                if not target.name.startswith(_HISTORY):
                    yield str(target)


def _identity(path: str) -> tuple[int, int] | None:
    """Which regular file it is; None for what is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - what it leads to
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _is_for_writing(fd: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "flags":
                return int(value, 8) & os.O_ACCMODE != os.O_RDONLY
    return False
