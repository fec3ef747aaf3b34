"""What there is to tell, encoded once for all who hear the same.

Each topic is a state with a version. A viewer says which version it has, and gets the newest or nothing; of telemetry,
a viewer that has the version before gets only what has changed since. So a slow viewer costs no queue, and five hundred
cost the encoding of one.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from .. import wire
from ..runtime import Change, Runtime
from .calls import Call, sessions_of
from .context import ApiContext
from .device_views import sample_view
from .views import pool_view

__all__ = ["Board", "event_bytes"]

Scope = tuple[str, ...]
Tree = dict[str, Any]
Topic = Literal["telemetry", "sessions", "pools"]

#: scopes (people, and what they look at) remembered; one more than that forgets the one least lately asked for
MAX_SCOPES = 4096
TICK_S = 1.0
#: a sample is as new as the rest when it is not older than this, in seconds
FRESH_S = 2.0


class Viewer(Protocol):
    def tick(self, now: float) -> None:
        """Once a second, with the monotonic time."""
        ...


@dataclass
class _State:
    """The newest of one topic for one scope, and how it differs from what was there before."""

    version: int = -1
    base: int = -1
    tree: Tree = field(default_factory=dict)
    full: bytes = b""
    changes: bytes = b""
    dirty: bool = True

    def since(self, seen: int, changes: bool) -> tuple[int, bytes] | None:
        """What somebody gets who has seen a version."""
        if seen == self.version:
            return None
        return self.version, self.changes if changes and seen == self.base and self.changes else self.full


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
        #: of all scopes: one that is forgotten and comes again must not have a version that somebody has seen
        self._versions = itertools.count()
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

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = self._runtime.clock.monotonic()
            for viewer in list(self._viewers):
                viewer.tick(now)

    def sessions(self, call: Call, seen: int, *, changes: bool) -> tuple[int, bytes] | None:
        """Version and event of the sessions that the caller may see, unless that is the version seen last."""
        state = self._state(("sessions", call.user, str(call.operator)))
        if state.dirty:
            items = sessions_of(call)
            event = wire.SessionsEvent(as_of=self._runtime.now(), items=items)
            self._put(state, "sessions", event.as_of, {"items": {s.id: _plain(s) for s in items}}, event)
        return state.since(seen, changes)

    def pools(self, seen: int, *, changes: bool) -> tuple[int, bytes] | None:
        state = self._state(("pools",))
        if state.dirty:
            found = self._runtime.broker.state
            known = self._context.known(self._runtime)
            items = [pool_view(found, pool, known) for pool in found.pools.values()]
            event = wire.PoolsEvent(as_of=known.now, items=items)
            self._put(state, "pools", event.as_of, {"items": {p.name: _pool(p) for p in items}}, event)
        return state.since(seen, changes)

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
        state = self._state(("telemetry", call.user, str(call.operator), str(devices)))
        if state.version != latest.number:
            as_of = round(latest.as_of, 3)
            self._put(state, "telemetry", as_of, self._readings(call, latest, devices), None, latest.number)
        return state.since(seen, changes)

    # -- inside -----------------------------------------------------------------------------------

    def _state(self, scope: Scope) -> _State:
        state = self._states.pop(scope, None)
        if state is None:
            state = _State()
            _bound(self._states, MAX_SCOPES - 1)
        self._states[scope] = state
        return state

    def _put(
        self, state: _State, topic: Topic, as_of: float, tree: Tree, event: msgspec.Struct | None, version: int = -1
    ) -> None:
        """The newest of a topic. Without a version of its own it is news only if it differs."""
        state.dirty = False
        before = state.tree
        gone: list[list[str]] = []
        changed = _diff(_undated(before, before.get("as_of", 0.0), topic), _undated(tree, as_of, topic), [], gone)
        first = state.version < 0
        if version < 0 and not first and not changed and not gone:
            return
        state.base, state.version = state.version, version if version >= 0 else next(self._versions)
        state.tree = {**tree, "as_of": as_of}
        whole = wire.encode(event) if event is not None else msgspec.json.encode({"as_of": as_of, **tree})
        state.full = event_bytes(topic, whole)
        told = wire.ChangesEvent(topic=topic, as_of=as_of, changed=changed, gone=gone)
        state.changes = b"" if first else event_bytes("changes", wire.encode(told))

    def _readings(self, call: Call, latest: Any, devices: bool) -> Tree:
        telemetry = self._runtime.telemetry
        sessions = {}
        for session in self._runtime.broker.state.live():
            if session.user == call.user or call.operator:
                sample = telemetry.of_session(session)
                if sample is not None:
                    sessions[session.id] = _plain(sample_view(sample))
        samples = {}
        if devices:
            everything = {**(latest.remote.samples if latest.remote is not None else {}), **latest.samples}
            samples = {uuid: _plain(sample_view(s)) for uuid, s in everything.items()}
        return {"samples": samples, "sessions": sessions}

    def _changed(self, change: Change) -> None:
        if change.sessions or change.pools:
            # Somebody else's move can change my place in the queue, and what I wait for.
            for scope, state in self._states.items():
                state.dirty = state.dirty or scope[0] == "sessions" or change.pools


def event_bytes(name: str, data: bytes, event_id: str | None = None) -> bytes:
    """One server-sent event. Without an id the viewer's last one stands."""
    head = f"event: {name}\n" if event_id is None else f"event: {name}\nid: {event_id}\n"
    return head.encode() + b"data: " + data + b"\n\n"


def _plain(value: msgspec.Struct) -> Tree:
    fields: Tree = msgspec.to_builtins(value)
    return fields


def _pool(pool: wire.Pool) -> Tree:
    """With its flavors by name: one that changes is told alone."""
    return {**_plain(pool), "flavors": {f.name: _plain(f) for f in pool.flavors}}


def _undated(tree: Tree, as_of: float, topic: str) -> Tree:
    """Without the times that are no news: when a pool was asked, and of a reading that is as new as the rest."""
    if topic == "pools":
        return {"items": {key: {**item, "as_of": 0.0} for key, item in tree.get("items", {}).items()}}
    if topic != "telemetry":
        return {key: value for key, value in tree.items() if key != "as_of"}
    return {
        kind: {key: _undated_sample(sample, as_of) for key, sample in tree.get(kind, {}).items()}
        for kind in ("samples", "sessions")
    }


def _undated_sample(sample: Tree, as_of: float) -> Tree:
    """Of a reading that is as new as the rest it is said once for all."""
    return {**sample, "taken_at": None} if abs(as_of - sample["taken_at"]) < FRESH_S else sample


def _diff(before: Tree, now: Tree, path: list[str], gone: list[list[str]]) -> Tree:
    """What of ``now`` is not in ``before``; paths of what is there no more are put into ``gone``."""
    out: Tree = {}
    for key, value in now.items():
        if key not in before:
            out[key] = value
        elif isinstance(value, dict) and isinstance(before[key], dict):
            inner = _diff(before[key], value, [*path, key], gone)
            if inner:
                out[key] = inner
        elif value != before[key]:
            out[key] = value
    gone += [[*path, key] for key in before if key not in now]
    return out


def _bound(kept: dict[Scope, Any], most: int) -> None:
    while len(kept) > most:
        del kept[next(iter(kept))]
