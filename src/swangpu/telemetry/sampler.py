"""One reader of the driver, for everybody who looks.

::

    sampler = Sampler(driver, clock)          # starts no thread and calls nothing
    with sampler.watch():                     # somebody looks: a reading each second
        sampler.snapshot.samples[uuid]
    with sampler.watch("session"):            # only a session is active: a reading every 10 s
        ...
    stop = sampler.subscribe(callback)        # called with each Snapshot, on the sampler's thread
    future = sampler.refresh(max_age_s=2.0)   # a reading now; asyncio.wrap_future(future) on the loop
    sampler.close()

Nobody looking and no session active: no call of the driver, no wake-up.

The driver is called on one thread, the conductor. A call that takes longer than ``hang_s`` is given up: its thread is
left behind, a new conductor goes on without that device, and the device is said to be silent
(``Snapshot.silent_since``) until a probe on a thread of its own gets an answer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from ..domain.telemetry import DeviceInfo, DriverStatus, Sample
from ..ports import Clock, GpuDriver
from .caller import Caller, LeftBehind, NotAnswered
from .history import History
from .reading import nothing

__all__ = ["Sampler", "Snapshot", "Watch"]

log = logging.getLogger(__name__)

Pace = Literal["look", "session"]

#: what calls are about when they are not about one device
_OPEN, _LIST = "open", "list"

_NOT_YET = DriverStatus("not_answering", "The driver has not been asked yet.", "Wait a moment.")
_SILENT = DriverStatus(
    "not_answering",
    "The GPU driver does not answer.",
    "It is asked again every now and then; nvidia-smi and the system's log tell more.",
)


@dataclass(frozen=True)
class Snapshot:
    """One reading of everything; never changed once made.

    Attributes
    ----------
    status : DriverStatus
    devices : mapping of str to DeviceInfo
        By UUID. One that does not answer has a ``lost_reason``.
    samples : mapping of str to Sample
        By UUID, of devices and of MIG devices.
    as_of : float
        Unix seconds; 0 before the first reading.
    silent_since : mapping of str to float
        UUIDs of devices that do not answer in time, and since when (Unix seconds).
    number : int
        Counts readings.
    calls : int
        How often the driver was asked so far: for its list of devices, or for one of them.
    """

    status: DriverStatus = _NOT_YET
    devices: Mapping[str, DeviceInfo] = field(default_factory=lambda: MappingProxyType({}))
    samples: Mapping[str, Sample] = field(default_factory=lambda: MappingProxyType({}))
    as_of: float = 0.0
    silent_since: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    number: int = 0
    simulated: bool = False
    calls: int = 0


class Watch:
    """Keeps readings coming until closed; a context manager. Closing twice is once."""

    def __init__(self, sampler: Sampler, pace: Pace) -> None:
        self._sampler: Sampler | None = sampler
        self.pace: Pace = pace

    def close(self) -> None:
        """No longer look."""
        sampler, self._sampler = self._sampler, None
        if sampler is not None:
            sampler._unwatch(self.pace)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Sampler:
    """Reads a driver for everybody who looks.

    Parameters
    ----------
    driver : GpuDriver
    clock : Clock
    look_interval_s, session_interval_s : float
        Seconds between readings while somebody looks, and while only sessions are active.
    list_interval_s : float
        Seconds after which the list of devices is read again (MIG devices come and go).
    hang_s : float
        A call of the driver that takes longer is given up.
    retry_s : tuple of float
        Shortest and longest pause, in seconds, before a silent device is probed again.
    history : History, optional
    name : str
        How the names of its threads begin.
    silent : DriverStatus
        What is said where the driver itself does not come back.
    """

    def __init__(
        self,
        driver: GpuDriver,
        clock: Clock,
        *,
        look_interval_s: float = 1.0,
        session_interval_s: float = 10.0,
        list_interval_s: float = 10.0,
        hang_s: float = 3.0,
        retry_s: tuple[float, float] = (5.0, 300.0),
        history: History | None = None,
        name: str = "swangpu",
        silent: DriverStatus = _SILENT,
    ) -> None:
        self.history = history if history is not None else History()
        self._driver = driver
        self._clock = clock
        self._interval_s: dict[Pace, float] = {"look": look_interval_s, "session": session_interval_s}
        self._list_interval_s = list_interval_s
        self._name = name
        self._silent = silent
        self._caller = Caller(clock, hang_s=hang_s, retry_s=retry_s, left_behind=self._succeed, name=name)
        self._snapshot = Snapshot(simulated=driver.simulated)
        self._watching: dict[Pace, int] = {"look": 0, "session": 0}
        self._waiting: list[Future[Snapshot]] = []
        #: those of them that the present reading is for
        self._answering: list[Future[Snapshot]] = []
        self._subscribers: list[Callable[[Snapshot], None]] = []
        self._wake = threading.Condition()
        self._conductor: threading.Thread | None = None
        self._closed = False
        self._devices: Mapping[str, DeviceInfo] = MappingProxyType({})
        self._asked: dict[str, Callable[[], Any]] = {}
        self._listed_at = float("-inf")
        self._list_due = True
        self._failed = False

    # -- for everybody ----------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """The newest reading. Calls nothing and never blocks."""
        return self._snapshot

    def watch(self, pace: Pace = "look") -> Watch:
        """Look: readings come until the answer is closed (it is a context manager)."""
        with self._wake:
            self._watching[pace] += 1
            self._start()
        return Watch(self, pace)

    def subscribe(self, callback: Callable[[Snapshot], None]) -> Callable[[], None]:
        """Have each reading handed over, on the sampler's thread; the answer ends it.

        Subscribing is not watching: it does not make readings come. The callback must be quick and hop to its own
        thread (``loop.call_soon_threadsafe``).
        """
        with self._wake:
            self._subscribers.append(callback)

        def stop() -> None:
            with self._wake, suppress(ValueError):
                self._subscribers.remove(callback)

        return stop

    def refresh(self, max_age_s: float = 0.0) -> Future[Snapshot]:
        """A reading not older than ``max_age_s`` seconds, the list of devices included.

        The future always gets a snapshot, after at most a few times ``hang_s``: a driver that does not answer is in its
        status.
        """
        future: Future[Snapshot] = Future()
        with self._wake:
            fresh = self._snapshot.number and self._clock.now() - self._snapshot.as_of <= max_age_s
            if self._closed or fresh:
                future.set_result(self._snapshot)
            else:
                self._waiting.append(future)
                self._start()
        return future

    def close(self) -> None:
        """Stop reading and let go of the driver. Does not wait for a call that hangs."""
        with self._wake:
            if self._closed:
                return
            self._closed = True
            self._wake.notify_all()
            conductor = self._conductor
            if conductor is None:
                self._resolve(self._waiting)
        if conductor is not None and conductor is not threading.current_thread():
            conductor.join(2.0)

    # -- the conductor ----------------------------------------------------------------------------

    def _start(self) -> None:
        """Called with the lock held."""
        if self._conductor is None and not self._closed:
            self._appoint(again=False)
        self._wake.notify_all()

    def _appoint(self, *, again: bool) -> None:
        """Called with the lock held."""
        self._conductor = threading.Thread(
            target=self._conduct, args=(again,), name=f"{self._name}-sampler", daemon=True
        )
        self._conductor.start()

    def _succeed(self) -> None:
        """The conductor is stuck in a call: another one goes on with its reading."""
        with self._wake:
            self._appoint(again=True)

    def _unwatch(self, pace: Pace) -> None:
        with self._wake:
            self._watching[pace] -= 1
            self._wake.notify_all()

    def _interval(self) -> float | None:
        for pace in ("look", "session"):
            if self._watching[pace]:
                return self._interval_s[pace]
        return None

    def _conduct(self, again: bool) -> None:
        # From here on only what a call gave may change anything: a thread that was left behind comes back in a call.
        with suppress(LeftBehind):
            last = float("-inf")
            while (again and not self._closed) or self._sleep_until_due(last):
                last = self._clock.monotonic()
                with self._wake:
                    waiting, self._waiting = self._waiting, []
                self._list_due = self._list_due or bool(waiting)
                self._answering += waiting
                self._caller.begin_round(again=again)
                again = False
                try:
                    self._publish(self._read())
                except LeftBehind:
                    raise
                except Exception as error:  # a driver that raises breaks its promise; the next reading may still work
                    self._say_once(error)
                waiting, self._answering = self._answering, []
                self._resolve(waiting)
            try:
                self._caller.stop(self._driver.close)
            except LeftBehind:
                raise
            except Exception as error:
                self._say_once(error)
            with self._wake:
                self._resolve(self._answering + self._waiting)

    def _say_once(self, error: Exception) -> None:
        log.log(logging.DEBUG if self._failed else logging.ERROR, "The sampler failed", exc_info=error)
        self._failed = True

    def _resolve(self, waiting: list[Future[Snapshot]]) -> None:
        for future in waiting:
            if future.set_running_or_notify_cancel():  # an asyncio timeout cancels it
                future.set_result(self._snapshot)

    def _sleep_until_due(self, last: float) -> bool:
        """Whether there is something to read; False once closed. With nobody looking it sleeps without a timeout."""
        with self._wake:
            while not self._closed:
                if self._waiting:
                    return True
                interval = self._interval()
                left = None if interval is None else last + interval - self._clock.monotonic()
                if left is not None and left <= 0:
                    return True
                self._wake.wait(left)
            return False

    def _publish(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.history.add_all(snapshot.samples.values())
        with self._wake:
            subscribers = tuple(self._subscribers)
        for callback in subscribers:
            try:
                callback(snapshot)
            except Exception:
                log.exception("A subscriber of the sampler failed")

    # -- one reading ------------------------------------------------------------------------------

    def _read(self) -> Snapshot:
        status = self._list(self._snapshot.status)
        # Devices that answer, and whether the driver can be used at all, in one go.
        answers = self._caller.ask_all(self._asked if status.ok else {_OPEN: self._driver.open})
        status = self._status(answers.pop(_OPEN))
        ok = status.ok
        changed: dict[str, DeviceInfo] = {}
        samples: dict[str, Sample] = {}
        for uuid, info in self._devices.items():
            answer = answers.get(uuid)
            if ok and answer and not isinstance(answer, Exception):
                for sample in answer:
                    samples[sample.uuid] = sample
                continue
            if isinstance(answer, Exception) and not isinstance(answer, NotAnswered):
                self._say_once(answer)
            reason = info.lost_reason or ("lost" if not ok and status.code != "not_answering" else "not_answering")
            now = self._clock.now()
            for each in (uuid, *(m.uuid for m in info.mig_devices)):
                samples[each] = nothing(each, now, reason)
            changed[uuid] = replace(info, lost_reason=reason)
        if changed:
            self._list_due = self._list_due or self._listed_at + self._list_interval_s / 2 < self._clock.monotonic()
        silent, made = self._caller.silent_since(), self._caller.made
        return Snapshot(
            status=status,
            devices=MappingProxyType({**self._devices, **changed}) if changed else self._devices,
            samples=MappingProxyType(samples),
            as_of=self._clock.now(),
            silent_since=MappingProxyType({u: t for u, t in silent.items() if u in self._devices}),
            number=self._snapshot.number + 1,
            simulated=self._driver.simulated,
            # whether it can be used is known without asking it
            calls=made.total() - made[_OPEN],
        )

    def _list(self, status: DriverStatus) -> DriverStatus:
        """Read the list of devices when that is due; the driver's status after it.

        Not while a device is silent: listing would call into it and hang as well.
        """
        now = self._clock.monotonic()
        due = self._list_due or now - self._listed_at >= self._list_interval_s
        if not due or (self._devices and self._caller.silent_since().keys() - {_LIST}):
            return status
        answers: dict[str, Any] = self._caller.ask_all({_OPEN: self._driver.open})
        status = self._status(answers[_OPEN])
        if not status.ok:
            return status
        try:
            listed = self._caller.ask(_LIST, self._driver.devices)
        except NotAnswered:
            return status if self._devices else self._silent
        self._devices = MappingProxyType({info.uuid: info for info in listed})
        self._asked = {_OPEN: self._driver.open}
        for info in listed:
            if info.lost_reason is None:
                self._asked[info.uuid] = partial(self._driver.sample, info.uuid)
        self._listed_at, self._list_due = now, False
        return status

    def _status(self, said: DriverStatus | Exception) -> DriverStatus:
        if isinstance(said, NotAnswered):
            return self._silent
        if isinstance(said, Exception):
            raise said
        return said
