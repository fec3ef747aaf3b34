"""Notebooks that ask for some memory take turns on one GPU without a copy, until somebody needs all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from live_kernel import LiveKernel
from server_process import ServerProcess, eventually

GB = 10**9
#: one T4 of the demo's fleet, by its index, as a whole: 16 GB
ONE_DEVICE, FLAVOR = ("--SwanGpu.devices=3", "--SwanGpu.slices_per_model=T4=1"), "t4"

#: a library with one array of 1 GB on the device; it counts how often that is moved
USES_GPU = """
import swangpu_kernel.offload as offload
from swangpu_kernel.offload_parts import Found, Framework, Piece

class Array(Piece):
    framework, what, size_bytes, address = "board", "array", 10**9, 1
    def copy(self, pinned): moves.append("out")
    def free(self): pass
    def back(self): moves.append("back")
    def drop(self): pass

class Board(Framework):
    name = "board"
    def find(self, objects, names): return Found([Array()])
    def wait(self): pass
    def give_back(self): pass
    def held_bytes(self): return 10**9
    def cached_bytes(self): return 0

moves, board = [], Board()
offload.FRAMEWORKS.append(lambda: board)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    started: list[ServerProcess] = []

    def one(*settings: str, port: int | None = None) -> ServerProcess:
        sharing = ("--SwanGpu.reclaim=enforce", "--SwanGpu.idle_pause_s=0", "--SwanGpu.undo_s=0")
        server = ServerProcess(tmp_path, *sharing, *ONE_DEVICE, *settings)
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


def get(server: ServerProcess, kernel: LiveKernel, **what: Any) -> str:
    """Ask for a GPU for a notebook, which is put on it when its turn comes."""
    answer = server.call("POST", "/sessions", {**what, "attach": {"kernel_id": kernel.id, "carry": "all"}})
    assert answer.status_code == 201, answer.text
    session_id = str(answer.json()["id"])
    eventually(lambda: session(server, session_id)["kernel_ids"] == [kernel.id], 60)
    return session_id


def two_that_stay(server: ServerProcess) -> tuple[LiveKernel, str, LiveKernel, str]:
    fit, gan = LiveKernel(server, "fit.ipynb"), LiveKernel(server, "gan.ipynb")
    first = get(server, fit, memory_bytes=2 * GB)
    fit.run(USES_GPU)
    second = get(server, gan, memory_bytes=2 * GB)
    gan.run(USES_GPU)
    return fit, first, gan, second


def moves(kernel: LiveKernel) -> str:
    return kernel.run("print(moves)", 60).strip().splitlines()[-1]


def test_two_take_turns_without_a_copy_and_who_needs_all_of_it_moves_them_out(start: Any) -> None:
    server = start()
    fit, first, gan, second = two_that_stay(server)
    assert session(server, first)["state"] == "paused"
    assert session(server, first)["shares"] == [], "its GPU is somebody else's"
    for _ in range(2):
        assert moves(fit) == "[]"
        eventually(lambda: session(server, second)["state"] == "paused")
        assert moves(gan) == "[]"
        eventually(lambda: session(server, first)["state"] == "paused")
    eda = LiveKernel(server, "eda.ipynb")
    third = get(server, eda, flavor=FLAVOR)
    assert session(server, third)["state"] == "active"
    assert [session(server, one)["state"] for one in (first, second)] == ["paused", "paused"]
    # how often is a matter of who is seen to work when: a cell that waits goes first
    assert moves(fit).startswith("['out', 'back'")
    assert moves(gan).startswith("['out', 'back'")
    server.check_log()


def test_where_a_site_does_without_it_is_moved(start: Any) -> None:
    server = start("--SwanGpu.resident=False")
    fit, _first, _gan, _second = two_that_stay(server)
    assert moves(fit).startswith("['out', 'back'")


def test_kill_9_while_one_has_stayed_and_it_goes_on_there(start: Any) -> None:
    server = start()
    fit, first, gan, second = two_that_stay(server)
    assert session(server, first)["reason"]["text"].startswith("Paused, variables kept on the GPU.")
    server.kill()
    again = start(port=server.port)
    fit.server = gan.server = again
    eventually(lambda: session(again, second)["kernel_ids"] == [gan.id])
    found = session(again, first)
    assert found["state"] == "paused"
    assert found["reason"]["text"].startswith("Paused, variables kept on the GPU.")
    assert moves(fit) == "[]"
    assert session(again, first)["state"] == "active"
    eventually(lambda: session(again, second)["state"] == "paused")
    get(again, LiveKernel(again, "eda.ipynb"), flavor=FLAVOR)
    assert moves(fit).startswith("['out', 'back'"), "what the next server does not know it could not move out"
    again.check_log()
