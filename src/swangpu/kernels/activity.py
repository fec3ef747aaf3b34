"""When cells start and end to run, as their session's idleness needs to know.

A kernel that is on a session is looked at once a second. One behind a closed gate looks idle to the server while a cell
waits there: its agent is asked, each kernel's by a task of its own, so that one that does not answer keeps nobody else
waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

from ..tasks import end
from .bindings import Binding

__all__ = ["Activity"]

#: how often kernels are looked at, and the agents of gated ones asked in any case
EVERY_S = 1.0
#: an agent that did not answer is let alone for so long: each question holds up one of the few threads that all share
SILENT_S = 10.0
#: how often they are looked at while one is gated: who waits at a gate waits for us to see it
GATED_EVERY_S = 0.1


class Activity:
    """Watches kernels as long as there are any on a session.

    Parameters
    ----------
    bindings : mapping of str to Binding
        The kernels on sessions, as they are now.
    gated : collection of str
        Those of them behind a closed gate, as they are now.
    seems_busy : callable
        Whether the server takes a kernel for busy; None for one that it does not know.
    ask : callable
        Whether a cell runs or waits, as the kernel's agent knows; None where it can't be asked.
    tell : callable
        Called with session id and whether a cell runs, when that changes.
    """

    def __init__(
        self,
        bindings: Mapping[str, Binding],
        gated: Collection[str],
        seems_busy: Callable[[str], bool | None],
        ask: Callable[[str], Awaitable[bool | None]],
        tell: Callable[[str, bool], None],
    ) -> None:
        self._bindings = bindings
        self._gated = gated
        self._seems_busy = seems_busy
        self._ask = ask
        self._tell = tell
        #: what was told last of each kernel, and for which session
        self._last: dict[str, tuple[str, bool]] = {}
        self._silent: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on, unless somebody does."""
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    def told(self, kernel_id: str, session_id: str, busy: bool) -> None:
        """It has been told otherwise: only what changes from here on is news."""
        self._last[kernel_id] = (session_id, busy)

    def forget(self, kernel_id: str) -> None:
        """It has ended, and the next one of that name begins idle."""
        self._last.pop(kernel_id, None)
        self._silent.pop(kernel_id, None)

    async def close(self) -> None:
        """Look no more."""
        await end(self._watching)
        await end(*self._asking.values())

    async def _watch(self) -> None:
        asked = float("-inf")
        while self._bindings:
            now = time.monotonic()
            # what waits at a gate must not depend on whether one message about it was heard
            if ask_all := now - asked >= EVERY_S:
                asked = now
            for kernel_id, binding in list(self._bindings.items()):
                busy = self._seems_busy(kernel_id)
                if busy is None:
                    continue
                if kernel_id not in self._gated or now - self._silent.get(kernel_id, float("-inf")) < SILENT_S:
                    self._note(kernel_id, binding, busy)
                elif kernel_id not in self._asking and (ask_all or busy != self._was_busy(kernel_id, binding)):
                    self._asking[kernel_id] = asyncio.create_task(self._ask_one(kernel_id, binding))
            await asyncio.sleep(GATED_EVERY_S if self._gated else EVERY_S)

    async def _ask_one(self, kernel_id: str, binding: Binding) -> None:
        try:
            busy = await self._ask(kernel_id)
            if busy is None:
                self._silent[kernel_id] = time.monotonic()
            elif kernel_id in self._gated:
                # else it has been opened, and told, while it was asked
                self._silent.pop(kernel_id, None)
                self._note(kernel_id, binding, busy)
        finally:
            del self._asking[kernel_id]

    def _note(self, kernel_id: str, binding: Binding, busy: bool) -> None:
        if self._was_busy(kernel_id, binding) != busy and self._bindings.get(kernel_id) == binding:
            self._last[kernel_id] = (binding.session_id, busy)
            self._tell(binding.session_id, busy)

    def _was_busy(self, kernel_id: str, binding: Binding) -> bool:
        """What its session was told last; one that was told nothing takes it for idle."""
        session_id, busy = self._last.get(kernel_id, ("", False))
        return busy and session_id == binding.session_id
