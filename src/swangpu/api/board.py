"""What there is to tell, encoded once for all who hear the same.

Each topic is a state with a version. A viewer says which version it has, and gets the newest or nothing; of telemetry,
a viewer that has the version before gets only what has changed since. So a slow viewer costs no queue, and five hundred
cost the encoding of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from .. import wire
from ..runtime import Change, Runtime
from .calls import Call, sessions_of
from .context import ApiContext
from .views import pool_view, sample_view

__all__ = ["Board", "event_bytes"]

Scope = tuple[str, ...]
Views = dict[str, dict[str, dict[str, Any]]]

#: scopes (people, and what they look at) remembered; one more than that forgets the one least lately asked for
MAX_SCOPES = 4096
TICK_S = 1.0


class Viewer(Protocol):
    def tick(self, now: float) -> None:
        """Once a second, with the monotonic time."""
        ...


@dataclass
class _State:
    """The newest of one topic for one scope."""

    version: int = 0
    body: bytes = b""
    event: bytes = b""
    dirty: bool = True


@dataclass
class _Readings:
    """The newest samples for one scope, and how they differ from those before."""

    version: int = -1
    base: int = -1
    views: Views = field(default_factory=dict)
    full: bytes = b""
    changes: bytes = b""


class Board:
    """The state of one runtime as its viewers hear it.

    Parameters
    ----------
    runtime : Runtime
    context : ApiContext
    """

    def __init__(self, runtime: Runtime, context: ApiContext) -> None:
        self._runtime = runtime
        self._context = context
        self._states: dict[Scope, _State] = {}
        self._readings: dict[Scope, _Readings] = {}
        self._viewers: dict[Viewer, None] = {}
        self._stop: Callable[[], None] = lambda: None
        self._ticking: asyncio.Task[None] | None = None

    def join(self, viewer: Viewer) -> None:
        """One more viewer. One clock ticks for all: a timer for each would cost as much as what it waits for."""
        self._viewers[viewer] = None
        if len(self._viewers) == 1:
            self._stop = self._runtime.subscribe(self._changed)
            self._ticking = asyncio.create_task(self._tick())

    def leave(self, viewer: Viewer) -> None:
        """One less; with the last one everything is forgotten."""
        del self._viewers[viewer]
        if not self._viewers:
            self._stop()
            if self._ticking is not None:
                self._ticking.cancel()
            self._states.clear()
            self._readings.clear()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = self._runtime.clock.monotonic()
            for viewer in list(self._viewers):
                viewer.tick(now)

    def sessions(self, call: Call, seen: int) -> tuple[int, bytes] | None:
        """Version and event of the sessions that the caller may see, unless that is the version seen last."""
        state = self._state(("sessions", call.user, str(call.operator)))
        if state.dirty:
            items = sessions_of(call)
            self._put(state, "sessions", wire.SessionsEvent(as_of=self._runtime.now(), items=items), items)
        return (state.version, state.event) if state.version != seen else None

    def pools(self, seen: int) -> tuple[int, bytes] | None:
        state = self._state(("pools",))
        if state.dirty:
            found = self._runtime.broker.state
            known = self._context.known(self._runtime)
            items = [pool_view(found, pool, known) for pool in found.pools.values()]
            # When a pool was asked is no news.
            undated = [msgspec.structs.replace(pool, as_of=0.0) for pool in items]
            self._put(state, "pools", wire.PoolsEvent(as_of=known.now, items=items), undated)
        return (state.version, state.event) if state.version != seen else None

    def telemetry(self, call: Call, seen: int, *, devices: bool, changes: bool) -> tuple[int, bytes] | None:
        """Version and event of the newest readings, unless that is the version seen last.

        Parameters
        ----------
        devices : bool
            Whether the samples of all devices are wanted beside those of the caller's sessions.
        changes : bool
            Whether the caller can put together what has changed with what it has.
        """
        latest = self._runtime.telemetry.latest()
        if latest.number == seen:
            return None
        scope = ("telemetry", call.user, str(call.operator), str(devices))
        known = self._readings.get(scope)
        if known is None or known.version != latest.number:
            before = known or _Readings()
            known = self._readings[scope] = self._read(call, latest, before, devices)
            _bound(self._readings)
        if changes and seen == known.base and known.changes:
            return known.version, known.changes
        if not known.full:
            event = {"as_of": round(latest.as_of, 3), **known.views}
            known.full = event_bytes("telemetry", self._id(), msgspec.json.encode(event))
        return known.version, known.full

    # -- inside -----------------------------------------------------------------------------------

    def _state(self, scope: Scope) -> _State:
        state = self._states.get(scope)
        if state is None:
            state = self._states[scope] = _State()
            _bound(self._states)
        return state

    def _put(self, state: _State, topic: str, event: msgspec.Struct, compared: Any) -> None:
        body = msgspec.json.encode(compared)
        state.dirty = False
        if body != state.body or not state.version:
            state.body, state.version = body, state.version + 1
            state.event = event_bytes(topic, self._id(), wire.encode(event))

    def _read(self, call: Call, latest: Any, before: _Readings, devices: bool) -> _Readings:
        telemetry = self._runtime.telemetry
        sessions = {}
        for session in self._runtime.broker.state.live():
            if session.user == call.user or call.operator:
                sample = telemetry.of_session(session)
                if sample is not None:
                    sessions[session.id] = sample_view(sample)
        samples = {u: sample_view(s) for u, s in latest.samples.items()} if devices else {}
        views: Views = {
            "samples": {key: msgspec.to_builtins(view) for key, view in samples.items()},
            "sessions": {key: msgspec.to_builtins(view) for key, view in sessions.items()},
        }
        found = _Readings(version=latest.number, base=before.version, views=views)
        if before.version >= 0:
            event = {
                "as_of": round(latest.as_of, 3),
                **{kind: _changed(before.views[kind], now) for kind, now in views.items()},
                "gone": sorted(key for kind, now in views.items() for key in before.views[kind].keys() - now.keys()),
            }
            found.changes = event_bytes("changes", self._id(), msgspec.json.encode(event))
        return found

    def _changed(self, change: Change) -> None:
        if change.sessions or change.pools:
            # Somebody else's move can change my place in the queue, and what I wait for.
            for scope, state in self._states.items():
                state.dirty = state.dirty or scope[0] == "sessions" or change.pools

    def _id(self) -> str:
        return f"{self._runtime.epoch}-{int(1000 * self._runtime.now())}"


def event_bytes(name: str, event_id: str, data: bytes) -> bytes:
    """One server-sent event."""
    return f"event: {name}\nid: {event_id}\ndata: ".encode() + data + b"\n\n"


def _changed(
    before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The fields of each sample that differ from the sample before; all of one that was not there."""
    out = {}
    for key, fields in now.items():
        known = before.get(key, {})
        out[key] = {name: value for name, value in fields.items() if name not in known or known[name] != value}
    return out


def _bound(kept: dict[Scope, Any]) -> None:
    while len(kept) > MAX_SCOPES:
        del kept[next(iter(kept))]
