"""One stream of server-sent events a viewer: what is new, never more than the viewer can take.

Each topic is a state, not a log: a viewer that is slow gets the newest state when it comes round, and nothing queues
up for it. After a restart, or for a viewer that comes back, the newest state is the answer to anything that was missed.
Only notices are told once: ids carry the server's epoch and the time of the last notice that was told.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable

from .. import wire
from ..runtime import Change, Runtime, StoredNotice
from .board import Board, event_bytes
from .calls import Call

__all__ = ["HEARTBEAT_S", "Stream", "notice_view"]

HEARTBEAT_S = 5.0
#: an event, since a page does not hear comments; without an id, so that it is not taken for the last one heard
BEAT = b"event: heartbeat\ndata: {}\n\n"
#: totals of the site go out at most this often
POOLS_EVERY_S = 1.0
#: a viewer that has taken nothing for so long is gone, or as good as that
STUCK_S = 120.0
#: notices of so long ago are told to somebody who comes anew, in seconds
NOTICES_S = 600.0


class Stream:
    """One viewer.

    Parameters
    ----------
    call : Call
        Who looks.
    board : Board
    topics : tuple of str
    write : callable
        Writes and flushes; the future is done when the viewer has taken it.
    changes : bool
        Whether the viewer takes changes of what it has.
    hang_up : callable
        Ends the connection; called when the viewer has taken nothing for long.
    """

    def __init__(
        self,
        call: Call,
        board: Board,
        topics: tuple[str, ...],
        write: Callable[[bytes], asyncio.Future[None]],
        *,
        changes: bool = False,
        hang_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._call = call
        self._board = board
        self._runtime: Runtime = call.runtime
        self._topics = topics
        self._write = write
        self._changes = changes
        self._hang_up = hang_up
        self._writing_since: float | None = None
        #: what the viewer has not taken yet
        self._taking: asyncio.Future[None] | None = None
        #: the task waits for something to tell
        self._resting = False
        self._left = math.inf
        self._seen: dict[str, int] = {}
        self._due: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._last_pools = float("-inf")
        self._last_write = 0.0
        self._last_notice = 0.0

    async def run(self, last_event_id: str | None, limit: int | None) -> None:
        """Write until the viewer goes away or ``limit`` events are written."""
        runtime = self._runtime
        with contextlib.ExitStack() as stack:
            self._board.join(self)
            stack.callback(self._board.leave, self)
            stack.callback(runtime.subscribe(self._changed))
            telemetry = runtime.telemetry
            if "telemetry" in self._topics and telemetry is not None:
                stack.enter_context(telemetry.watch())
                stack.callback(telemetry.subscribe(self._read))
                if "devices" in self._topics:
                    # What is new of them goes out with the next reading of this machine's.
                    stack.enter_context(telemetry.watch_remote())
            heard_at = _heard_at(last_event_id, runtime.epoch)
            hello = wire.Hello(
                epoch=runtime.epoch,
                snapshot=heard_at is None,
                server=self._call.context.version,
                simulated=runtime.simulated,
            )
            # Notices are the one thing that would be told twice: whoever continues knows those of before.
            self._last_notice = runtime.now() - NOTICES_S if heard_at is None else heard_at
            quiet = {"devices"} if telemetry is not None else {"devices", "telemetry"}
            self._due = dict.fromkeys(t for t in self._topics if t not in quiet)
            self._left = math.inf if limit is None else limit
            self._send(event_bytes("hello", wire.encode(hello), self._id()))
            await self._loop()

    async def _loop(self) -> None:
        while True:
            if self._taking is not None:
                await self._taking
                self._taken()
            if self._left <= 0:
                return
            topic = self._next(self._now())
            event = await self._event(topic) if topic is not None else self._beat(self._now())
            if event is not None:
                self._send(event, counts=topic is not None)
            elif topic is None:
                self._wake.clear()
                self._resting = True
                await self._wake.wait()
                self._resting = False

    def _now(self) -> float:
        return self._runtime.clock.monotonic()

    def _send(self, event: bytes, *, counts: bool = True) -> asyncio.Future[None]:
        self._writing_since = self._now()
        self._left -= counts
        try:
            self._taking = self._write(event)
        except Exception as error:
            self._taking = asyncio.get_running_loop().create_future()
            self._taking.set_exception(error)
        return self._taking

    def _taken(self) -> None:
        self._taking = self._writing_since = None
        self._last_write = self._now()

    def tick(self, now: float) -> None:
        """What waits for time to pass: totals that were held back, and a word when there is nothing to say."""
        if self._writing_since is not None:
            if now - self._writing_since > STUCK_S:
                # As long as it is there the driver is read for it every second.
                self._hang_up()
            return
        if "pools" in self._due or now - self._last_write >= HEARTBEAT_S:
            self._wake.set()

    def _beat(self, now: float) -> bytes | None:
        return BEAT if now - self._last_write >= HEARTBEAT_S else None

    def _next(self, now: float) -> str | None:
        for topic in self._due:
            if topic == "pools" and now - self._last_pools < POOLS_EVERY_S:
                continue
            del self._due[topic]
            if topic == "pools":
                self._last_pools = now
            return topic
        return None

    def _read(self, snapshot: object) -> None:
        """A viewer with nothing else to hear is written to from here: to wake its task would cost as much again.

        With many viewers this is most of what the server does. Nothing may come out of it: others are told next.
        """
        if not self._resting or self._taking is not None or self._due:
            self._mark("telemetry")
            return
        try:
            event = self._telemetry()
        except Exception:
            # its own task meets it again, and says so
            self._mark("telemetry")
            return
        if event is None:
            return
        taking = self._send(event)
        if taking.done() and taking.exception() is None and self._left > 0:
            self._taken()
        else:
            self._wake.set()

    def _telemetry(self) -> bytes | None:
        devices = "devices" in self._topics
        seen = self._seen.get("telemetry", -1)
        return self._news("telemetry", self._board.telemetry(self._call, seen, devices=devices, changes=self._changes))

    async def _event(self, topic: str) -> bytes | None:
        board, seen = self._board, self._seen.get(topic, -1)
        if topic == "notices":
            return self._notices()
        if topic == "telemetry":
            return self._telemetry()
        if topic == "pools":
            await self._runtime.refresh(max_age_s=10.0)
            return self._news(topic, board.pools(seen, changes=self._changes))
        return self._news(topic, board.sessions(self._call, seen, changes=self._changes))

    def _news(self, topic: str, news: tuple[int, bytes] | None) -> bytes | None:
        if news is None:
            return None
        self._seen[topic], event = news
        return event

    def _notices(self) -> bytes | None:
        runtime = self._runtime
        news = [n for n in runtime.notices(self._call.user) if n.at > self._last_notice]
        if not news:
            return None
        self._last_notice = news[-1].at
        event = wire.NoticesEvent(as_of=runtime.now(), items=[notice_view(n) for n in news])
        return event_bytes("notices", wire.encode(event), self._id())

    def _changed(self, change: Change) -> None:
        if change.sessions or change.pools:
            # Somebody else's move can change my place in the queue, and what I wait for.
            self._mark("sessions")
        if change.pools:
            self._mark("pools")
        if self._call.user in change.notices:
            self._mark("notices")

    def _mark(self, topic: str) -> None:
        if topic in self._topics:
            self._due[topic] = None
            self._wake.set()

    def _id(self) -> str:
        return f"{self._runtime.epoch}-{math.ceil(1e6 * max(0.0, self._last_notice))}"


def _heard_at(last_event_id: str | None, epoch: str) -> float | None:
    """The time of the last notice that a viewer was told who comes back (Unix seconds); None for a new one."""
    name, _, microseconds = (last_event_id or "").rpartition("-")
    return int(microseconds) / 1e6 if name == epoch and microseconds.isdecimal() and len(microseconds) < 20 else None


def notice_view(stored: StoredNotice) -> wire.Notice:
    """A notice in the words of the wire: for the one whom it is for, whose name is not in it."""
    told = stored.notify
    return wire.Notice(
        id=stored.id,
        at=stored.at,
        code=told.code,
        level=told.level,
        text=told.text,
        params=dict(told.params),
        session_id=told.session_id or None,
        actions=list(told.actions),
    )
