"""Where agents say who they are, so that the next server finds the kernels that outlived the last one.

One file for each agent, ``<runtime>/agents/<kernel id>.json``, readable by its owner only: it holds the connection's
key. Standard library only: the agent loads this.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["Record", "alive", "claim", "forget", "path_of", "process_start", "read", "records", "socket_files", "write"]

Record = dict[str, Any]

VERSION = 1
_ID = re.compile(r"[A-Za-z0-9_.-]{1,100}")


def process_start(pid: int) -> str | None:
    """A token for *this* process with this id, or None when there is none (a zombie is none).

    A pid alone says nothing: it may have been given to another process since.
    """
    if pid <= 0:
        return None
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return None
        # the command, in parentheses, may hold spaces and parentheses
        fields = stat[stat.rindex(")") + 2 :].split()
        return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def claim() -> str:
    """The name of this host: records of others on a shared home are not ours to judge."""
    return socket.gethostname()


def path_of(runtime_dir: Path, kernel_id: str) -> Path:
    """Where the record of a kernel's agent is.

    Raises
    ------
    ValueError
        The id is not one: it would leave the folder.
    """
    if not _ID.fullmatch(kernel_id) or kernel_id.startswith("."):
        raise ValueError("not a kernel id")
    return runtime_dir / "agents" / f"{kernel_id}.json"


def write(path: Path, record: Record) -> None:
    """Replace the record at once, so that no reader sees half of it, in a file that only its owner reads."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(record, file)
        scratch.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise


def read(path: Path) -> Record | None:
    """The record, or None when it is missing, torn, not ours to trust or of another version."""
    try:
        with path.open("rb") as file:
            # a record that somebody else could have written could name any process of ours
            if hasattr(os, "getuid") and os.fstat(file.fileno()).st_uid != os.getuid():
                return None
            record = json.loads(file.read(1_000_000))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("version") != VERSION:
        return None
    return record if record.get("kernel_id") == path.stem else None


def forget(path: Path, agent_pid: int | None = None) -> None:
    """Remove a record and what belongs to it; with ``agent_pid`` only if it is still that agent's."""
    record = read(path)
    if agent_pid is not None and record is not None and record.get("agent_pid") != agent_pid:
        return
    leftovers = [path]
    if record is not None:
        leftovers += [Path(record[k]) for k in ("inner_file", "socket") if isinstance(record.get(k), str)]
        leftovers += socket_files(record)
    for leftover in leftovers:
        # only what is in our folders, whatever the record says
        if leftover == path or leftover.parent.name in {"inner", "sockets"} or leftover.suffix == ".swangpu":
            with contextlib.suppress(OSError):
                leftover.unlink()


def socket_files(record: Record) -> list[Path]:
    """Where a kernel listens, and what it leaves when it is killed; ZeroMQ puts the number of a channel behind them."""
    inner = record.get("inner")
    if not isinstance(inner, dict) or inner.get("transport") != "ipc":
        return []
    files = [Path(f"{inner.get('ip')}-{port}") for name, port in inner.items() if name.endswith("_port")]
    return [file for file in files if file.parent.name == "sockets"]


def alive(record: Record) -> bool:
    """Whether both agent and kernel are still the processes that the record speaks of.

    While its agent has the kernel replaced there may be none for a moment, or one that the record does not know.
    """
    for who in ("agent",) if record.get("replacing") else ("agent", "kernel"):
        pid, start = record.get(f"{who}_pid"), record.get(f"{who}_start")
        if not isinstance(pid, int) or not isinstance(start, str) or process_start(pid) != start:
            return False
    return True


def records(runtime_dir: Path) -> Iterator[tuple[Path, Record | None]]:
    """All records, unreadable ones as None."""
    with contextlib.suppress(OSError):
        for path in sorted((runtime_dir / "agents").glob("*.json")):
            yield path, read(path)
