"""A share goes back however the holder comes to let go of it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from server_process import eventually
from swangpu.kernel_side.hold import Holding


@pytest.fixture
def given_back() -> Iterator[tuple[str, list[str]]]:
    """Where a server is, and what was given back to it."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            paths.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *what: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", paths
    server.shutdown()
    server.server_close()


class Stopped:
    """An API; Stop is pressed while it is told that the share goes back."""

    token = "t"

    def __init__(self, base: str) -> None:
        self.base = base

    def claim(self, session_id: str) -> dict[str, Any]:
        return {"id": session_id}

    def release(self, session_id: str, undo: bool) -> None:
        raise KeyboardInterrupt


def test_a_share_goes_back_although_stop_is_pressed_meanwhile(given_back: tuple[str, list[str]]) -> None:
    base, paths = given_back
    holding = Holding(Stopped(base), {"id": "s1", "simulated": True}, in_place=False)  # type: ignore[arg-type]
    guard = holding._guard
    assert guard is not None
    with pytest.raises(KeyboardInterrupt):
        holding.release()
    # as the traceback does that the notebook shows, `holding` lives on
    eventually(lambda: any("/sessions/s1" in path for path in paths))
    assert guard._process.wait(30.0) == 0
