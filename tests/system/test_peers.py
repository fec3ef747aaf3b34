"""A notebook's kernel may live in any of a user's servers; one of them decides for all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jupyter_client import BlockingKernelClient

from readiness import wait_until_ready
from server_process import ServerProcess, eventually

INTERNAL = "/swangpu/internal/v1"
WISH = {"flavor": "a100-40gb", "kind": "kernel"}


class Notebook:
    """A notebook session of Jupyter, and a line to its kernel."""

    def __init__(self, server: ServerProcess, path: str) -> None:
        with server.client() as client:
            answer = client.post(
                "/api/sessions",
                json={"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}},
            )
        assert answer.status_code == 201, answer.text
        self.id: str = answer.json()["kernel"]["id"]
        self._file = eventually(lambda: list(server.home.rglob(f"kernel-{self.id}.json")))[0]

    def client(self) -> BlockingKernelClient:
        client = BlockingKernelClient(connection_file=str(self._file))
        client.load_connection_file()
        # what a kernel said while its server was away is said again, and may come to us twice
        client.session.digest_history_size = 0
        client.start_channels()
        wait_until_ready(client, 60)
        return client

    def evaluate(self, expression: str) -> str:
        """What an expression is in the kernel, as it is now."""
        client = self.client()
        out: list[str] = []
        try:
            client.execute_interactive(
                f"print({expression})",
                timeout=30,
                output_hook=lambda m: out.append(m["content"].get("text", "")) if m["msg_type"] == "stream" else None,
            )
        finally:
            client.stop_channels()
        return "".join(out).strip()

    def visible(self) -> str:
        return self.evaluate("__import__('os').environ.get('CUDA_VISIBLE_DEVICES')")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    first, second = ServerProcess(tmp_path, "--SwanGpu.undo_s=0"), ServerProcess(tmp_path, "--SwanGpu.undo_s=0")
    try:
        first.start()
        first.call("GET", "/sessions")
        second.start()
        yield first, second
    finally:
        for one in (second, first):
            if one.process is not None and one.process.poll() is None:
                one.process.send_signal(signal.SIGCONT)
            one.stop()


def sessions(server: ServerProcess) -> dict[str, Any]:
    answer = server.call("GET", "/sessions")
    assert answer.status_code == 200, answer.text
    return {s["id"]: s for s in answer.json()["items"]}


def attached(server: ServerProcess, attach: dict[str, str]) -> dict[str, Any]:
    """An active session with that kernel on it, asked for at ``server``."""
    asked = server.call("POST", "/sessions", WISH)
    assert asked.status_code == 201, asked.text
    answer = server.call("POST", f"/sessions/{asked.json()['id']}/attach", attach)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def release(server: ServerProcess, session_id: str) -> None:
    """Give it back, and wait until its kernels are off it."""
    assert server.call("DELETE", f"/sessions/{session_id}").status_code == 200
    eventually(lambda: sessions(server).get(session_id, {"state": "ended"})["state"] == "ended")


def processes_of(server: ServerProcess, kernel_id: str) -> list[int]:
    with server.client() as client:
        headers = {"Authorization": f"token {own_token(server)}"}
        items = client.get(f"{INTERNAL}/kernels", headers=headers).json()["items"]
    kernel = next(k for k in items if k["kernel_id"] == kernel_id)
    return [kernel[name] for name in ("agent_pid", "pid") if kernel[name]]


def own_token(server: ServerProcess) -> str:
    assert server.process is not None
    path = server.home / "run" / "swangpu" / "servers" / f"swangpu-{server.process.pid}.json"
    assert path.stat().st_mode & 0o077 == 0
    return str(json.loads(path.read_text())["token"])


def test_a_kernel_of_the_follower(pair: tuple[ServerProcess, ServerProcess]) -> None:
    first, second = pair
    # the same path is another notebook in each server
    other, mine = Notebook(first, "fit.ipynb"), Notebook(second, "fit.ipynb")
    preview = second.call("GET", "/kernels/preview", params={"path": "fit.ipynb"})
    assert preview.json()["kernel_id"] == mine.id
    session = attached(second, {"path": "fit.ipynb"})
    assert session["kernel_ids"] == [mine.id]
    assert session["path"] == "fit.ipynb"
    assert mine.visible() == session["shares"][0]["device_uuid"]
    assert other.visible() == "None"
    again = second.call("POST", f"/sessions/{session['id']}/attach", {"kernel_id": "nobody"})
    assert (again.status_code, again.json()["code"]) == (404, "no_such_kernel")

    taken = second.call("POST", "/sessions", {"memory_bytes": 1e9, "kind": "kernel"})
    assert taken.status_code == 201, taken.text
    refused = second.call("POST", f"/sessions/{taken.json()['id']}/attach", {"kernel_id": mine.id})
    assert refused.status_code == 409

    release(second, session["id"])
    assert mine.visible() == "None"
    for server in pair:
        server.check_log()


def test_the_session_is_busy_with_the_follower(pair: tuple[ServerProcess, ServerProcess]) -> None:
    first, second = pair
    mine = Notebook(second, "fit.ipynb")
    session = attached(first, {"kernel_id": mine.id})
    assert sessions(first)[session["id"]]["idle_since"] is not None
    client = mine.client()
    try:
        client.execute("import time; time.sleep(5)")
        eventually(lambda: sessions(first)[session["id"]]["idle_since"] is None, 10)
        eventually(lambda: sessions(first)[session["id"]]["idle_since"] is not None, 15)
    finally:
        client.stop_channels()


def test_a_kernel_that_is_shut_down_at_the_follower(pair: tuple[ServerProcess, ServerProcess]) -> None:
    first, second = pair
    mine = Notebook(second, "fit.ipynb")
    session = attached(first, {"path": "fit.ipynb"})
    assert session["kernel_ids"] == [mine.id]
    with second.client() as client:
        assert client.delete(f"/api/kernels/{mine.id}").status_code == 204
    eventually(lambda: sessions(first)[session["id"]]["kernel_ids"] == [], 10)


def test_the_follower_dies(pair: tuple[ServerProcess, ServerProcess]) -> None:
    first, second = pair
    mine = Notebook(second, "fit.ipynb")
    session = attached(second, {"path": "fit.ipynb"})
    assert sessions(first)[session["id"]]["kernel_ids"] == [mine.id]
    processes = processes_of(second, mine.id)
    second.kill()
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: sessions(first)[session["id"]]["kernel_ids"] == [], 10)
    assert sessions(first)[session["id"]]["state"] == "active"


def test_a_kernel_outlives_the_follower(pair: tuple[ServerProcess, ServerProcess]) -> None:
    """It is on its share still, which must not be given to somebody else: the leader takes it over."""
    first, second = pair
    mine = Notebook(second, "fit.ipynb")
    session = attached(second, {"path": "fit.ipynb"})
    mine.evaluate("globals().update(x=41)")
    second.kill()

    def adopted() -> bool:
        with first.client() as client:
            return mine.id in [kernel["id"] for kernel in client.get("/api/kernels").json()]

    eventually(adopted, 15)
    assert sessions(first)[session["id"]]["kernel_ids"] == [mine.id]
    assert mine.evaluate("x + 1") == "42"
    release(first, session["id"])
    assert mine.visible() == "None"


def test_the_leader_dies_and_its_kernel_does_not(pair: tuple[ServerProcess, ServerProcess]) -> None:
    first, second = pair
    mine = Notebook(first, "fit.ipynb")
    session = attached(second, {"path": "fit.ipynb"})
    first.kill()
    eventually(lambda: sessions(second), 10)
    assert sessions(second)[session["id"]]["kernel_ids"] == [mine.id]
    assert mine.visible() == session["shares"][0]["device_uuid"]


def test_the_leader_dies(pair: tuple[ServerProcess, ServerProcess]) -> None:
    first, second = pair
    mine = Notebook(second, "fit.ipynb")
    # through the leader: nobody ever asked the other server anything, and it must take over all the same
    session = attached(first, {"kernel_id": mine.id})
    first.kill()

    def leads() -> bool:
        return json.loads((second.home / "run" / "swangpu" / "leader.json").read_text())["url"].endswith(
            f":{second.port}/"
        )

    eventually(leads, 10)
    assert sessions(second)[session["id"]]["kernel_ids"] == [mine.id]
    assert mine.visible() == session["shares"][0]["device_uuid"]
    release(second, session["id"])
    assert mine.visible() == "None"


def test_a_server_that_hangs_holds_up_nobody(pair: tuple[ServerProcess, ServerProcess]) -> None:
    first, second = pair
    mine = Notebook(second, "fit.ipynb")
    session = attached(second, {"path": "fit.ipynb"})
    own = Notebook(first, "own.ipynb")
    assert second.process is not None
    second.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(3):
            answer = first.call("GET", "/kernels/preview", params={"path": "own.ipynb"}, timeout=10)
            assert answer.json()["kernel_id"] == own.id
        # it may come to itself: what it had is its own still
        assert sessions(first)[session["id"]]["kernel_ids"] == [mine.id]
    finally:
        second.process.send_signal(signal.SIGCONT)
    found = eventually(lambda: first.call("GET", "/kernels/preview", params={"kernel_id": mine.id}))
    assert found.status_code == 200


def test_nobody_but_our_servers_is_let_in(pair: tuple[ServerProcess, ServerProcess]) -> None:
    first, second = pair
    ours = own_token(first)
    calls = (("GET", "/kernels"), ("POST", "/events"), ("POST", "/kernels/x/detach"))
    with httpx.Client(base_url=first.url, trust_env=False) as nobody:
        # a browser's cookie, by logging in
        nobody.get("/api/status", params={"token": first.token})
        for token in ("", first.token, own_token(second), "ü", ours[:-1]):
            headers = {b"Authorization": f"token {token}".encode()} if token else {}
            for method, path in calls:
                answer = nobody.request(method, INTERNAL + path, headers=headers, json=None)
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), (token, path)
        answer = nobody.get(f"{INTERNAL}/kernels", params={"token": ours})
        assert answer.status_code == 403
        allowed = {"Authorization": f"token {ours}"}
        answer = nobody.get(f"{INTERNAL}/kernels", headers=allowed)
        assert (answer.status_code, answer.json()["items"]) == (200, [])
        answer = nobody.post(f"{INTERNAL}/kernels/x/explode", headers=allowed, json={})
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_route")
        answer = nobody.post(f"{INTERNAL}/kernels/x/attach", headers=allowed, json={"nonsense": 1})
        assert answer.status_code == 400
    document = first.call("GET", "/openapi.json").text
    assert "internal" not in document.replace('"internal"', "")


def test_a_wish_for_a_notebook_is_passed_on_whole(pair: tuple[ServerProcess, ServerProcess]) -> None:
    _, follower = pair
    Notebook(follower, "there.ipynb")
    answer = follower.call("GET", "/offers", params={"path": "there.ipynb", "memory_bytes": 30e9})
    assert answer.status_code == 200, answer.text
    assert {one["memory_bytes"] for one in answer.json()["items"]} == {40 * 10**9}
