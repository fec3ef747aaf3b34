"""The companion: a process beside a GPU that runs a notebook's cells, one after the other.

It begins as a small interpreter that waits for its share: so its process id is known when the share is asked for. Then
it becomes a fresh Python with the share's environment, under the same id. It ends when the notebook's end of its socket
is closed, whatever it is doing.
"""

from __future__ import annotations

import contextlib
import io
import os
import queue
import signal
import socket
import sys
import threading
from typing import Any

from .channel import Channel, Closed

__all__ = ["LAST", "Outlet", "Stream", "become", "main", "start_code"]

Json = dict[str, Any]

_SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_site")  # noqa: PTH100, PTH118, PTH120 - as text
#: the name under which the value of a cell's last line comes
LAST = "_"
#: what is printed in so many seconds goes in one message
FLUSH_S = 0.05
FLUSH_CHARS = 8192


def start_code(name: str) -> str:
    """A program for another interpreter: a function of this module, with a file descriptor as its argument."""
    return (
        # without the working directory: a file of the person's may have a name of the standard library's
        f"import sys; sys.path[:] = [{_SITE!r}, *filter(None, sys.path)]; "
        f"from swangpu_kernel import beside; beside.{name}(int(sys.argv[1]))"
    )


def become(descriptor: int) -> None:
    """Wait for the share, and become the Python that runs on it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end = socket.socket(fileno=descriptor)
    try:
        # who has the guard's pipe counts as a holder of the share
        said, guards, _, _ = socket.recv_fds(end, 1, 1)
        if not said:
            return
        head, _ = Channel(end).receive()
    except (Closed, OSError):
        return
    environment = dict(os.environ)
    for name, value in head["environment"].items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    for inherited in (descriptor, *guards):
        os.set_inheritable(inherited, True)
    os.chdir(head["cwd"])
    os.execve(sys.executable, [sys.executable, "-c", start_code("main"), str(descriptor)], environment)  # noqa: S606


def main(descriptor: int) -> None:
    """Run cells until the notebook is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_inheritable(descriptor, False)
    channel = Channel(socket.socket(fileno=descriptor))
    inbox: queue.SimpleQueue[tuple[Json, list[bytearray]]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(channel, inbox), daemon=True).start()
    begin, _ = inbox.get()
    sys.path[:] = filter(None, begin["path"])
    sys.argv = [""]
    from .worker import Worker

    worker = Worker(channel, inbox, begin)
    # as in the notebook, whose own parts were there before, too
    sys.path[:] = begin["path"]
    with contextlib.suppress(Closed):
        worker.run()
    os._exit(0)


def _listen(channel: Channel, inbox: Any) -> None:
    try:
        while True:
            inbox.put(channel.receive())
    finally:
        # at once, with all that the cell has started: it computes for nobody, and the share is somebody else's soon.
        # Whatever it was: who hears nothing any more must not be waited for
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(0)


class Shield:
    """Puts off a Stop while the main thread writes a message: half of one would be the end of all of them."""

    def __init__(self) -> None:
        self.depth = 0
        self.pending = False

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self.depth += 1

    def __exit__(self, *error: object) -> None:
        if threading.current_thread() is threading.main_thread():
            self.depth -= 1
            if self.pending and not self.depth:
                self.pending = False
                raise KeyboardInterrupt

    def reset(self) -> None:
        self.depth, self.pending = 0, False


class Outlet:
    """Where the companion's output goes while a cell runs; nowhere between cells."""

    def __init__(self, channel: Channel) -> None:
        self.shield = Shield()
        self._channel = channel
        self._pending: list[list[str]] = []
        self._size = 0
        self._lock = threading.RLock()
        self._some = threading.Event()
        self.open = False
        threading.Thread(target=self._flush_soon, daemon=True).start()

    def write(self, stream: str, text: str) -> None:
        with self.shield, self._lock:
            if not self.open:
                return
            if self._pending and self._pending[-1][0] == stream:
                self._pending[-1][1] += text
            else:
                self._pending.append([stream, text])
            self._size += len(text)
            if self._size > FLUSH_CHARS:
                self.flush()
            else:
                self._some.set()

    def say(self, head: Json) -> None:
        """A message of another kind, after what was printed before it."""
        with self.shield, self._lock:
            if self.open:
                self.flush()
                self._channel.send(head)

    def flush(self) -> None:
        with self.shield, self._lock:
            pending, self._pending, self._size = self._pending, [], 0
            for stream, text in pending:
                self._channel.send({"op": "stream", "name": stream, "text": text})

    def close(self) -> None:
        with self.shield, self._lock:
            self.flush()
            self.open = False

    def _flush_soon(self) -> None:
        pause = threading.Event()
        with contextlib.suppress(Closed):
            while True:
                self._some.wait()
                pause.wait(FLUSH_S)
                self._some.clear()
                self.flush()


class Stream(io.TextIOBase):
    """``sys.stdout`` or ``sys.stderr`` of the companion."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, outlet: Outlet, name: str, descriptor: int) -> None:
        self._outlet = outlet
        self._name = name
        self._descriptor = descriptor
        self._pid = os.getpid()

    @property
    def name(self) -> str:
        return f"<{self._name}>"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if os.getpid() != self._pid:
            # of a process that the cell has forked: it has no part in our messages
            os.write(self._descriptor, text.encode(errors="replace"))
        else:
            self._outlet.write(self._name, text)
        return len(text)

    def flush(self) -> None:
        if os.getpid() == self._pid:
            self._outlet.flush()
