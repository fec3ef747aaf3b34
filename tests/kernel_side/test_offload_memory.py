"""How much host memory there is for what is moved, and what is said where that is too little."""

from __future__ import annotations

from pathlib import Path

import pytest

from swangpu.kernel_side import offload_memory
from swangpu.kernel_side.offload_memory import Room, refusal

GB = 10**9


@pytest.mark.parametrize(
    ("need", "budget", "free", "says"),
    [
        (0, 0, 0, None),
        (5 * GB, None, None, None),
        (5 * GB, 5 * GB, 6 * GB, None),
        (5 * GB, 4 * GB, 60 * GB, "It needs 5 GB of host memory, and 4 GB are left for paused sessions."),
        (5 * GB, -1, 60 * GB, "It needs 5 GB of host memory, and 0 B are left for paused sessions."),
        (5 * GB, None, 5 * GB, "5 GB would have to be moved to host memory, and here has 5 GB left."),
    ],
)
def test_the_refusal_has_the_numbers(need: int, budget: int | None, free: int | None, says: str | None) -> None:
    assert refusal(need, budget, Room(free, "here")) == says


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MACHINE = {"proc/meminfo": "MemTotal: 100 kB\nMemAvailable:   9000000 kB\n"}
TWO = {**MACHINE, "proc/self/cgroup": "0::/user/kernel\n"}
ONE = {**MACHINE, "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/user\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, None),
        (MACHINE, 9_000_000 * 1024),
        (TWO, 9_000_000 * 1024),
        # the tightest of all groups above counts, and files that were read make room
        (
            {
                **TWO,
                "sys/fs/cgroup/user/kernel/memory.max": "max\n",
                "sys/fs/cgroup/user/kernel/memory.current": "10\n",
                "sys/fs/cgroup/user/memory.max": "5000\n",
                "sys/fs/cgroup/user/memory.current": "3000\n",
                "sys/fs/cgroup/user/memory.stat": "anon 1\ninactive_file 500\n",
            },
            2500,
        ),
        (
            {
                **TWO,
                "sys/fs/cgroup/user/kernel/memory.max": "5000\n",
                "sys/fs/cgroup/user/kernel/memory.high": "4000\n",
                "sys/fs/cgroup/user/kernel/memory.current": "3000\n",
            },
            1000,
        ),
        # in a container: the path is the host's, and the mount is the container's own group
        ({**TWO, "sys/fs/cgroup/memory.max": "700", "sys/fs/cgroup/memory.current": "100"}, 600),
        (
            {
                **ONE,
                "sys/fs/cgroup/memory/user/memory.limit_in_bytes": "8000\n",
                "sys/fs/cgroup/memory/user/memory.usage_in_bytes": "7000\n",
                "sys/fs/cgroup/memory/user/memory.stat": "inactive_file 1\ntotal_inactive_file 200\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096),
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "9000\n",
            },
            1200,
        ),
    ],
)
def test_the_tightest_limit_counts(tmp_path: Path, files: dict[str, str], free: int | None) -> None:
    assert offload_memory.room(tree(tmp_path, files)).free_bytes == free
