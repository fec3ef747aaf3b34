"""What people were told lately, and who else hears it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..broker import commands as cmd

__all__ = ["Notices", "StoredNotice"]

log = logging.getLogger(__name__)

KEPT_NOTICES = 50


@dataclass(frozen=True)
class StoredNotice:
    id: str
    at: float
    notify: cmd.Notify


class Notices:
    """Keeps the newest of each person.

    Parameters
    ----------
    epoch : str
        Of this runtime: a number alone would come again after a restart.
    """

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch
        self._number = 0
        self._kept: dict[str, deque[StoredNotice]] = {}
        self._listeners: list[Callable[[StoredNotice], None]] = []

    def keep(self, notify: cmd.Notify, now: float) -> None:
        self._number += 1
        notice = StoredNotice(f"{self._epoch}-{self._number}", now, notify)
        self._kept.setdefault(notify.user, deque(maxlen=KEPT_NOTICES)).append(notice)
        for listener in self._listeners:
            try:
                listener(notice)
            except Exception:
                # whatever it does, what the broker has decided goes on
                log.exception("A listener to notices failed")

    def of(self, user: str) -> list[StoredNotice]:
        """Newest last."""
        return list(self._kept.get(user, ()))

    def listen(self, listener: Callable[[StoredNotice], None]) -> None:
        """Call it with each notice from now on, on the event loop."""
        self._listeners.append(listener)
