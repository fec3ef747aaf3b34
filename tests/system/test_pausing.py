"""Two notebooks take turns on one GPU: the second computes while the first is idle, the first gets it back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from live_kernel import LiveKernel
from server_process import ServerProcess, eventually

WHERE = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'))"
#: the demo's fleet has one whole A100
FLAVOR = "a100-40gb"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[int | None], ServerProcess]]:
    started: list[ServerProcess] = []

    def one(port: int | None = None) -> ServerProcess:
        server = ServerProcess(tmp_path, "--SwanGpu.reclaim=enforce", "--SwanGpu.idle_pause_s=0", "--SwanGpu.undo_s=0")
        server.port = port or server.port
        started.append(server)
        return server.start()

    yield one
    for server in started:
        server.stop()
        server.kill_agents()


def session(server: ServerProcess, session_id: str) -> dict[str, Any]:
    found: dict[str, Any] = server.call("GET", f"/sessions/{session_id}").json()
    return found


def get(server: ServerProcess, kernel: LiveKernel) -> str:
    """Ask for the GPU for a notebook, which is put on it when its turn comes."""
    body = {"flavor": FLAVOR, "attach": {"kernel_id": kernel.id, "carry": "all"}}
    answer = server.call("POST", "/sessions", body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def on_it(server: ServerProcess, session_id: str, kernel: LiveKernel) -> bool:
    found = session(server, session_id)
    return found["state"] == "active" and found["kernel_ids"] == [kernel.id]


def two_notebooks(server: ServerProcess) -> tuple[LiveKernel, str, LiveKernel, str]:
    """The first has had its GPU and is paused; the second computes on it."""
    fit, gan = LiveKernel(server, "fit.ipynb"), LiveKernel(server, "gan.ipynb")
    first = get(server, fit)
    eventually(lambda: on_it(server, first, fit))
    fit.run("precious = [1, 2, 3]; alias = precious")
    second = get(server, gan)
    eventually(lambda: on_it(server, second, gan))
    assert session(server, first)["state"] == "paused"
    assert session(server, first)["shares"] == []
    return fit, first, gan, second


def test_the_first_gets_its_gpu_back_with_its_next_cell(start: Any) -> None:
    server = start()
    fit, first, gan, second = two_notebooks(server)
    device = gan.run(WHERE).strip()
    out = fit.run("alias.append(4); print(precious)")
    assert "Getting your GPU back" in out
    assert "[1, 2, 3, 4]" in out
    assert session(server, first)["state"] == "active"
    eventually(lambda: session(server, second)["state"] == "paused")
    assert device in fit.run(WHERE)
    # and on it goes, in turns
    assert "0" in gan.run("print(len(dir()) * 0)")
    eventually(lambda: session(server, first)["state"] == "paused")
    shares = [s["id"] for x in server.call("GET", "/sessions").json()["items"] for s in x["shares"]]
    assert len(shares) == 1
    server.check_log()


def test_a_cell_that_waits_is_in_the_queue_and_can_be_interrupted(start: Any, tmp_path: Path) -> None:
    server = start()
    fit, first, gan, _ = two_notebooks(server)
    go = tmp_path / "go"
    gan.start(f"import time, pathlib\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)")
    waited: list[str] = []
    thread = threading.Thread(target=lambda: waited.append(fit.run("precious.append(99)", 60)))
    thread.start()
    found = eventually(lambda: (s := session(server, first))["queue_position"] and s)
    assert found["state"] == "paused", "it computes on nobody else's"
    assert found["reason"]["code"] == "waits_for_gpu"
    said = server.call("GET", f"/sessions/{first}/explain").json()
    assert said["queue_position"] == 1
    with server.client() as client:
        assert client.post(f"/api/kernels/{fit.id}/interrupt").status_code == 204
    thread.join(30)
    assert "KeyboardInterrupt" in waited[0]
    eventually(lambda: session(server, first)["queue_position"] is None)
    assert session(server, first)["state"] == "paused", "it gives up its place, and nothing else"
    go.touch()
    assert fit.run("print(precious)").strip().endswith("[1, 2, 3]"), "it was not run"


def test_a_restart_while_paused_takes_nothing_from_who_has_the_gpu_now(start: Any, tmp_path: Path) -> None:
    server = start()
    fit, first, gan, _ = two_notebooks(server)
    go = tmp_path / "go"
    gan.start(f"import time, pathlib\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)")
    with server.client() as client:
        assert client.post(f"/api/kernels/{fit.id}/restart").status_code == 200
    assert session(server, first)["state"] == "paused"
    got: list[str] = []
    thread = threading.Thread(target=lambda: got.append(fit.run(f"{WHERE}; print('precious' in dir())", 60)))
    thread.start()
    eventually(lambda: session(server, first)["queue_position"])
    assert not got, "it computes on nobody else's"
    go.touch()
    thread.join(60)
    assert "None" not in got[0]
    assert got[0].strip().endswith("False"), "it was restarted"
    assert session(server, first)["state"] == "active"


def test_kill_9_while_paused_and_both_go_on(start: Any) -> None:
    server = start()
    fit, first, gan, second = two_notebooks(server)
    gan.run("mine = 'kept'")
    server.kill()
    again = start(server.port)
    fit.server = gan.server = again
    eventually(lambda: session(again, second)["kernel_ids"] == [gan.id])
    assert session(again, first)["state"] == "paused"
    assert gan.run("print(mine)").strip() == "kept"
    assert "[1, 2, 3]" in fit.run("print(precious)")
    assert session(again, first)["state"] == "active"
    again.check_log()


def test_released_while_paused_it_keeps_its_variables_without_a_gpu(start: Any) -> None:
    server = start()
    fit, first, _gan, _second = two_notebooks(server)
    server.call("DELETE", f"/sessions/{first}")
    eventually(lambda: session(server, first)["state"] == "ended")
    assert fit.run(WHERE).strip() == "None"
    assert fit.run("print(precious)").strip() == "[1, 2, 3]"


def test_the_owner_pauses_and_resumes(start: Any) -> None:
    server = start()
    fit = LiveKernel(server, "fit.ipynb")
    first = get(server, fit)
    eventually(lambda: on_it(server, first, fit))
    fit.run("x = 7")
    assert server.call("POST", f"/sessions/{first}/pause", {}).status_code == 200
    found = eventually(lambda: (s := session(server, first))["reason"] and s["reason"]["code"] == "paused" and s)
    assert found["shares"] == []
    assert server.call("POST", f"/sessions/{first}/resume", {}).status_code == 200
    eventually(lambda: session(server, first)["state"] == "active")
    assert fit.run("print(x)").strip() == "7"
