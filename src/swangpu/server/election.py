"""One broker per host and user: whoever holds the lock is the leader, the others forward to it."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

import msgspec

__all__ = ["Election", "Leader"]

#: how often a follower tries to take over; a leader that dies is replaced within about this time
RETRY_S = 0.5


class Leader(msgspec.Struct):
    """How to reach the leader: its base URL and a token that is good for our API only."""

    url: str
    token: str
    pid: int


class Election:
    """Holds, or waits for, the lock of this user on this host.

    Parameters
    ----------
    directory : Path
        On a local disk: ``flock`` over a network file system is not to be trusted.

    Notes
    -----
    The kernel drops a ``flock`` with its process, however that dies, so a stale lock cannot exist. The lock is taken
    first and ``leader.json`` written second; a reader that finds it of an earlier leader is refused there, and
    reads again.
    """

    def __init__(self, directory: Path) -> None:
        self._lock = directory / "broker.lock"
        self._file = directory / "leader.json"
        self._fd: int | None = None

    @property
    def leading(self) -> bool:
        return self._fd is not None

    def try_lead(self) -> bool:
        """Take the lock if nobody has it."""
        if self._fd is not None:
            return True
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    async def win(self, settle_s: float | None = None) -> bool:
        """Wait for the lock, for at most ``settle_s`` seconds, or until it is ours.

        There is no event for a dropped ``flock``: asking again is all that can be done.
        """
        loop = asyncio.get_running_loop()
        deadline = None if settle_s is None else loop.time() + settle_s
        while True:
            if self.try_lead():
                return True
            if deadline is not None and loop.time() >= deadline:
                return False
            await asyncio.sleep(RETRY_S)

    def publish(self, leader: Leader) -> None:
        """Tell the followers where we are."""
        draft = self._file.with_suffix(f".{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_bytes(msgspec.json.encode(leader))
        draft.replace(self._file)

    def leader(self) -> Leader | None:
        """Who leads, as last published; None when nobody has said so."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Leader)
        except (OSError, msgspec.MsgspecError):
            return None

    def resign(self) -> None:
        """Let the next one lead."""
        if self._fd is not None:
            self._file.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None
