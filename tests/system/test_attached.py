"""Attached kernels on a real server: shares, restarts, pause and resume, other languages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from live_kernel import LiveKernel, collect
from server_process import ServerProcess, eventually

#: the demo's fleet has one of these
WHOLE = "a100-40gb"
SHARE = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'))"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    one = ServerProcess(Path(tmp_path_factory.mktemp("gate")), "--SwanGpu.undo_s=0").start()
    yield one
    one.stop()


def attached(  # type: ignore[no-untyped-def]
    server: ServerProcess, path: str, carry: str = "none", kernel_name: str = "python3", flavor: str = "t4/time-4"
):
    kernel = LiveKernel(server, path, kernel_name)
    session = server.call("POST", "/sessions", {"flavor": flavor}).json()
    answer = server.call("POST", f"/sessions/{session['id']}/attach", {"path": path, "carry": carry})
    assert answer.status_code == 200, answer.text
    return kernel, answer.json()


def test_a_restart_by_hand_keeps_the_share(server: ServerProcess) -> None:
    kernel, session = attached(server, "restart.ipynb")
    share = session["environment"]["CUDA_VISIBLE_DEVICES"]
    assert share in kernel.run(SHARE)
    with server.client() as client:
        assert client.post(f"/api/kernels/{kernel.id}/restart").status_code == 200
    assert share in kernel.run(SHARE)
    server.call("DELETE", f"/sessions/{session['id']}")


def test_shutting_a_kernel_down_is_noticed(server: ServerProcess) -> None:
    kernel, session = attached(server, "gone.ipynb")
    with server.client() as client:
        client.delete(f"/api/kernels/{kernel.id}")
    eventually(lambda: server.call("GET", f"/sessions/{session['id']}").json()["kernel_ids"] == [])
    again = server.call("GET", f"/sessions/{session['id']}").json()
    assert again["state"] == "active", "the share stays for a linger: a restart by hand takes a moment"
    server.call("DELETE", f"/sessions/{session['id']}")


def paused(server: ServerProcess, session: dict) -> str:  # type: ignore[type-arg]
    """Have a session paused and its GPU taken by a command of somebody else, whose session's id is the answer."""
    assert server.call("POST", f"/sessions/{session['id']}/pause").json()["state"] == "paused"
    eventually(lambda: server.call("GET", f"/sessions/{session['id']}").json()["shares"] == [])
    other = server.call("POST", "/sessions", {"kind": "job", "flavor": session["flavor"]}).json()
    assert server.call("POST", f"/sessions/{other['id']}/claim").json()["state"] == "active"
    return str(other["id"])


def test_paused_cells_wait_in_order_and_go_on(server: ServerProcess) -> None:
    kernel, session = attached(server, "paused.ipynb", flavor=WHOLE)
    kernel.run("seen = []")
    taken_by = paused(server, session)

    async def main() -> str:
        socket = await kernel.connect()
        first, second = kernel.code("seen.append(1); print('first', seen)"), kernel.code("seen.append(2); print(seen)")
        await socket.write_message(json.dumps(first))
        waiting = await collect(socket, first["header"]["msg_id"], lambda kinds: "stream" in kinds)
        await socket.write_message(json.dumps(second))
        # Whoever asks what kernel this is gets an answer meanwhile.
        ask = kernel.message("kernel_info_request", {})
        other = await kernel.connect("another-tab")
        await other.write_message(json.dumps(ask))
        await collect(other, ask["header"]["msg_id"], lambda kinds: "kernel_info_reply" in kinds)
        other.close()
        # The first cell has asked for the GPU by itself; who asks again is not told off.
        resumed = await asyncio.to_thread(server.call, "POST", f"/sessions/{session['id']}/resume")
        assert resumed.json()["queue_position"] == 1
        await asyncio.to_thread(server.call, "DELETE", f"/sessions/{taken_by}")
        await collect(socket, second["header"]["msg_id"], lambda kinds: "execute_reply" in kinds)
        socket.close()
        return waiting

    waiting = asyncio.run(asyncio.wait_for(main(), 30))
    assert "Getting your GPU back" in waiting
    assert kernel.run("print(seen)").strip() == "[1, 2]"
    assert server.call("GET", f"/sessions/{session['id']}").json()["state"] == "active"
    server.call("DELETE", f"/sessions/{session['id']}")
    eventually(lambda: server.call("GET", f"/sessions/{session['id']}").json()["state"] == "ended")


def test_interrupt_while_waiting_ends_the_cell_and_loses_nothing(server: ServerProcess) -> None:
    kernel, session = attached(server, "interrupted.ipynb", flavor=WHOLE)
    kernel.run("precious = 42")
    taken_by = paused(server, session)

    async def main() -> str:
        socket = await kernel.connect()
        held = kernel.code("precious = 0")
        await socket.write_message(json.dumps(held))
        await collect(socket, held["header"]["msg_id"], lambda kinds: "stream" in kinds)

        def interrupt() -> int:
            with server.client() as client:
                return client.post(f"/api/kernels/{kernel.id}/interrupt").status_code

        assert await asyncio.to_thread(interrupt) == 204
        out = await collect(socket, held["header"]["msg_id"], lambda kinds: "idle" in kinds)
        socket.close()
        return out

    assert "KeyboardInterrupt" in asyncio.run(asyncio.wait_for(main(), 30))
    server.call("DELETE", f"/sessions/{taken_by}")
    assert kernel.run("print(precious)").strip().endswith("42")
    server.call("DELETE", f"/sessions/{session['id']}")


def test_interrupt_while_running_reaches_the_kernel(server: ServerProcess) -> None:
    kernel, session = attached(server, "running.ipynb")

    async def main() -> str:
        socket = await kernel.connect()
        running = kernel.code("import time\nprint('on', flush=True)\ntime.sleep(60)")
        await socket.write_message(json.dumps(running))
        await collect(socket, running["header"]["msg_id"], lambda kinds: "stream" in kinds)

        def interrupt() -> None:
            with server.client() as client:
                client.post(f"/api/kernels/{kernel.id}/interrupt")

        await asyncio.to_thread(interrupt)
        out = await collect(socket, running["header"]["msg_id"], lambda kinds: "idle" in kinds)
        socket.close()
        return out

    assert "KeyboardInterrupt" in asyncio.run(asyncio.wait_for(main(), 30))
    server.call("DELETE", f"/sessions/{session['id']}")


def test_variables_are_carried_there_and_back(server: ServerProcess) -> None:
    kernel = LiveKernel(server, "carried.ipynb")
    kernel.run("x = [1, 2]; y = x; log = open('log.txt', 'w')")
    preview = server.call("GET", "/kernels/preview", params={"path": "carried.ipynb"}).json()
    assert {"x", "y"} <= set(preview["carried"])
    assert [left["name"] for left in preview["left"]] == ["log"]
    session = server.call("POST", "/sessions", {"flavor": "t4/time-4"}).json()
    server.call("POST", f"/sessions/{session['id']}/attach", {"path": "carried.ipynb", "carry": "all"})
    assert kernel.run("print(x is y, x)").strip() == "True [1, 2]"
    server.call("DELETE", f"/sessions/{session['id']}")
    eventually(lambda: server.call("GET", f"/sessions/{session['id']}").json()["state"] == "ended")
    assert kernel.run("x.append(3); print(y)").strip() == "[1, 2, 3]"
    assert kernel.run(SHARE).strip() == "None"


def test_a_look_into_a_busy_kernel_says_that_its_cell_would_be_stopped(server: ServerProcess) -> None:
    kernel = LiveKernel(server, "busy.ipynb")
    kernel.start("import time\nkept = 1\ntime.sleep(60)")
    look = {"kernel_id": kernel.id}
    busy = eventually(lambda: server.call("GET", "/kernels/preview", params=look).json()["warning"])
    assert busy["code"] == "kernel_busy"
    assert "Wait for it" in busy["text"]
    with server.client() as client:
        client.post(f"/api/kernels/{kernel.id}/interrupt")

    def idle() -> bool:
        found = server.call("GET", "/kernels/preview", params=look).json()
        return found["warning"] is None and "kept" in found["carried"]

    eventually(idle)


def notices(server: ServerProcess) -> dict[str, dict[str, str]]:
    """What the person was told, by code and session."""
    said = server.call("GET", "/stream", params={"topics": "notices", "limit": "2"}).text
    data = [line.removeprefix("data: ") for line in said.splitlines() if line.startswith("data: ")][-1]
    return {f"{n['code']} {n['session_id']}": n for n in json.loads(data).get("items", [])}


def test_what_a_running_cell_has_computed_survives_the_end_of_its_session(server: ServerProcess) -> None:
    kernel, session = attached(server, "night.ipynb")
    kernel.run("log = open('night.txt', 'w')")

    async def main() -> None:
        socket = await kernel.connect()
        cell = "import time\nfor epoch in range(100_000):\n    print(epoch, flush=True)\n    time.sleep(0.1)"
        running = kernel.code(cell)
        await socket.write_message(json.dumps(running))
        await collect(socket, running["header"]["msg_id"], lambda kinds: "stream" in kinds)
        await asyncio.to_thread(server.call, "DELETE", f"/sessions/{session['id']}")
        out = await collect(socket, running["header"]["msg_id"], lambda kinds: "error" in kinds)
        assert "KeyboardInterrupt" in out
        socket.close()

    asyncio.run(asyncio.wait_for(main(), 60))
    eventually(lambda: server.call("GET", f"/sessions/{session['id']}").json()["state"] == "ended", 60)
    assert kernel.run("print(epoch >= 0)").strip() == "True"
    assert kernel.run(SHARE).strip() == "None"
    told = notices(server)[f"variables_left {session['id']}"]
    assert told["text"].endswith("these variables did not come along: log.")


def test_variables_that_can_not_be_read_any_more_are_named(server: ServerProcess) -> None:
    kernel = LiveKernel(server, "fragile.ipynb")
    kernel.run(
        "import pathlib, sys\n"
        "pathlib.Path('fragile.py').write_text('class Thing: pass')\n"
        "sys.path.insert(0, '.')\n"
        "import fragile\n"
        "thing, n = fragile.Thing(), 7\n"
        "pathlib.Path('fragile.py').unlink()"
    )
    session = server.call("POST", "/sessions", {"flavor": "t4/time-4"}).json()
    body = {"path": "fragile.ipynb", "carry": "all"}
    assert server.call("POST", f"/sessions/{session['id']}/attach", body).status_code == 200
    assert kernel.run("print(n, 'thing' in dir())").strip() == "7 False"
    told = notices(server)[f"variables_left {session['id']}"]
    assert "thing" in told["text"]
    assert told["level"] == "warning"
    server.call("DELETE", f"/sessions/{session['id']}")


def test_another_language(server: ServerProcess) -> None:
    import subprocess
    import sys

    subprocess.run(
        [sys.executable, "-m", "bash_kernel.install", "--user"],
        env=server.environment(),
        check=True,
        capture_output=True,
    )
    kernel, session = attached(server, "shell.ipynb", kernel_name="bash")
    assert kernel.run("echo share $CUDA_VISIBLE_DEVICES").strip() == (
        f"share {session['environment']['CUDA_VISIBLE_DEVICES']}"
    )
    server.call("POST", f"/sessions/{session['id']}/pause")

    async def main() -> str:
        socket = await kernel.connect()
        held = kernel.code("echo after the pause")
        await socket.write_message(json.dumps(held))
        await collect(socket, held["header"]["msg_id"], lambda kinds: "stream" in kinds)
        await asyncio.to_thread(server.call, "POST", f"/sessions/{session['id']}/resume")
        out = await collect(socket, held["header"]["msg_id"], lambda kinds: {"idle", "execute_reply"} <= kinds)
        socket.close()
        return out

    assert "after the pause" in asyncio.run(asyncio.wait_for(main(), 30))
    refused = LiveKernel(server, "shell2.ipynb", "bash")
    other = server.call("POST", "/sessions", {"flavor": "t4/time-4"}).json()
    answer = server.call("POST", f"/sessions/{other['id']}/attach", {"kernel_id": refused.id, "carry": "all"})
    assert answer.json()["code"] == "carry_unsupported", "variables of bash would be lost unasked"
    server.call("DELETE", f"/sessions/{session['id']}")
    server.call("DELETE", f"/sessions/{other['id']}")


def test_the_notebook_stores_nothing_of_ours(server: ServerProcess) -> None:
    with server.client() as client:
        model = client.get("/api/kernelspecs").json()
        assert "swangpu" not in json.dumps(model), "a kernelspec of ours would end up in notebooks"
