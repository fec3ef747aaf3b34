"""Waits for ZeroMQ sockets and plain file descriptors at once.

``zmq_poll`` asks each of its sockets twice for its state, with a system call for each: some thirty for a message here,
and every cell waits for six messages. ZeroMQ's own descriptor of a socket tells when the state may have changed, but
only once: whatever is done with a socket takes that in. So a socket that was used is asked before anything is waited
for, and one that was not used needs no asking until its descriptor says so.
"""

from __future__ import annotations

import select
from typing import Any

import zmq
from zmq.backend import zmq_poll

__all__ = ["READABLE", "WRITABLE", "Waiter"]

READABLE = select.POLLIN
WRITABLE = select.POLLOUT
POLLIN = int(zmq.POLLIN)


class Waiter:
    """Sockets are waited for until they can be read, descriptors for what is said.

    Examples
    --------
    >>> waiter = Waiter()
    >>> waiter.add_socket(socket)
    >>> waiter.watch(fd, READABLE)
    >>> for ready, events in waiter.wait(timeout_ms=-1):
    ...     ...
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._sockets: dict[int, Any] = {}
        self._fds: dict[Any, int] = {}
        self._used: set[Any] = set()

    def add_socket(self, socket: Any) -> None:
        fd = self._fds[socket] = socket.fileno()
        self._sockets[fd] = socket
        self._poll.register(fd, READABLE)
        self._used.add(socket)

    def remove_socket(self, socket: Any) -> None:
        """No longer wait for a socket; before it is closed, since its descriptor can be somebody else's then."""
        fd = self._fds.pop(socket, None)
        if fd is not None:
            del self._sockets[fd]
            self._poll.unregister(fd)
        self._used.discard(socket)

    def watch(self, fd: int, events: int) -> None:
        """Wait for a descriptor, or for something else of it."""
        self._poll.register(fd, events)

    def unwatch(self, fd: int) -> None:
        self._poll.unregister(fd)

    def used(self, socket: Any) -> None:
        """Something was sent or received: its descriptor may tell nothing of what has arrived."""
        self._used.add(socket)

    def wait(self, timeout_ms: int) -> list[tuple[Any, int]]:
        """What may have something to read, in the order in which it was added, and the descriptors that are ready.

        Parameters
        ----------
        timeout_ms : int
            Negative: without limit. The answer is empty when it is over, and may be before.
        """
        found = zmq_poll([(socket, POLLIN) for socket in self._used], 0) if self._used else []
        # whoever is told of one reads from it: it stays among the used
        used = self._used = {socket for socket, _ in found}
        out: list[tuple[Any, int]] = []
        for fd, events in self._poll.poll(0 if used else timeout_ms):
            socket = self._sockets.get(fd)
            if socket is None:
                out.append((fd, events))
            else:
                used.add(socket)
        if len(used) == 1:
            # nearly always
            return [(next(iter(used)), READABLE), *out]
        return [*((socket, READABLE) for socket in self._fds if socket in used), *out]
