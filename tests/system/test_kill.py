"""kill -9 of the server: nothing is lost, nothing is held twice, and the kernels never notice."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from live_kernel import LiveKernel
from server_process import ServerProcess, eventually

SHARE = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'))"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[int | None], ServerProcess]]:
    """Start servers of one user, on a port of their own or a given one; nothing of them outlives the test."""
    started: list[ServerProcess] = []

    def one(port: int | None = None) -> ServerProcess:
        server = ServerProcess(tmp_path)
        server.port = port or server.port
        started.append(server)
        return server.start()

    yield one
    for server in started:
        server.stop()
        server.kill_agents()


def get(server: ServerProcess, kernel: LiveKernel, flavor: str) -> dict:  # type: ignore[type-arg]
    session = server.call("POST", "/sessions", {"flavor": flavor}).json()
    answer = server.call("POST", f"/sessions/{session['id']}/attach", {"kernel_id": kernel.id})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_kill_with_three_kernels_and_a_queued_request(tmp_path: Path, start: Any) -> None:
    first = start()
    kernels = [LiveKernel(first, f"{name}.ipynb") for name in ("fit", "gan", "eda")]
    flavors = ["a100-40gb", "a100-40gb/2g.10gb", "t4/time-4"]
    sessions = [get(first, k, f) for k, f in zip(kernels, flavors, strict=True)]
    for i, kernel in enumerate(kernels):
        assert sessions[i]["environment"]["CUDA_VISIBLE_DEVICES"] in kernel.run(SHARE)
        kernel.run(f"precious = {i} * 1000")
    waiting = first.call("POST", "/sessions", {"flavor": "a100-40gb", "on_ready": "notify"}).json()
    assert waiting["state"] == "queued"
    go = tmp_path / "go"
    cell = kernels[1].start(
        f"import time, pathlib\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)\n"
        "print('computed', precious)"
    )

    first.kill()
    go.touch()  # the cell ends while there is no server
    again = start(first.port)
    begin = time.monotonic()

    def truth() -> bool:
        found = {s["id"]: s for s in again.call("GET", "/sessions").json()["items"]}
        return (
            all(found[s["id"]]["state"] == "active" for s in sessions)
            and all(found[s["id"]]["kernel_ids"] == [k.id] for s, k in zip(sessions, kernels, strict=True))
            and found[waiting["id"]]["queue_position"] == 1
        )

    eventually(truth, 10)
    assert time.monotonic() - begin < 5, "it took more than 5 s to tell the truth"
    with again.client() as client:
        listed = {s["path"]: s for s in client.get("/api/sessions").json()}
    for kernel in kernels:
        kernel.server = again
        assert listed[kernel.path]["kernel"]["id"] == kernel.id
        assert listed[kernel.path]["id"] == kernel.session_id
    assert "computed 1000" in kernels[1].outputs_after_reconnect(cell, "computed")
    for i, kernel in enumerate(kernels):
        assert kernel.run("print(precious)").strip() == str(i * 1000)
        assert sessions[i]["environment"]["CUDA_VISIBLE_DEVICES"] in kernel.run(SHARE)
    shares = [s["id"] for x in again.call("GET", "/sessions").json()["items"] for s in x["shares"]]
    assert len(shares) == len(set(shares)), "a share is held twice"

    # Giving back works as before: who waits gets it.
    again.call("DELETE", f"/sessions/{sessions[0]['id']}")
    eventually(lambda: again.call("GET", f"/sessions/{waiting['id']}").json()["state"] == "ready", 20)
    assert kernels[0].run(SHARE).strip() == "None"
    again.check_log()


def test_a_reused_pid_is_not_adopted(tmp_path: Path, start: Any) -> None:
    first = start()
    kernel = LiveKernel(first, "fit.ipynb")
    get(first, kernel, "t4/time-4")
    (record_file,) = (tmp_path / "run" / "swangpu" / "agents").glob("*.json")
    first.kill()
    record = json.loads(record_file.read_text())
    try:
        record_file.write_text(json.dumps({**record, "agent_start": "somebody:else"}))
        again = start()
        with again.client() as client:
            assert client.get("/api/kernels").json() == []
        assert again.call("GET", "/sessions").json()["items"][0]["kernel_ids"] == []
    finally:
        os.killpg(record["kernel_pid"], signal.SIGKILL)
