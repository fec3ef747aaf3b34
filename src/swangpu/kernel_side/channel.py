"""Messages between the notebook and its companion, over a pair of sockets that only these two have.

A message is a line of JSON with the sizes of what follows, and then that: pickles and buffers as they are.
"""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Channel", "Closed"]

Json = dict[str, Any]

#: how often to look whether the other side still lives: a process that it has forked may keep its socket open
LOOK_S = 0.5
LONGEST_HEAD = 1 << 30


class Closed(Exception):
    """The other side is gone."""


class Channel:
    """One end.

    Attributes
    ----------
    sent_bytes : int
    """

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.sent_bytes = 0
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._ready = select.poll()
        self._ready.register(end.fileno(), select.POLLIN)

    def send(self, head: Json, parts: Sequence[Any] = ()) -> None:
        """Send a message; from any thread, but not from a process that was forked of this one.

        Raises
        ------
        Closed
        """
        if os.getpid() != self._pid:
            return
        views = [_view(part) for part in parts]
        text = json.dumps({**head, "sizes": [view.nbytes for view in views]}, default=_plain).encode()
        with self._lock:
            try:
                self.socket.sendall(len(text).to_bytes(8, "big") + text)
                for view in views:
                    self.socket.sendall(view)
            except OSError:
                raise Closed from None
            self.sent_bytes += 8 + len(text) + sum(view.nbytes for view in views)

    def receive(self, alive: Callable[[], bool] = lambda: True) -> tuple[Json, list[bytearray]]:
        """The next message; ``alive`` is asked now and then while none comes.

        Raises
        ------
        Closed
        """
        size = int.from_bytes(self._exactly(8, alive), "big")
        if size > LONGEST_HEAD:
            raise Closed
        head: Json = json.loads(self._exactly(size, alive))
        return head, [self._exactly(part, alive) for part in head.pop("sizes")]

    def close(self) -> None:
        self.socket.close()

    def _exactly(self, size: int, alive: Callable[[], bool]) -> bytearray:
        content = bytearray(size)
        rest = memoryview(content)
        while rest:
            try:
                # what it has still said before its end is there to be read
                if not self._ready.poll(LOOK_S * 1000) and not alive() and not self._ready.poll(0):
                    raise Closed
                got = self.socket.recv_into(rest)
            except OSError:
                raise Closed from None
            if not got:
                raise Closed
            rest = rest[got:]
        return content


def _view(part: Any) -> memoryview:
    raw = part.raw() if hasattr(part, "raw") else memoryview(part)
    return raw if raw.nbytes == 0 or raw.format == "B" else raw.cast("B")


def _plain(value: Any) -> Any:
    """What is not JSON in something that is shown, as Jupyter does it."""
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    return value.item() if hasattr(value, "item") else str(value)
