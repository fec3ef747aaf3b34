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

from swangpu.kernels.waiter import READABLE, WRITABLE, Waiter

__all__ = ["Desk", "make_private", "socket_folder"]

#: the shortest limit among systems is 104 bytes
MAX_PATH_BYTES = 100
MAX_REQUEST_BYTES = 100_000


def socket_folder(runtime_dir: Path, name_bytes: int) -> Path:
    """Where sockets with names of up to so many bytes go: in our folder, or, when that path is too long for a socket,
    in one of this user's in a temporary one.

    Raises
    ------
    OSError
        All are too long.
    """
    import tempfile  # not in the agent, which is only told the path

    ours = Path(f"swangpu-{os.getuid()}", "sockets")
    # the temporary folder of macOS, and of batch jobs, can be too long itself
    temporary = (Path(tempfile.gettempdir()), Path("/tmp"))  # noqa: S108 - in it a folder is made for us alone
    for folder in (runtime_dir / "agents" / "sockets", *(one / ours for one in temporary)):
        if len(os.fsencode(folder)) + 1 + name_bytes <= MAX_PATH_BYTES:
            return folder
    raise OSError(f"no path is short enough for a socket's name of {name_bytes} bytes")


def make_private(folder: Path) -> None:
    """Make a folder in a folder of this user's, for nobody else.

    Raises
    ------
    PermissionError
        Somebody else could put things there, or put another folder in its place.
    """
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    parent = folder.parent.lstat()
    if parent.st_uid == os.getuid() and parent.st_mode & 0o022:
        # made where the usual mode lets the user's group write
        folder.parent.chmod(0o700)
    folder.mkdir(exist_ok=True, mode=0o700)
    info = folder.lstat()
    theirs = {info.st_uid, parent.st_uid} != {os.getuid()}
    if theirs or not stat.S_ISDIR(info.st_mode) or info.st_mode & 0o077:
        raise PermissionError(f"the folder for sockets is not only ours: {folder}")


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
        make_private(path.parent)
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

    def watch(self, waiter: Waiter, before: Mapping[int, int]) -> dict[int, int]:
        """Have waited for what it waits for now instead of what it waited for before."""
        wanted = dict.fromkeys(self.readers(), READABLE)
        for fd in self.writers():
            wanted[fd] |= WRITABLE
        for fd in before.keys() - wanted.keys():
            waiter.unwatch(fd)
        for fd, events in wanted.items():
            waiter.watch(fd, events)
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
