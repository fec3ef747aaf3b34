"""Where kernels listen, and who can get there."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from behind_agent import Attached

from swangpu.kernels import registry
from swangpu.kernels.desk import MAX_PATH_BYTES, make_private, socket_folder

GPU = {"CUDA_VISIBLE_DEVICES": "GPU-1"}


def files_of(kernel: Attached) -> list[Path]:
    inner = kernel.record["inner"]
    return [Path(f"{inner['ip']}-{port}") for name, port in inner.items() if name.endswith("_port")]


def test_python_behind_the_agent_listens_where_nobody_else_can_come(kernel: Attached) -> None:
    files = files_of(kernel)
    assert len(files) == 5
    for file in files:
        assert stat.S_ISSOCK(file.stat().st_mode)
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert len(os.fsencode(file)) <= MAX_PATH_BYTES
    kernel.close()
    assert not any(file.exists() for file in files)


def test_a_restart_does_not_meet_what_was_there_before(kernel: Attached) -> None:
    before = files_of(kernel)
    kernel.manager.restart_kernel(now=True)
    assert kernel.run("print(1)", kernel.connect()) == "1\n"
    assert not set(before) & set(files_of(kernel))


def test_what_was_killed_leaves_files_and_they_are_swept(kernel: Attached) -> None:
    path, record, files = kernel.record_path, kernel.record, files_of(kernel)
    victims = [psutil.Process(record[f"{who}_pid"]) for who in ("agent", "kernel")]
    for victim in victims:
        victim.send_signal(signal.SIGKILL)
    psutil.wait_procs(victims, timeout=20)
    registry.write(path, record)
    registry.forget(path)
    assert not any(file.exists() for file in files)


def test_other_kernels_listen_at_ports(attach: Callable[..., Attached]) -> None:
    kernel = attach("bash", GPU)
    assert kernel.record["inner"]["transport"] == "tcp"
    assert kernel.record["inner"]["shell_port"] > 1024


def test_a_kernel_runs_without_its_agent_where_others_could_write(
    attach: Callable[..., Attached],
    runtime_dir: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = runtime_dir / "agents" / "sockets"
    folder.mkdir(parents=True)
    folder.chmod(0o770)
    monkeypatch.setattr("swangpu.kernels.desk.MAX_PATH_BYTES", 1000)
    kernel = attach("python3", GPU)
    assert kernel.run("import os; print(os.environ['CUDA_VISIBLE_DEVICES'])") == "GPU-1\n"
    assert not kernel.record_path.exists()
    assert "without its agent" in caplog.text


@pytest.mark.parametrize("mode", [0o770, 0o701, 0o704])
def test_a_folder_that_others_can_reach_is_not_private(tmp_path: Path, mode: int) -> None:
    sockets = tmp_path / "here" / "sockets"
    make_private(sockets)
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    sockets.chmod(mode)
    with pytest.raises(PermissionError):
        make_private(sockets)


def test_nobody_else_can_put_another_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here").chmod(0o775)
    make_private(tmp_path / "here" / "sockets")
    assert not (tmp_path / "here").stat().st_mode & 0o022


def test_a_link_is_not_a_private_folder(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "here" / "sockets").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        make_private(tmp_path / "here" / "sockets")


def test_a_long_path_goes_to_a_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/t")
    fits = Path("/" + "r" * (MAX_PATH_BYTES - len("//agents/sockets/") - 41))
    assert socket_folder(fits, 41) == fits / "agents" / "sockets"
    assert socket_folder(fits, 42) == Path(f"/t/swangpu-{os.getuid()}/sockets")
    monkeypatch.setattr("tempfile.tempdir", "/" + "t" * MAX_PATH_BYTES)
    assert socket_folder(Path("/" + "r" * MAX_PATH_BYTES), 41) == Path(f"/tmp/swangpu-{os.getuid()}/sockets")
    with pytest.raises(OSError, match="short enough"):
        socket_folder(Path("/run"), MAX_PATH_BYTES)


def test_a_kernel_with_too_long_a_path_runs_without_its_agent(
    attach: Callable[..., Attached], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swangpu.kernels.desk.MAX_PATH_BYTES", 10)
    kernel = attach("python3", GPU)
    assert kernel.run("import os; print(os.environ['CUDA_VISIBLE_DEVICES'])") == "GPU-1\n"
    assert "short enough" in caplog.text
