"""How much host memory a process may still use, by the limits of its cgroups and the machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from swangpu.kernels import checkpoint_room

MOUNTS_V2 = "36 35 0:30 {root} {mount} rw,relatime - cgroup2 cgroup2 rw\n"
MOUNTS_V1 = (
    "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 {root} {mount} rw,relatime shared:9 - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
)


def v2(folder: Path, limit: str, used: int, cached: int = 0, high: str = "max") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.high").write_text(f"{high}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\nactive_file 7\n")


def v1(folder: Path, limit: int, used: int, cached: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {cached}\n")


def proc(folder: Path, cgroup: str, mounts: str, available_kib: int = 10**9) -> Path:
    (folder / "7").mkdir(parents=True)
    (folder / "self").mkdir()
    (folder / "7" / "cgroup").write_text(cgroup)
    (folder / "self" / "mountinfo").write_text(mounts)
    (folder / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {available_kib} kB\n")
    return folder


def test_the_smallest_room_on_the_way_up_counts(tmp_path: Path) -> None:
    mount = tmp_path / "cgroup"
    v2(mount / "pod" / "box", "max", 10)
    v2(mount / "pod", "1000", 700, cached=200)
    found = proc(tmp_path / "proc", "0::/pod/box\n", MOUNTS_V2.format(root="/", mount=mount))
    assert checkpoint_room.room_of(7, found) == checkpoint_room.Room(500, "cgroup")
    v2(mount / "pod" / "box", "600", 590)
    assert checkpoint_room.room_of(7, found).free_bytes == 10
    v2(mount / "pod" / "box", "max", 100, high="105")
    assert checkpoint_room.room_of(7, found).free_bytes == 5
    v2(mount / "pod" / "box", "100", 200)
    assert checkpoint_room.room_of(7, found).free_bytes == 0


def test_cgroups_of_the_first_version(tmp_path: Path) -> None:
    mount = tmp_path / "memory"
    v1(mount / "slurm" / "job_1", 1000, 400, cached=100)
    v1(mount, 9223372036854771712, 10**9)
    cgroup = "5:cpu,cpuacct:/x\n4:memory:/slurm/job_1\n0::/\n"
    found = proc(tmp_path / "proc", cgroup, MOUNTS_V1.format(root="/", mount=mount))
    assert checkpoint_room.room_of(7, found) == checkpoint_room.Room(700, "cgroup")


def test_a_container_sees_its_part_of_the_tree(tmp_path: Path) -> None:
    mount = tmp_path / "memory"
    v1(mount, 1000, 400)
    found = proc(tmp_path / "a", "4:memory:/kube/pod1\n", MOUNTS_V1.format(root="/kube/pod1", mount=mount))
    assert checkpoint_room.room_of(7, found).free_bytes == 600
    # another namespace's path can't be followed: what limits all that we see still counts
    v2(tmp_path / "v2", "300", 100)
    found = proc(tmp_path / "b", "0::/../other\n", MOUNTS_V2.format(root="/", mount=tmp_path / "v2"))
    assert checkpoint_room.room_of(7, found).free_bytes == 200


def test_without_a_limit_the_machine_limits(tmp_path: Path) -> None:
    mount = tmp_path / "cgroup"
    v2(mount, "max", 10)
    found = proc(tmp_path / "proc", "0::/\n", MOUNTS_V2.format(root="/", mount=mount), available_kib=3)
    assert checkpoint_room.room_of(7, found) == checkpoint_room.Room(3 * 1024, "machine")


def test_rubbish_is_not_room(tmp_path: Path) -> None:
    mount = tmp_path / "cgroup"
    v2(mount, "much", 10)
    found = proc(tmp_path / "proc", "0::/\n", MOUNTS_V2.format(root="/", mount=mount))
    (found / "meminfo").write_text("nothing\n")
    assert checkpoint_room.room_of(7, found).free_bytes is None
    assert checkpoint_room.room_of(8, tmp_path / "nowhere").free_bytes is None


@pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux")
def test_the_room_of_a_living_process() -> None:
    room = checkpoint_room.room_of(os.getpid())
    assert room.free_bytes
    assert room.limited_by in ("cgroup", "machine")
