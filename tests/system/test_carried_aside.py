"""Notebooks take turns on GPUs, and the variables of who waits are in a file: their processes are gone meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from suspending_site import get, on_it, session

from live_kernel import LiveKernel
from server_process import ServerProcess, eventually

WHERE = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'))"
NOTEBOOK = """
import numpy as np
array = np.arange(1_000_000.0); same = array
rows = list(range(200_000)); holder = {"rows": rows}
class Track:
    def __init__(self, p): self.p = p
track = Track(40.0)
"""
INTACT = (
    "print(same is array, float(array.sum()), holder['rows'] is rows, len(rows), isinstance(track, Track), track.p)"
)
SAID = "True 499999500000.0 True 200000 True 40.0"
Start = Callable[..., ServerProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Servers whose only way to pause is to carry, with as many of the two T4 as are named."""
    started: list[ServerProcess] = []

    def one(*devices: int, port: int | None = None) -> ServerProcess:
        server = ServerProcess(
            tmp_path,
            "--SwanGpu.reclaim=enforce",
            "--SwanGpu.idle_pause_s=0",
            "--SwanGpu.undo_s=0",
            "--SwanGpu.pause_methods=carry",
            "--SwanGpu.slices_per_model=none=2",
            *[f"--SwanGpu.devices={device}" for device in devices],
        )
        server.port = port or server.port
        started.append(server)
        return server.start()

    yield one
    for server in started:
        server.stop()
        server.kill_agents()
    for server in started:
        server.check_log()


def files(server: ServerProcess, kernel: LiveKernel) -> list[Path]:
    return sorted(server.home.glob(f".local/share/jupyter/swangpu/carried-*/{kernel.id}.*/variables"))


def record(server: ServerProcess, kernel: LiveKernel) -> dict[str, Any]:
    path = server.home / "run" / "swangpu" / "agents" / f"{kernel.id}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def on_a_gpu(server: ServerProcess, path: str) -> tuple[LiveKernel, str]:
    kernel = LiveKernel(server, path)
    held = get(server, kernel)
    eventually(lambda: on_it(server, held, kernel))
    return kernel, held


def busy(kernel: LiveKernel, go: Path) -> None:
    kernel.start(f"import time, pathlib\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)")


def taken_over(server: ServerProcess) -> tuple[LiveKernel, str, LiveKernel, str]:
    """The first has had the only GPU, and is in a file; the second has it now."""
    fit, first = on_a_gpu(server, "fit.ipynb")
    fit.run(NOTEBOOK)
    gan, second = on_a_gpu(server, "gan.ipynb")
    assert session(server, first)["state"] == "paused"
    assert session(server, first)["shares"] == []
    assert len(files(server, fit)) == 1
    return fit, first, gan, second


def test_it_goes_on_with_everything_on_another_gpu(start: Start, tmp_path: Path) -> None:
    server, other, go = start(3, 4), tmp_path / "other", tmp_path / "go"
    fit, first = on_a_gpu(server, "fit.ipynb")
    was_on = fit.run(WHERE).strip()
    aside, third = on_a_gpu(server, "aside.ipynb")
    busy(aside, other)
    fit.run(NOTEBOOK)
    process = record(server, fit)["kernel_pid"]
    gan, second = on_a_gpu(server, "gan.ipynb")
    assert gan.run(WHERE).strip() == was_on
    busy(gan, go)
    assert record(server, fit)["kernel_pid"] != process
    (file,) = files(server, fit)
    assert file.parent.stat().st_mode & 0o777 == 0o700
    other.touch()
    server.call("DELETE", f"/sessions/{third}")
    out = fit.run(INTACT, 60)
    assert SAID in out
    assert fit.run(WHERE).strip() not in (was_on, "", "None")
    assert session(server, first)["state"] == "active"
    assert session(server, second)["state"] == "active"
    assert files(server, fit) == []
    go.touch()


def test_what_can_not_be_carried_keeps_its_gpu_and_is_named(start: Start) -> None:
    server = start(3)
    fit, first = on_a_gpu(server, "fit.ipynb")
    fit.run("numbers = (n for n in range(3)); kept = [1]")
    gan = LiveKernel(server, "gan.ipynb")
    second = get(server, gan)
    # it is being paused first
    eventually(lambda: (session(server, first)["reason"] or {}).get("code") == "not_carried")
    found = session(server, first)
    assert found["state"] == "active"
    assert "numbers (a generator" in found["reason"]["text"]
    assert session(server, second)["state"] == "queued"
    assert fit.run("print(next(numbers), kept)").strip() == "0 [1]"
    assert files(server, fit) == []


def test_kill_9_while_it_is_in_the_file(start: Start) -> None:
    server = start(3)
    fit, first, gan, second = taken_over(server)
    server.kill()
    again = start(3, port=server.port)
    fit.server = gan.server = again
    eventually(lambda: session(again, second)["kernel_ids"] == [gan.id])
    assert session(again, first)["state"] == "paused"
    assert SAID in fit.run(INTACT, 60)
    assert session(again, first)["state"] == "active"
    assert files(again, fit) == []


@pytest.mark.parametrize("when", ["while it saves", "while its process is replaced"])
def test_kill_9_in_the_middle_of_it(start: Start, tmp_path: Path, when: str) -> None:
    server, began, go = start(3), tmp_path / "began", tmp_path / "go"
    fit, first = on_a_gpu(server, "fit.ipynb")
    fit.run(NOTEBOOK)
    if when == "while it saves":
        fit.run(f"""
import pathlib, time
class Slow:
    def __reduce__(self):
        pathlib.Path({str(began)!r}).touch()
        while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)
        return dict, ()
slow = Slow()
""")
    process = record(server, fit)["kernel_pid"]
    gan = LiveKernel(server, "gan.ipynb")
    second = get(server, gan)
    eventually(lambda: began.exists() or record(server, fit)["kernel_pid"] != process)
    server.kill()
    go.touch()
    again = start(3, port=server.port)
    fit.server = again
    eventually(lambda: session(again, second)["state"] != "queued")
    assert session(again, first)["state"] == "paused"
    assert record(again, fit)["kernel_pid"] != process
    again.call("DELETE", f"/sessions/{second}")
    assert SAID in fit.run(INTACT, 60)
    assert session(again, first)["state"] == "active"
    assert files(again, fit) == []


def test_released_meanwhile_it_has_its_variables_without_a_gpu(start: Start) -> None:
    server = start(3)
    fit, first, _gan, _second = taken_over(server)
    server.call("DELETE", f"/sessions/{first}")
    eventually(lambda: session(server, first)["state"] == "ended")
    assert fit.run(WHERE).strip() == "None"
    assert SAID in fit.run(INTACT)
    assert files(server, fit) == []


def test_a_restart_meanwhile_drops_them(start: Start) -> None:
    server = start(3)
    fit, first, _gan, second = taken_over(server)
    with server.client() as client:
        assert client.post(f"/api/kernels/{fit.id}/restart").status_code == 200
    assert files(server, fit) == []
    assert session(server, first)["state"] == "paused"
    server.call("DELETE", f"/sessions/{second}")
    assert fit.run("print('array' in dir())", 60).strip().endswith("False")
