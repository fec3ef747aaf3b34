"""A site's own way to tell people who are away: mail, chat, whatever can be written in a function.

The function runs on a thread and an event loop of its own, one notice after the other, with a limit on time and on how
many wait: whatever it does, the server goes on. Its errors may hold addresses and tokens: only their kind is logged.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from ..tasks import end, within

__all__ = ["NoticeHook", "check"]

log = logging.getLogger(__name__)

#: how long it may take for one notice, in seconds
LIMIT_S = 30.0
#: how many notices wait at most: beyond that the oldest are left out
MOST_WAITING = 100
#: how many calls that do not end are abandoned before no more are begun
MOST_STUCK = 4

Hook = Callable[[dict[str, Any]], object]


def check(hook: object) -> None:
    """Whether this can be a hook at all; nothing is imported.

    Raises
    ------
    ValueError
    """
    if not (callable(hook) or (isinstance(hook, str) and re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", hook))):
        raise ValueError('it must be a function, or name one as "module.function"')


class NoticeHook:
    """Calls a site's function with each notice.

    Parameters
    ----------
    hook : callable or str
        Called with a `dict`; may be a coroutine function. A string is imported when it is first needed.
    """

    def __init__(self, hook: Hook | str, *, limit_s: float = LIMIT_S) -> None:
        self._hook = hook
        self._limit_s = limit_s
        self._waiting: deque[Mapping[str, Any]] = deque(maxlen=MOST_WAITING)
        self._threads: list[threading.Thread] = []
        self._task: asyncio.Task[None] | None = None
        self._logged = False

    def put(self, notice: Mapping[str, Any]) -> None:
        """Have it told in the background; on the event loop."""
        self._waiting.append(notice)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._tell())

    async def close(self) -> None:
        """What has not been told by now is not; threads that still run end with the process."""
        if self._task is not None:
            await end(self._task)

    # -- inside -----------------------------------------------------------------------------------

    async def _tell(self) -> None:
        while self._waiting:
            notice = self._waiting.popleft()
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) >= MOST_STUCK:
                self._failed("calls before have not ended")
                continue
            outcome: Future[str] = Future()
            # not one of a pool: the process does not wait for it when it ends
            thread = threading.Thread(target=self._call, args=(dict(notice), outcome), daemon=True)
            self._threads.append(thread)
            thread.start()
            try:
                failure = await within(asyncio.wrap_future(outcome), self._limit_s)
            except (TimeoutError, asyncio.TimeoutError):
                failure = f"not done within {self._limit_s:g} s"
            if failure:
                self._failed(failure)

    def _call(self, notice: dict[str, Any], outcome: Future[str]) -> None:
        outcome.set_running_or_notify_cancel()
        failure = "it ended its thread"
        try:
            asyncio.run(self._run(notice))
            failure = ""
        except Exception as error:
            # it is somebody else's, and can raise anything
            failure = type(error).__name__
        finally:
            outcome.set_result(failure)

    async def _run(self, notice: dict[str, Any]) -> None:
        hook: Any = self._hook
        if isinstance(hook, str):
            from traitlets.utils.importstring import import_item

            hook = import_item(hook)
        answer = hook(notice)
        if inspect.isawaitable(answer):
            await within(answer, self._limit_s)

    def _failed(self, why: str) -> None:
        if not self._logged:
            self._logged = True
            log.warning("SwanGpu.notice_hook failed: %s. Later failures are not logged.", why)
