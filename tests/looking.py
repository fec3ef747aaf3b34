"""Somebody who looks: an event stream that is open and read, as a panel's is."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from server_process import API, ServerProcess

__all__ = ["viewer"]


@contextlib.contextmanager
def viewer(one: ServerProcess, topics: str = "telemetry") -> Iterator[None]:
    """The driver is read once a second meanwhile."""
    with socket.create_connection(("127.0.0.1", one.port)) as line:

        def read() -> None:
            while line.recv(65536):
                pass

        ask = [f"GET {API}/stream?topics={topics} HTTP/1.1", "Host: localhost", f"Authorization: token {one.token}"]
        line.sendall(("\r\n".join(ask) + "\r\n\r\n").encode())
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            yield
        finally:
            line.shutdown(socket.SHUT_RDWR)
            reader.join(30)
