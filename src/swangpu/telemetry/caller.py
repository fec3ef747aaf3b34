"""Calls that may hang, made on a thread that can be left behind."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
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
        self._value: Any = None
        self._error: BaseException | None = None
        self.took_s = 0.0
        self.done = False

    def run(self, clock: Clock) -> None:
        started = clock.monotonic()
        try:
            self._value = self._function()
        except BaseException as error:
            self._error = error
        self.took_s = clock.monotonic() - started
        self.done = True

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


class _Round:
    """Calls that a reader makes one after the other; handed over once, since each handing over costs."""

    def __init__(self, calls: Mapping[str, _Call]) -> None:
        self._calls = calls
        self._lock = threading.Lock()
        self._current: tuple[str, _Call, float] | None = None
        self._abandoned = False
        self.finished = threading.Event()

    def run(self, clock: Clock) -> None:
        for subject, call in self._calls.items():
            with self._lock:
                if self._abandoned:
                    # Whoever waited has gone on with the rest.
                    return
                self._current = (subject, call, clock.monotonic())
            call.run(clock)
        self.finished.set()

    def left_s(self, now: float, hang_s: float) -> float:
        """How long to wait before looking again whether the present call hangs; not positive when it does."""
        with self._lock:
            if self._current is None or self._current[1].done:
                return hang_s
            return self._current[2] + hang_s - now

    def abandon(self, now: float, hang_s: float) -> str | None:
        """Go on without the call that hangs: its subject, or None when it has come back just now."""
        with self._lock:
            if self._current is None or self._current[1].done or self._current[2] + hang_s > now:
                return None
            self._abandoned = True
            return self._current[0]


class _Reader:
    """A thread that makes calls one after the other and sleeps in between without waking up."""

    def __init__(self, clock: Clock) -> None:
        self._rounds: queue.SimpleQueue[_Round | None] = queue.SimpleQueue()
        self._clock = clock
        threading.Thread(target=self._run, name="swangpu-reader", daemon=True).start()

    def submit(self, work: _Round) -> None:
        self._rounds.put(work)

    def stop(self) -> None:
        """End after the present call."""
        self._rounds.put(None)

    def _run(self) -> None:
        while (work := self._rounds.get()) is not None:
            work.run(self._clock)


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
        answer = self.ask_all({subject: function})[subject]
        if isinstance(answer, NotAnswered):
            raise answer
        return answer

    def ask_all(self, functions: Mapping[str, Callable[[], T]]) -> dict[str, T | NotAnswered]:
        """Make a call about each subject, in order; those that do not answer hold up nobody for longer than a hang.

        Raises
        ------
        Exception
            What a call raised.
        """
        out: dict[str, T | NotAnswered] = {}
        calls: dict[str, _Call] = {}
        for subject, function in functions.items():
            if subject in self._silent:
                out[subject] = self._probe(subject, function)
            else:
                calls[subject] = _Call(function)
        while calls:
            if self._hangs >= MAX_HANGS_PER_ROUND:
                for subject, call in calls.items():
                    self._aside(call)
                    self._note(subject, call)
                    out[subject] = NotAnswered(subject)
                break
            hung = self._make(calls)
            for subject, call in list(calls.items()):
                if call.done:
                    out[subject] = calls.pop(subject).result()
            # It may have come back just after it was given up; then its answer is as good as any.
            lost = calls.pop(hung, None) if hung is not None else None
            if hung is not None and lost is not None:
                self._note(hung, lost)
                out[hung] = NotAnswered(hung)
        return out

    def _make(self, calls: Mapping[str, _Call]) -> str | None:
        """Have a reader make calls; the subject at which it hangs, or None when all were made."""
        if self._reader is None:
            self._reader = _Reader(self._clock)
        work = _Round(dict(calls))
        self._reader.submit(work)
        left = self._hang_s
        while not work.finished.wait(left):
            now = self._clock.monotonic()
            left = work.left_s(now, self._hang_s)
            subject = work.abandon(now, self._hang_s) if left <= 0 else None
            if subject is not None:
                log.warning("A call of the GPU driver does not come back; going on without it")
                self._hangs += 1
                self._reader.stop()
                self._reader = None
                return subject
            left = max(left, 0.001)
        return None

    def stop(self, last: Callable[[], object]) -> None:
        """Make one last call, unless something hangs, and end the thread. Waits only so long as any call may take."""
        if self._reader is not None:
            work = _Round({"last": _Call(last)})
            if not self._silent:
                self._reader.submit(work)
            self._reader.stop()
            self._reader = None
            if not self._silent:
                work.finished.wait(min(self._hang_s, 1.0))

    def _note(self, subject: str, call: _Call) -> None:
        now = self._clock.monotonic()
        pause = self._retry_s[0]
        self._silent[subject] = _Silence(self._clock.now(), call, now + pause, pause, [call])

    def _probe(self, subject: str, function: Callable[[], T]) -> T | NotAnswered:
        """What a call on a thread of its own has brought, making another one when that is due."""
        silence = self._silent[subject]
        call = silence.call
        if call.done and call.took_s <= self._hang_s:
            del self._silent[subject]
            log.info("The GPU driver answers again")
            answer: T = call.result()
            return answer
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
        return NotAnswered(subject)

    def _aside(self, call: _Call) -> None:
        threading.Thread(target=call.run, args=(self._clock,), name="swangpu-probe", daemon=True).start()
