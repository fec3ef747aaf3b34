"""Calls that may hang, made on a thread that can be left behind.

Handing each call over to another thread and waiting for it would wake two threads a reading, which costs more than
the reading does. So a thread makes its calls itself, and a lookout that sleeps for as long as a call may take looks
after it.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..ports import Clock

__all__ = ["Caller", "LeftBehind", "NotAnswered"]

log = logging.getLogger(__name__)

T = TypeVar("T")

#: calls of one subject that may hang at the same time; after that it is left alone until one of them comes back
MAX_STUCK = 3
#: calls given up in one round; after that each of the rest is asked on a thread of its own
MAX_HANGS_PER_ROUND = 2


class NotAnswered(Exception):
    """The call is not made now because the last one did not come back."""


class LeftBehind(Exception):
    """This thread made a call that took too long; another one has taken its place, and this one ends."""


class _Call:
    """A call about a subject, begun now."""

    __slots__ = ("begun", "done", "error", "function", "late", "subject", "value")

    def __init__(self, subject: str, function: Callable[[], Any], begun: float) -> None:
        self.subject = subject
        self.function = function
        self.begun = begun
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = False
        #: it took too long, or still does
        self.late = False

    def run(self) -> None:
        try:
            self.value = self.function()
        except BaseException as error:
            self.error = error
        self.done = True

    def result(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


class _Lookout:
    """A thread that notices that a call does not come back. It begins with the first call, and wakes up only while
    calls are made.
    """

    def __init__(self, clock: Clock, hang_s: float, hung: Callable[[_Call], object], name: str) -> None:
        self._clock = clock
        self._name = name
        self._hang_s = hang_s
        self._hung = hung
        self._wake = threading.Condition()
        #: calls have been made since it looked the last time
        self.busy = False
        self.call: _Call | None = None
        self._parked = False
        self._stopped = False
        self._started = False

    def begin(self) -> None:
        """Calls are about to be made. Costs nothing while it is awake."""
        self.busy = True
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name=f"{self._name}-lookout", daemon=True).start()
        elif self._parked:
            with self._wake:
                self._wake.notify()

    def stop(self) -> None:
        with self._wake:
            self._stopped = True
            self._wake.notify()

    def _run(self) -> None:
        while self._sleep():
            call = self.call
            if call is not None and self._clock.monotonic() >= call.begun + self._hang_s:
                self._hung(call)

    def _sleep(self) -> bool:
        """Until a call may hang; without a timeout when none has been made for a while."""
        with self._wake:
            if not self.busy and self.call is None:
                self._parked = True
                while not self.busy and not self._stopped:
                    self._wake.wait()
                self._parked = False
            self.busy = False
            call = self.call
            left = self._hang_s / 2
            if call is not None:
                left = min(left, call.begun + self._hang_s - self._clock.monotonic())
            if not self._stopped:
                # A call that has begun after this look is found by the next one, before it is due.
                self._wake.wait(max(left, 0.001))
            return not self._stopped


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

    Calls are made on the thread that asks. When one does not come back in time, that thread is left behind:
    ``left_behind`` is called on another one, and is to go on with what that thread was doing, on a new thread, with
    `begin_round`. If the old one ever comes back, it gets `LeftBehind` and has to end.

    Parameters
    ----------
    clock : Clock
    hang_s : float
        A call that takes longer, in seconds, is given up.
    retry_s : tuple of float
        Shortest and longest pause, in seconds, before a silent subject is asked again.
    left_behind : callable
        Quick, and may be called on any thread.
    name : str
        How the names of its threads begin.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        hang_s: float,
        retry_s: tuple[float, float],
        left_behind: Callable[[], object],
        name: str = "swangpu",
    ) -> None:
        self._clock = clock
        self._hang_s = hang_s
        self._retry_s = retry_s
        self._left_behind = left_behind
        self._name = name
        self._lookout = _Lookout(clock, hang_s, self._give_up, name)
        self._silent: dict[str, _Silence] = {}
        self._hangs = 0
        #: calls made so far, by subject; counted on the thread that makes them
        self.made: Counter[str] = Counter()
        #: guards whether a call has come back or is given up
        self._lock = threading.Lock()

    def begin_round(self, *, again: bool = False) -> None:
        """Calls follow. ``again``: the thread that made them so far was left behind; they go on here."""
        if not again:
            self._hangs = 0
        self._lookout.begin()

    def silent_since(self) -> dict[str, float]:
        """Subjects that do not answer, and since when (Unix seconds)."""
        return {subject: silence.since for subject, silence in self._silent.items()}

    def ask(self, subject: str, function: Callable[[], T]) -> T:
        """Make a call about a subject; see `ask_all`.

        Raises
        ------
        NotAnswered
            The subject is silent and not due to be asked again.
        Exception
            What the call raised.
        """
        answer = self.ask_all({subject: function})[subject]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask_all(self, functions: Mapping[str, Callable[[], T]]) -> dict[str, T | Exception]:
        """Make a call about each subject, in order.

        Returns
        -------
        dict
            What each call gave or raised; `NotAnswered` for those that do not answer.

        Raises
        ------
        LeftBehind
            A call took too long, and another thread goes on.
        """
        out: dict[str, T | Exception] = {}
        for subject, function in functions.items():
            try:
                if subject in self._silent:
                    out[subject] = self._probe(subject, function)
                elif self._hangs >= MAX_HANGS_PER_ROUND:
                    # So that a round has an end, however many hang.
                    self._note(subject, self._aside(subject, function))
                    out[subject] = NotAnswered(subject)
                else:
                    out[subject] = self._make(subject, function)
            except LeftBehind:
                raise
            except Exception as error:
                out[subject] = error
        return out

    def _make(self, subject: str, function: Callable[[], T]) -> T:
        lookout = self._lookout
        self.made[subject] += 1
        call = lookout.call = _Call(subject, function, self._clock.monotonic())
        # as `_Call.run` and `result`, without two calls more for each device and second
        try:
            call.value = function()
        except BaseException as error:
            call.error = error
        call.done = True
        with self._lock:
            if lookout.call is not call:
                raise LeftBehind
            lookout.call = None
        if call.error is not None:
            raise call.error
        answer: T = call.value
        return answer

    def _give_up(self, call: _Call) -> None:
        """On the lookout's thread: a call takes too long."""
        lookout = self._lookout
        with self._lock:
            # It may have come back just now; then its answer counts.
            if lookout.call is not call or call.done:
                return
            lookout.call = None
            self._hangs += 1
            call.late = True
            self._note(call.subject, call)
        log.warning("A call of the GPU driver does not come back; going on without it")
        self._left_behind()

    def stop(self, last: Callable[[], object]) -> None:
        """Make one last call, unless something hangs, and end the lookout."""
        try:
            if not self._silent:
                self.begin_round()
                self._make("", last)
        finally:
            self._lookout.stop()

    def _note(self, subject: str, call: _Call) -> None:
        now = self._clock.monotonic()
        pause = self._retry_s[0]
        self._silent[subject] = _Silence(self._clock.now(), call, now + pause, pause, [call])

    def _probe(self, subject: str, function: Callable[[], T]) -> T | NotAnswered:
        """What a call on a thread of its own has brought, making another one when that is due."""
        silence = self._silent[subject]
        call = silence.call
        if call.done and not call.late:
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
            silence.call = self._aside(subject, function)
            silence.stuck.append(silence.call)
        return NotAnswered(subject)

    def _aside(self, subject: str, function: Callable[[], Any]) -> _Call:
        """Make a call on a thread of its own, which nobody waits for."""
        self.made[subject] += 1
        call = _Call(subject, function, self._clock.monotonic())
        call.late = True  # until it is known not to be

        def run() -> None:
            call.run()
            call.late = self._clock.monotonic() > call.begun + self._hang_s

        threading.Thread(target=run, name=f"{self._name}-probe", daemon=True).start()
        return call
