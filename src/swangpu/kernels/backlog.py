"""What the kernel said while nobody listened: kept in bounded memory for the next server."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from swangpu.kernels.messages import Message

__all__ = ["Backlog", "Kept"]

#: what may be dropped when there is too much; the rest is small, and a front end waits for it
BULKY = frozenset({"stream", "display_data", "update_display_data", "execute_result", "comm_msg", "debug_event"})


class Kept(NamedTuple):
    """One message: its channel, the client it is for (empty on iopub) and its frames without that identity."""

    channel: str
    client: bytes
    frames: list[bytes]
    bulky: bool
    parent: dict[str, Any]

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.frames))


class Backlog:
    """Keeps messages in order; beyond ``limit_bytes`` the oldest output goes first, and that is said.

    Parameters
    ----------
    limit_bytes : int
        Bound on what is kept.
    """

    def __init__(self, limit_bytes: int = 8_000_000) -> None:
        self._limit = limit_bytes
        self._kept: deque[Kept] = deque()
        self._size = 0
        #: parent msg_id -> (parent header, bytes dropped)
        self.dropped: dict[str, tuple[dict[str, Any], int]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Kept]:
        return iter(self._kept)

    def keep(self, channel: str, client: bytes, frames: list[bytes]) -> None:
        message = Message.parse(frames)
        kind = message.type if message else ""
        parent = message.parent if message else {}
        kept = Kept(channel, client, frames, kind in BULKY, parent)
        self._kept.append(kept)
        self._size += kept.size_bytes
        if self._size > self._limit:
            self._shrink()

    def _shrink(self) -> None:
        # a tenth at once, or a cell that prints without end would make each message cost a pass over all
        goal = self._limit * 9 // 10
        rest: deque[Kept] = deque()
        for kept in self._kept:
            if self._size > goal and kept.bulky:
                self._size -= kept.size_bytes
                key = str(kept.parent.get("msg_id", ""))
                self.dropped[key] = (kept.parent, self.dropped.get(key, ({}, 0))[1] + kept.size_bytes)
            else:
                rest.append(kept)
        while rest and self._size > self._limit:
            self._size -= rest.popleft().size_bytes
        self._kept = rest

    def take(self) -> list[Kept]:
        """Everything that was kept, in order; nothing is left."""
        taken = list(self._kept)
        self._kept.clear()
        self._size = 0
        self.dropped = {}
        return taken
