"""How much host memory this kernel may still take, and whether that is enough: asked before anything moves.

What is moved to host memory counts against the memory limit of the kernel's control group: too much, and the system
ends the kernel. Versions 1 and 2 of control groups are read, and what the machine has free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import words

__all__ = ["MARGIN_BYTES", "Room", "over_budget", "refusal", "room", "which_pinned"]

#: left free for whatever else the kernel and its neighbours do meanwhile
MARGIN_BYTES = 256 << 20
#: version 1 writes "no limit" as a number near the largest there is
_NO_LIMIT = 1 << 60


@dataclass(frozen=True)
class Room:
    """Host memory that is still to be had.

    Attributes
    ----------
    free_bytes : int or None
        None where nobody says.
    where : str
        What limits it, to be put into a sentence.
    """

    free_bytes: int | None
    where: str


def room(root: Path = Path("/")) -> Room:
    """The tightest of all limits that hold for this process.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` are.
    """
    found = [*_groups(root), *_machine(root)]
    return min(found, key=lambda one: one.free_bytes or 0) if found else Room(None, "this machine")


def over_budget(need_bytes: int, budget_bytes: int | None) -> bool:
    """Whether it is more than what all paused sessions together may have in host memory. Pure."""
    return budget_bytes is not None and need_bytes > max(budget_bytes, 0)


def refusal(need_bytes: int, budget_bytes: int | None, room: Room) -> str | None:
    """Why that much can't be moved to host memory, in one sentence with the numbers; None if it can. Pure."""
    if need_bytes <= 0:
        return None
    if over_budget(need_bytes, budget_bytes):
        left = words.memory(max(budget_bytes or 0, 0))
        return f"It needs {words.memory(need_bytes)} of host memory, and {left} are left for paused sessions."
    need = f"{words.memory(need_bytes)} would have to be moved to host memory"
    if room.free_bytes is not None and need_bytes + MARGIN_BYTES > room.free_bytes:
        return f"{need}, and {room.where} has {words.memory(max(room.free_bytes, 0))} left."
    return None


def which_pinned(sizes: Sequence[tuple[int, int]], most_bytes: int, budget_bytes: int | None, room: Room) -> list[bool]:
    """Which copies are made in pinned memory: as many as may be, the first ones first. Pure.

    What it is rounded up by is host memory too, and must not go beyond what there is for all of them.

    Parameters
    ----------
    sizes : sequence of (int, int)
        What each copy takes, and what it would take in pinned memory.
    most_bytes : int
        How much may be pinned in all.
    """
    need = sum(size for size, _ in sizes)
    free = room.free_bytes - MARGIN_BYTES if room.free_bytes is not None else None
    spare = min((limit - need for limit in (budget_bytes, free) if limit is not None), default=None)
    out = []
    for size, rounded in sizes:
        fits = rounded <= most_bytes and (spare is None or rounded - size <= spare)
        if fits:
            most_bytes -= rounded
            spare = spare - (rounded - size) if spare is not None else None
        out.append(fits)
    return out


def _groups(root: Path) -> Iterator[Room]:
    """What each control group of this process has left, from its own up to the topmost that can be seen."""
    mounts = root / "sys" / "fs" / "cgroup"
    for line in _read(root / "proc" / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            base, one = mounts, _version_2
        elif "memory" in controllers.split(","):
            base, one = mounts / "memory", _version_1
        else:
            continue
        # in a container the path can be the host's, which is not there: the mount is the container's own group then
        inner = base / path.strip("/")
        for folder in [inner, *inner.parents]:
            free = one(folder)
            if free is not None:
                yield Room(free, "this server's memory limit")
            if folder == base:
                break


def _version_2(folder: Path) -> int | None:
    # above "high" the kernel is not ended but slowed down until it is as good as ended
    limits = [_number(folder / name) for name in ("memory.max", "memory.high")]
    known = [limit for limit in limits if limit is not None]
    used = _number(folder / "memory.current")
    if not known or used is None:
        return None
    return min(known) - used + _droppable(folder / "memory.stat", "inactive_file")


def _version_1(folder: Path) -> int | None:
    limit, used = _number(folder / "memory.limit_in_bytes"), _number(folder / "memory.usage_in_bytes")
    if limit is None or used is None or limit >= _NO_LIMIT:
        return None
    return limit - used + _droppable(folder / "memory.stat", "total_inactive_file")


def _machine(root: Path) -> Iterator[Room]:
    for line in _read(root / "proc" / "meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            yield Room(int(value.split()[0]) * 1024, "this machine")


def _droppable(path: Path, name: str) -> int:
    """Files that were read: they count as used, and make room when it is needed."""
    for line in _read(path).splitlines():
        found, _, value = line.partition(" ")
        if found == name:
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
