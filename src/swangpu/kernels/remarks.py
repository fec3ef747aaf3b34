"""What is to be said in the output of the next cell that runs: each remark once, and none that is no longer true.

The agent loads this: standard library only, and cheap to import.
"""

from __future__ import annotations

from collections import deque
from typing import Any

__all__ = ["Remarks"]

#: of how many remarks it is remembered that they were made, and of how many executions that nobody reads them
REMEMBERED = 64
MOST = 8
MAX_TEXT = 1000


class Remarks:
    """Waits for a cell whose output somebody reads."""

    def __init__(self) -> None:
        self._pending: dict[str, tuple[str, float | None]] = {}
        self._made: deque[str] = deque(maxlen=REMEMBERED)
        self._unread: deque[str] = deque(maxlen=REMEMBERED)

    def __len__(self) -> int:
        return len(self._pending)

    def put(self, items: Any) -> None:
        """These are true now, in the place of all that were: each has ``key``, ``text`` and ``until`` (Unix seconds,
        or None). What was said already under its key is not said again."""
        self._pending = {}
        for item in items[:MOST] if isinstance(items, list) else ():
            if not isinstance(item, dict) or not isinstance(item.get("text"), str):
                continue
            key, until = str(item.get("key", ""))[:MAX_TEXT], item.get("until")
            if key not in self._made:
                self._pending[key] = (item["text"][:MAX_TEXT], until if isinstance(until, (int, float)) else None)

    def passes(self, msg_id: str, *, read: bool) -> None:
        """An execution goes to the kernel; what a front end asks for itself (``read`` false) shows nothing."""
        if not read:
            self._unread.append(msg_id)

    def take(self, msg_id: str, now: float) -> list[str]:
        """What is to be said in the output of the cell that has just begun."""
        if msg_id in self._unread:
            return []
        pending, self._pending = self._pending, {}
        self._made.extend(pending)
        return [text for text, until in pending.values() if until is None or now < until]
