"""Calls that may hang, made on a thread that can be left behind."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ..ports import Clock

__all__ = ["Caller", "NotAnswered"]

log = logging.getLogger(__name__)

T = TypeVar("T")

#: calls of one subject that may hang at the same time; after that it is left alone until one of them comes back
MAX_STUCK = 3
#: calls given up in one round; after that the rest is asked on threads of its own, so that a round has an end
MAX_HANGS_PER_ROUND = 2


class NotAnswered(Exception):
    """The call did not come back in time, or is not made now because the last one did not."""


class _Call:
    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._done = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None
        self.started_at = 0.0
        self.took_s = 0.0

    def run(self, clock: Clock) -> None:
        self.started_at = clock.monotonic()
        try:
            self._value = self._function()
        except BaseException as error:
            self._error = error
        self.took_s = clock.monotonic() - self.started_at
        self._done.set()

    def wait(self, timeout_s: float) -> bool:
        return self._done.wait(timeout_s)

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


class _Reader:
    """A thread that makes calls one after the other and sleeps in between without waking up."""

    def __init__(self, clock: Clock) -> None:
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._clock = clock
        threading.Thread(target=self._run, name="swangpu-reader", daemon=True).start()

    def submit(self, call: _Call) -> None:
        self._calls.put(call)

    def stop(self) -> None:
        """End after the present call."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call.run(self._clock)


@dataclass
class _Silence:
    since: float
    call: _Call
    retry_at: float
    pause_s: float
    stuck: list[_Call]
    probes: int = 0


class Caller:
    """Asks subjects (a device, the driver itself) and remembers which of them do not answer.

    Used from one thread.

    Parameters
    ----------
    clock : Clock
    hang_s : float
        A call that takes longer, in seconds, is given up.
    retry_s : tuple of float
        Shortest and longest pause, in seconds, before a silent subject is asked again.
    """

    def __init__(self, clock: Clock, *, hang_s: float, retry_s: tuple[float, float]) -> None:
        self._clock = clock
        self._hang_s = hang_s
        self._retry_s = retry_s
        self._reader: _Reader | None = None
        self._silent: dict[str, _Silence] = {}
        self._hangs = 0

    def begin_round(self) -> None:
        """Forget how many calls were given up in the round before."""
        self._hangs = 0

    def silent_since(self) -> dict[str, float]:
        """Subjects that do not answer, and since when (Unix seconds)."""
        return {subject: silence.since for subject, silence in self._silent.items()}

    def ask(self, subject: str, function: Callable[[], T]) -> T:
        """Make a call about a subject.

        Raises
        ------
        NotAnswered
            It takes too long, or the subject is silent and not due to be asked again.
        """
        if subject in self._silent:
            return self._probe(subject, function)
        call = _Call(function)
        if self._hangs >= MAX_HANGS_PER_ROUND:
            self._aside(call)
            self._note(subject, call)
            raise NotAnswered(subject)
        if self._reader is None:
            self._reader = _Reader(self._clock)
        self._reader.submit(call)
        if call.wait(self._hang_s):
            return call.result()  # type: ignore[no-any-return]
        log.warning("A call of the GPU driver does not come back; going on without it")
        self._hangs += 1
        self._reader.stop()
        self._reader = None
        self._note(subject, call)
        raise NotAnswered(subject)

    def stop(self, last: Callable[[], object]) -> None:
        """Make one last call, unless something hangs, and end the thread. Waits only so long as any call may take."""
        if self._reader is not None:
            call = _Call(last)
            if not self._silent:
                self._reader.submit(call)
            self._reader.stop()
            self._reader = None
            if not self._silent:
                call.wait(min(self._hang_s, 1.0))

    def _note(self, subject: str, call: _Call) -> None:
        now = self._clock.monotonic()
        pause = self._retry_s[0]
        self._silent[subject] = _Silence(self._clock.now(), call, now + pause, pause, [call])

    def _probe(self, subject: str, function: Callable[[], T]) -> T:
        """What a call on a thread of its own has brought, making another one when that is due."""
        silence = self._silent[subject]
        call = silence.call
        if call.done and call.took_s <= self._hang_s:
            del self._silent[subject]
            log.info("The GPU driver answers again")
            return call.result()  # type: ignore[no-any-return]
        silence.stuck = [c for c in silence.stuck if not c.done]
        now = self._clock.monotonic()
        # A first late answer is a good sign: ask again at once, and take the device back when it is quick this time.
        hopeful = call.done and silence.probes == 0
        if hopeful or (now >= silence.retry_at and len(silence.stuck) < MAX_STUCK):
            silence.probes += 1
            silence.retry_at = now + silence.pause_s
            silence.pause_s = min(2 * silence.pause_s, self._retry_s[1])
            silence.call = _Call(function)
            silence.stuck.append(silence.call)
            self._aside(silence.call)
        raise NotAnswered(subject)

    def _aside(self, call: _Call) -> None:
        threading.Thread(target=call.run, args=(self._clock,), name="swangpu-probe", daemon=True).start()
