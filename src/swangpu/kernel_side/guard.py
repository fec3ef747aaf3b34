"""Gives a share back when the process that holds it is gone, however it went.

A small process of its own waits at a pipe whose other end is open in the holder, and in whatever the holder lets
inherit it. When all of these have died, the share is nobody's any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import IO, Any

from .api import Api, ApiError

__all__ = ["Guard", "main"]

#: a server that restarts is asked again for about this long, in seconds
PATIENCE_S = 120.0
_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - as text, for another interpreter


class Guard:
    """Watches over one session for as long as this process lives.

    Parameters
    ----------
    url, token : str
        How the guard reaches the API.
    session_id : str

    Attributes
    ----------
    fd : int
        The end of the pipe: a process that inherits it counts as a holder too.
    """

    def __init__(self, url: str, token: str, session_id: str) -> None:
        site = os.path.join(_HERE, "_site")  # noqa: PTH118
        code = f"import sys; sys.path.insert(0, {site!r}); from swangpu_kernel.guard import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            # not in our process group: what ends us must not end it
            start_new_session=True,
        )
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._pipe: IO[bytes] = self._process.stdin
        self.fd = self._pipe.fileno()
        # the token goes through the pipe: a command line can be read by everybody on the machine
        self._say({"url": url, "token": token, "session_id": session_id})

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._pipe.write(json.dumps(message).encode() + b"\n")
            self._pipe.flush()

    def dismiss(self) -> None:
        """The share has been given back: nothing is left to do."""
        self._say({"done": True})
        with contextlib.suppress(OSError):
            self._pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)

    def abandon(self) -> None:
        """Let go of the share in the guard's way: it gives it back as soon as nobody else holds the pipe."""
        with contextlib.suppress(OSError):
            self._pipe.close()


def main() -> None:
    """The guard's own process."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    orders: dict[str, Any] = {}
    for line in sys.stdin.buffer:
        with contextlib.suppress(ValueError):
            orders.update(json.loads(line))
        if orders.get("done"):
            break
    if orders.get("done") or "session_id" not in orders:
        return
    api = Api(orders["url"], orders["token"])
    deadline, pause_s = time.monotonic() + PATIENCE_S, 0.2
    while time.monotonic() < deadline:
        try:
            api.release(orders["session_id"], undo=False)
        except ApiError as error:
            if error.status and error.status < 500:
                return
            time.sleep(pause_s)
            pause_s = min(5.0, pause_s * 2)
        else:
            return
