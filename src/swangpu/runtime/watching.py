"""Who is told after each commit what it changed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Change", "Watchers"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """What a commit changed: whose sessions and notices, and whether the pools' counts."""

    sessions: frozenset[str]
    pools: bool
    notices: frozenset[str]


class Watchers:
    """Those who subscribed."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[Change], None]] = []

    def subscribe(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        """Call it on the event loop after each commit; the answer ends it."""
        self._callbacks.append(callback)

        def end() -> None:
            with contextlib.suppress(ValueError):
                self._callbacks.remove(callback)

        return end

    def publish(self, change: Change) -> None:
        for callback in list(self._callbacks):
            try:
                callback(change)
            except Exception:
                # whatever it does, what the broker has decided goes on
                log.exception("A subscriber failed")
