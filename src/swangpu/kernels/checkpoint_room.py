"""How much more host memory a process may use: what is saved of its GPU counts against its cgroup.

30 GB of a device saved into a pod of 16 GB is a killed kernel, so this is looked at before anything is begun. What
counts is the smallest room on the way up: every cgroup above a process has a limit of its own. Files that are cached
and not in use count as room, as they do for Kubernetes: the system gives them up when memory is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .checkpoint_machine import DeviceFacts
from .checkpoint_outcome import Held, Outcome, outcome

__all__ = ["Room", "cgroup_folders", "no_room_on_device", "room_of"]

#: a limit of v1 that is none: the largest number of whole pages
_NO_LIMIT_V1 = 2**60


@dataclass(frozen=True)
class Room:
    """``free_bytes`` is None where nothing could be read. ``limited_by``: ``cgroup`` or ``machine``."""

    free_bytes: int | None
    limited_by: str = ""


def room_of(pid: int, proc: Path = Path("/proc")) -> Room:
    """The room of a process, now. Reads small files: not for an event loop."""
    rooms = []
    try:
        folders = cgroup_folders(_read(proc / str(pid) / "cgroup"), _read(proc / "self" / "mountinfo"))
    except OSError:
        folders = []
    for folder in folders:
        free = _free_in(folder)
        if free is not None:
            rooms.append(Room(free, "cgroup"))
    free = _available(proc)
    if free is not None:
        rooms.append(Room(free, "machine"))
    return min(rooms, key=lambda room: room.free_bytes or 0, default=Room(None))


def no_room_on_device(
    saved: Sequence[Held], moves: Mapping[str, str], devices: Sequence[DeviceFacts]
) -> Outcome | None:
    """Why what was saved can't come back: a restore that runs out of memory can't be repeated. None when it can."""
    free = {device.uuid: device.free_bytes for device in devices}
    wanted: dict[str, int] = {}
    for one in saved:
        uuid = moves.get(one.device_uuid, one.device_uuid)
        wanted[uuid] = wanted.get(uuid, 0) + (one.memory_bytes or 0)
    for uuid, size in wanted.items():
        left = free.get(uuid)
        if left is not None and size > left:
            return outcome("still_suspended", "no_room_device", saved=tuple(saved), bytes=size, free=left)
    return None


def cgroup_folders(cgroup: str, mountinfo: str) -> list[Path]:
    """The folders of the cgroups that a process is in, its own first, of the hierarchies that limit memory.

    Parameters
    ----------
    cgroup : str
        The process's ``/proc/PID/cgroup``.
    mountinfo : str
        Our ``/proc/self/mountinfo``: it says where the hierarchies are, and which part of them a container shows.
    """
    paths = {}
    for line in cgroup.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            paths["cgroup2"] = path
        elif "memory" in controllers.split(","):
            paths["cgroup"] = path
    folders: list[Path] = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or len(kinds) < 3 or kinds[0] not in paths:
            continue
        if kinds[0] == "cgroup" and "memory" not in kinds[2].split(","):
            continue
        root, mount = PurePosixPath(_plain(fields[3])), Path(_plain(fields[4]))
        folders += _upwards(PurePosixPath(paths[kinds[0]]), root, mount)
    return list(dict.fromkeys(folders))


def _upwards(path: PurePosixPath, root: PurePosixPath, mount: Path) -> list[Path]:
    inside = path.relative_to(root) if path.is_relative_to(root) else PurePosixPath()
    if ".." in inside.parts:
        # of another namespace: all that can be said is what limits the whole of what we see
        inside = PurePosixPath()
    return [mount / part for part in (inside, *inside.parents)]


def _free_in(folder: Path) -> int | None:
    try:
        if (folder / "memory.max").exists():
            limit = min(_limit(folder / name) for name in ("memory.max", "memory.high") if (folder / name).exists())
            used, idle = int(_read(folder / "memory.current")), "inactive_file"
        elif (folder / "memory.limit_in_bytes").exists():
            limit = _limit(folder / "memory.limit_in_bytes")
            used, idle = int(_read(folder / "memory.usage_in_bytes")), "total_inactive_file"
        else:
            return None
        if limit >= _NO_LIMIT_V1:
            return None
        return max(0, int(limit) - used + _line(_read(folder / "memory.stat"), idle))
    except (OSError, ValueError):
        return None


def _limit(path: Path) -> float:
    text = _read(path).strip()
    return float("inf") if text == "max" else int(text)


def _available(proc: Path) -> int | None:
    try:
        return _line(_read(proc / "meminfo"), "MemAvailable:") * 1024 or None
    except (OSError, ValueError):
        return None


def _line(text: str, name: str) -> int:
    """A number behind a name at the beginning of a line; 0 where there is none."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name:
            return int(words[1])
    return 0


def _plain(text: str) -> str:
    """A path of mountinfo, where blanks and the like are octal numbers."""
    return text.encode().decode("unicode_escape") if "\\" in text else text


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
