"""One stream of server-sent events a viewer: what is new, encoded once, never more than the viewer can take.

Each topic is a state, not a log: a viewer that is slow gets the newest state when it comes round, and nothing queues
up for it. Ids carry the server's epoch; after a restart, or for a viewer that comes back, the newest state is the
answer to anything that was missed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from .. import wire
from ..runtime import Change, Runtime
from ..runtime.clock import wait_at_most
from .calls import Call, sessions_of
from .context import ApiContext
from .views import pool_view, sample_view

__all__ = ["HEARTBEAT_S", "Stream"]

HEARTBEAT_S = 5.0
#: an event, since a page does not hear comments; without an id, so that it is not taken for the last one heard
BEAT = b"event: heartbeat\ndata: {}\n\n"
#: totals of the site go out at most this often
POOLS_EVERY_S = 1.0


class Stream:
    """One viewer.

    Parameters
    ----------
    call : Call
        Who looks.
    topics : tuple of str
    write : callable
        Writes and flushes; returns when the viewer has taken it.
    """

    def __init__(self, call: Call, topics: tuple[str, ...], write: Callable[[bytes], Any]) -> None:
        self._call = call
        self._runtime: Runtime = call.runtime
        self._topics = topics
        self._write = write
        self._due: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._number = 0
        self._last_pools = float("-inf")
        self._last_notice = 0.0

    async def run(self, last_event_id: str | None, limit: int | None) -> None:
        """Write until the viewer goes away or ``limit`` events are written."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._runtime.subscribe(self._changed))
            telemetry = self._runtime.telemetry
            if "telemetry" in self._topics and telemetry is not None:
                stack.enter_context(telemetry.watch())
                stack.callback(telemetry.subscribe(lambda snapshot: self._mark("telemetry")))
            continued = bool(last_event_id) and str(last_event_id).startswith(f"{self._runtime.epoch}-")
            hello = wire.Hello(
                epoch=self._runtime.epoch,
                snapshot=not continued,
                server=self._call.context.version,
                simulated=self._runtime.simulated,
            )
            # Notices are the one thing that would be told twice: whoever continues knows those of before.
            self._last_notice = self._runtime.now() if continued else self._runtime.now() - 600.0
            self._due = dict.fromkeys(t for t in self._topics if t != "telemetry" or telemetry is not None)
            await self._send("hello", hello)
            await self._loop(limit)

    async def _loop(self, limit: int | None) -> None:
        clock = self._runtime.clock
        written = 1
        last_write = clock.monotonic()
        while limit is None or written < limit:
            topic = self._next(clock.monotonic())
            if topic is not None:
                event = await self._event(topic)
                if event is not None:
                    await self._send(topic, event)
                    written += 1
                    last_write = clock.monotonic()
                continue
            if clock.monotonic() - last_write >= HEARTBEAT_S:
                await self._write(BEAT)
                last_write = clock.monotonic()
            self._wake.clear()
            held_back = "pools" in self._due
            wait_s = HEARTBEAT_S - (clock.monotonic() - last_write)
            await wait_at_most(self._wake, max(0.01, min(wait_s, POOLS_EVERY_S) if held_back else wait_s))

    def _next(self, now: float) -> str | None:
        for topic in list(self._due):
            if topic == "pools" and now - self._last_pools < POOLS_EVERY_S:
                continue
            del self._due[topic]
            if topic == "pools":
                self._last_pools = now
            return topic
        return None

    async def _event(self, topic: str) -> Any:
        runtime, now = self._runtime, self._runtime.now()
        if topic == "sessions":
            return wire.SessionsEvent(as_of=now, items=sessions_of(self._call))
        if topic == "pools":
            await runtime.refresh(max_age_s=10.0)
            return pools_event(runtime, self._call.context)
        if topic == "notices":
            news = [n for n in runtime.notices(self._call.user) if n.at > self._last_notice]
            if not news:
                return None
            self._last_notice = news[-1].at
            return wire.NoticesEvent(as_of=now, items=[_notice(n) for n in news])
        return telemetry_event(runtime, self._call)

    async def _send(self, topic: str, event: Any) -> None:
        self._number += 1
        head = f"event: {topic}\nid: {self._runtime.epoch}-{self._number}\ndata: ".encode()
        await self._write(head + wire.encode(event) + b"\n\n")

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


def pools_event(runtime: Runtime, context: ApiContext) -> wire.PoolsEvent:
    """All pools, counted."""
    state, known = runtime.broker.state, context.known(runtime)
    return wire.PoolsEvent(as_of=known.now, items=[pool_view(state, p, known) for p in state.pools.values()])


def telemetry_event(runtime: Runtime, call: Call) -> wire.TelemetryEvent:
    """The latest samples, and what each of the viewer's sessions uses."""
    latest = runtime.telemetry.latest()
    sessions = {}
    for session in runtime.broker.state.live():
        if session.user == call.user or call.operator:
            sample = runtime.telemetry.of_session(session)
            if sample is not None:
                sessions[session.id] = sample_view(sample)
    samples = {uuid: sample_view(sample) for uuid, sample in latest.samples.items()}
    return wire.TelemetryEvent(as_of=latest.as_of, samples=samples, sessions=sessions)


def _notice(stored: Any) -> wire.Notice:
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
