from __future__ import annotations

import os
from pathlib import Path

from swangpu.backends.mps import find_mps

PID_FILE = "nvidia-cuda-mps-control.pid"


def test_a_daemon_of_ours_is_found_where_clients_look(tmp_path: Path) -> None:
    (tmp_path / PID_FILE).write_text(f"{os.getpid()}\n")
    assert find_mps(str(tmp_path)).pipe_directory == str(tmp_path)
    assert find_mps(environ={"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path)}).pipe_directory == str(tmp_path)


def test_no_daemon_a_dead_one_and_rubbish(tmp_path: Path) -> None:
    for text in (None, "4194311\n", "rubbish", "", "99999999999999999999999"):
        if text is not None:
            (tmp_path / PID_FILE).write_text(text)
        found = find_mps(str(tmp_path))
        assert found.pipe_directory is None
        assert found.code == "mps_not_running"
        assert found.hint


def test_a_daemon_of_somebody_else_is_none(tmp_path: Path) -> None:
    (tmp_path / PID_FILE).write_text(str(os.getpid()))
    if Path("/proc/self").exists():
        assert find_mps(str(tmp_path), uid=os.getuid() + 1).code == "mps_of_other"
