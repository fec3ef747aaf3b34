"""The gate's decisions: what passes, what waits, in which order it goes on. No sockets here.

While the gate is closed, work for the kernel waits: ``execute_request`` and ``comm_*``, and everything that the same
client sends after them, so that no client's messages overtake each other. What only asks (``kernel_info_request``) is
answered; what runs no code of the person's (``comm_info_request``, completion) passes unless its client has something
waiting.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import NamedTuple

from swangpu.kernels.messages import Message

__all__ = ["WAITING", "Gate", "Interrupted", "Verdict"]

#: what a cell that is held for its GPU shows
WAITING = "Getting your GPU back …"

WAITS = frozenset({"execute_request", "comm_open", "comm_msg", "comm_close"})
NEVER_WAITS = frozenset({"shutdown_request", "interrupt_request"})


class Verdict(Enum):
    PASS = "pass"  # noqa: S105 - not a password
    HOLD = "hold"
    ANSWER = "answer"


class Interrupted(NamedTuple):
    """Held executions that an interrupt ends: ``failed`` (the one whose turn it was) gets ``error``."""

    failed: Message | None
    aborted: tuple[Message, ...]


class Gate:
    """Holds requests, in order, while closed."""

    def __init__(self) -> None:
        self.closed = False
        self.message = ""
        self._held: deque[Message] = deque()
        self._running: set[str] = set()

    @property
    def held(self) -> int:
        """How many requests wait."""
        return len(self._held)

    @property
    def first(self) -> Message | None:
        """The execution whose turn it is."""
        return next((m for m in self._held if m.type == "execute_request"), None)

    @property
    def busy(self) -> bool:
        """Whether the kernel has an execution that it has not answered."""
        return bool(self._running)

    def admit(self, request: Message, *, can_answer: bool) -> Verdict:
        """What to do with a request on the shell channel; ``can_answer``: a kernel_info reply is known."""
        kind = request.type
        if self.closed and kind not in NEVER_WAITS:
            if kind == "kernel_info_request" and can_answer:
                return Verdict.ANSWER
            client = request.client
            if kind in WAITS or any(m.client == client for m in self._held):
                self._held.append(request)
                return Verdict.HOLD
        self._passes(request)
        return Verdict.PASS

    def _passes(self, request: Message) -> None:
        if request.type == "execute_request":
            self._running.add(request.id)

    def replied(self, reply: Message) -> None:
        """The kernel answered on the shell channel."""
        if reply.type == "execute_reply":
            self._running.discard(str(reply.parent.get("msg_id", "")))

    def close(self, message: str = "") -> None:
        self.closed = True
        self.message = message

    def open(self) -> list[Message]:
        """Open, and give everything that waited, in the order in which it came."""
        self.closed = False
        self.message = ""
        flushed = list(self._held)
        self._held.clear()
        for request in flushed:
            self._passes(request)
        return flushed

    def interrupt(self) -> Interrupted:
        """End what waits to be executed, as an interrupt of a queue of cells does. Comms stay, or widgets would
        lose state. When the kernel is busy the interrupt is for what runs, and all that waits is aborted."""
        executions = [m for m in self._held if m.type == "execute_request"]
        self._held = deque(m for m in self._held if m.type != "execute_request")
        if self.busy or not executions:
            return Interrupted(None, tuple(executions))
        return Interrupted(executions[0], tuple(executions[1:]))
