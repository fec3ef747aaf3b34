"""Records of agents: private, whole, and believed only as far as the processes bear them out."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from swangpu.kernels import registry


def record(kernel_id: str = "k-1", **more: object) -> registry.Record:
    start = registry.process_start(os.getpid())
    pids = {f"{who}_{what}": v for who in ("agent", "kernel") for what, v in (("pid", os.getpid()), ("start", start))}
    return {"version": registry.VERSION, "kernel_id": kernel_id, **pids, **more}


def test_written_and_read_back_privately(tmp_path: Path) -> None:
    path = registry.path_of(tmp_path, "k-1")
    registry.write(path, record())
    assert registry.read(path) == record()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [p for p, _ in registry.records(tmp_path)] == [path]


@pytest.mark.parametrize("kernel_id", ["", ".", "..", "../k", "a/b", "a\0b", "ä", "x" * 101])
def test_an_id_that_would_leave_the_folder(tmp_path: Path, kernel_id: str) -> None:
    with pytest.raises(ValueError, match="kernel id"):
        registry.path_of(tmp_path, kernel_id)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"version": 99}', '{"version": 1, "kernel_id": "other"}'])
def test_torn_and_foreign_records_are_none(tmp_path: Path, text: str) -> None:
    path = registry.path_of(tmp_path, "k-1")
    path.parent.mkdir()
    path.write_text(text)
    assert registry.read(path) is None


def test_a_reused_pid_is_not_the_process() -> None:
    assert registry.alive(record())
    assert not registry.alive(record(agent_start="another:1"))
    assert not registry.alive(record(kernel_pid=2**22 + 1))
    assert not registry.alive(record(kernel_pid="1; rm"))
    assert not registry.alive(record(kernel_start=None))


def test_a_kernel_that_is_being_replaced_is_not_missed() -> None:
    assert registry.alive(record(kernel_start="another:1", replacing=True))
    assert not registry.alive(record(agent_start="another:1", replacing=True))


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="this system cannot wait without reaping")
def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert registry.process_start(child.pid) is None


def test_forget_touches_only_what_is_ours(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.tex"
    precious.write_text("all of it")
    inner = tmp_path / "agents" / "inner" / "k-1.json"
    path = registry.path_of(tmp_path, "k-1")
    ours = tmp_path / "agents" / "sockets" / "k-1.abc-1"
    theirs = tmp_path / "precious-1"
    kept = {"transport": "tcp", "ip": str(ours)[:-2], "shell_port": 1}
    registry.write(path, record(socket=str(precious), inner_file=str(inner), inner=kept))
    for file in (inner, ours, theirs):
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({}))
    registry.forget(path, agent_pid=1)
    assert path.exists(), "it is another agent's"
    registry.forget(path)
    assert not path.exists()
    assert not inner.exists()
    assert precious.exists()
    assert ours.exists(), "it is no socket of this kernel"
    for files in (ours, theirs):
        registry.write(path, record(inner={"transport": "ipc", "ip": str(files)[:-2], "shell_port": 1}))
        registry.forget(path)
    assert not ours.exists()
    assert theirs.exists()
