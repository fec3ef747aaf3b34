"""The agent's own door: a socket file that only its owner can open, one JSON object a line, one answer each."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import zmq

__all__ = ["Desk", "socket_path"]

#: the shortest limit among systems is 104 bytes
MAX_PATH_BYTES = 100
MAX_REQUEST_BYTES = 100_000


def socket_path(runtime_dir: Path, kernel_id: str) -> Path:
    """Where the socket of a kernel's agent goes: in our folder, or, when that path is too long for a socket, in a
    folder of this user in the temporary one."""
    path = runtime_dir / "agents" / "sockets" / f"{kernel_id}.sock"
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        import tempfile  # not in the agent, which is only told the path

        path = Path(tempfile.gettempdir()) / f"swangpu-{os.getuid()}" / "sockets" / f"{kernel_id}.sock"
    return path


class Desk:
    """Listens, without ever blocking: a client that does not read its answer holds up nobody.

    Parameters
    ----------
    answer : callable
        From a request to its answer.
    """

    def __init__(self, path: Path, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._path = path
        self._answer = answer
        self._incoming: dict[int, tuple[socket.socket, bytearray]] = {}
        self._outgoing: dict[int, bytearray] = {}
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        info = path.parent.lstat()
        if info.st_uid != os.getuid() or not stat.S_ISDIR(info.st_mode) or info.st_mode & 0o077:
            raise PermissionError("the folder for sockets is not only ours")
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(8)
        self._listener.setblocking(False)

    def readers(self) -> list[int]:
        return [self._listener.fileno(), *self._incoming]

    def writers(self) -> list[int]:
        return [fd for fd, waiting in self._outgoing.items() if waiting]

    def poll(self, poller: zmq.Poller, before: Mapping[int, int]) -> dict[int, int]:
        """Have polled what it waits for now instead of what it waited for before."""
        wanted = dict.fromkeys(self.readers(), int(zmq.POLLIN))
        for fd in self.writers():
            wanted[fd] |= int(zmq.POLLOUT)
        for fd in before.keys() - wanted.keys():
            poller.unregister(fd)
        for fd, events in wanted.items():
            poller.register(fd, events)
        return wanted

    def on_readable(self, fd: int) -> None:
        if fd == self._listener.fileno():
            with contextlib.suppress(OSError):
                client, _ = self._listener.accept()
                client.setblocking(False)
                self._incoming[client.fileno()] = (client, bytearray())
                self._outgoing[client.fileno()] = bytearray()
            return
        client, received = self._incoming[fd]
        try:
            data = client.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        received += data
        if not data or len(received) > MAX_REQUEST_BYTES:
            self._drop(fd)
            return
        while (end := received.find(b"\n")) >= 0:
            line = bytes(received[:end])
            del received[: end + 1]
            self._outgoing[fd] += self._answer_line(line) + b"\n"
        self.on_writable(fd)

    def _answer_line(self, line: bytes) -> bytes:
        try:
            request = json.loads(line)
            reply = self._answer(request if isinstance(request, dict) else {})
        except ValueError:
            reply = {"ok": False, "error": "not a request"}
        return json.dumps(reply).encode()

    def on_writable(self, fd: int) -> None:
        client, waiting = self._incoming[fd][0], self._outgoing[fd]
        try:
            sent = client.send(waiting) if waiting else 0
        except BlockingIOError:
            return
        except OSError:
            self._drop(fd)
            return
        del waiting[:sent]

    def _drop(self, fd: int) -> None:
        client, _ = self._incoming.pop(fd)
        del self._outgoing[fd]
        client.close()

    def close(self) -> None:
        for fd in list(self._incoming):
            self._drop(fd)
        self._listener.close()
        with contextlib.suppress(OSError):
            self._path.unlink()
