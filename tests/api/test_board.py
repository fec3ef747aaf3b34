"""What viewers hear is made once for all of them, and a slow one gets the newest instead of a queue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swangpu.api.board import Board
from swangpu.api.stream import Stream
from swangpu.broker.commands import Notify
from swangpu.domain.sessions import Request, Session, SessionKind, SessionState
from swangpu.domain.telemetry import Sample
from swangpu.runtime import StoredNotice, SystemClock


class Telemetry:
    def __init__(self) -> None:
        self.number = -1
        self.samples: dict[str, Sample] = {}
        self.remote: Any = None
        self.watching = 0
        self.listeners: list[Any] = []

    def latest(self) -> Any:
        return SimpleNamespace(number=self.number, as_of=float(self.number), samples=self.samples, remote=self.remote)

    def of_session(self, session: Session) -> Sample | None:
        return self.samples.get("GPU-0")

    def read(self, **percent: float) -> None:
        self.number += 1
        self.samples = {
            uuid.replace("_", "-"): Sample(uuid, float(self.number), utilization_percent=value, memory_total_bytes=8)
            for uuid, value in percent.items()
        }
        for listener in list(self.listeners):
            listener(None)

    def watch(self) -> Any:
        import contextlib

        return contextlib.nullcontext()

    def watch_remote(self) -> Any:
        return self.watch()

    def subscribe(self, listener: Any) -> Any:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)


def runtime(telemetry: Telemetry) -> Any:
    mine = Session(
        id="s1",
        number=1,
        user="ada",
        request=Request(kind=SessionKind.KERNEL, flavor="t4"),
        state=SessionState.ACTIVE,
        created_at=0.0,
    )
    state = SimpleNamespace(live=lambda: [mine], sessions={"s1": mine}, pools={})
    return SimpleNamespace(
        telemetry=telemetry,
        broker=SimpleNamespace(state=state),
        now=lambda: 100.0,
        epoch="e",
        simulated=True,
        clock=SystemClock(),
        notices=lambda user: [],
        subscribe=lambda listener: lambda: None,
    )


def board_of(place: Any) -> Board:
    """Without what the pools' view alone needs."""
    nothing: Any = None
    return Board(place, nothing)


def viewer(place: Any) -> Any:
    return SimpleNamespace(runtime=place, user="ada", operator=False, context=SimpleNamespace(version="1"))


def call(user: str = "ada", operator: bool = False) -> Any:
    return SimpleNamespace(user=user, operator=operator)


def told(found: tuple[int, bytes] | None) -> tuple[str, dict[str, Any]]:
    assert found is not None
    lines = found[1].decode().splitlines()
    return lines[0].removeprefix("event: "), json.loads(lines[-2].removeprefix("data: "))


def hear(board: Board, seen: int, **more: Any) -> tuple[int, bytes] | None:
    return board.telemetry(call(), seen, **{"devices": False, "changes": True, **more})


def at_leisure(write: Callable[[bytes], Awaitable[None]]) -> Callable[[bytes], asyncio.Future[None]]:
    """A viewer that takes what it gets a moment later at the soonest."""
    return lambda event: asyncio.ensure_future(write(event))


def test_a_viewer_that_keeps_up_gets_what_changed_and_a_slow_one_the_newest() -> None:
    telemetry = Telemetry()
    board = board_of(runtime(telemetry))
    telemetry.read(GPU_0=10.0)
    name, event = told(hear(board, -1))
    assert (name, event["sessions"]["s1"]["utilization_percent"]) == ("telemetry", 10.0)
    telemetry.read(GPU_0=20.0)
    assert told(hear(board, 0)) == (
        "changes",
        {
            "topic": "telemetry",
            "as_of": 1.0,
            "changed": {"sessions": {"s1": {"utilization_percent": 20.0}}},
        },
    )
    assert hear(board, 1) is None
    name, event = told(hear(board, -1))
    assert (name, event["sessions"]["s1"]["memory_total_bytes"]) == ("telemetry", 8)
    telemetry.read()
    name, event = told(hear(board, 1))
    assert (name, event["changed"], event.get("gone", [])) == ("changes", {}, [["sessions", "s1"]])


def test_all_who_hear_the_same_get_the_same_bytes() -> None:
    telemetry = Telemetry()
    board = board_of(runtime(telemetry))
    telemetry.read(GPU_0=10.0)
    hear(board, -1)
    telemetry.read(GPU_0=20.0)
    first, second = hear(board, 0), hear(board, 0)
    assert first is not None
    assert second is not None
    assert first[1] is second[1]


def test_people_hear_of_their_own_sessions_only_and_of_devices_when_they_ask() -> None:
    telemetry = Telemetry()
    board = board_of(runtime(telemetry))
    telemetry.read(GPU_0=10.0, GPU_1=5.0)
    stranger = board.telemetry(call("eve"), -1, devices=False, changes=True)
    assert told(stranger)[1]["sessions"] == {}
    assert told(stranger)[1]["samples"] == {}
    operator = board.telemetry(call("op", operator=True), -1, devices=True, changes=False)
    assert set(told(operator)[1]["sessions"]) == {"s1"}
    assert set(told(operator)[1]["samples"]) == {"GPU-0", "GPU-1"}
    elsewhere = {"GPU-a": Sample("GPU-a", 1.0, 40.0), "GPU-1": Sample("GPU-1", 1.0, 99.0)}
    telemetry.remote = SimpleNamespace(samples=elsewhere)
    telemetry.read(GPU_0=10.0, GPU_1=5.0)
    everything = told(board.telemetry(call(), -1, devices=True, changes=False))[1]["samples"]
    assert {u: s["utilization_percent"] for u, s in everything.items()} == {"GPU-0": 10.0, "GPU-1": 5.0, "GPU-a": 40.0}
    assert told(board.telemetry(call(), -1, devices=False, changes=False))[1]["samples"] == {}


def put_together(tree: dict[str, Any], event: dict[str, Any]) -> dict[str, Any]:
    """What a page does with changes; see `stream.ts`."""

    def merge(before: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
        out = dict(before)
        for key, value in changed.items():
            known = out.get(key)
            out[key] = merge(known, value) if isinstance(value, dict) and isinstance(known, dict) else value
        return out

    fresh = {
        (kind, key)
        for kind in ("samples", "sessions")
        for key, sample in tree[kind].items()
        if abs(tree["as_of"] - sample["taken_at"]) < 2
    }
    out = merge(tree, event["changed"])
    for *path, last in event.get("gone", []):
        at = out
        for key in path:
            at = at[key]
        del at[last]
    for kind in ("samples", "sessions"):
        for key, sample in out[kind].items():
            told = event["changed"].get(kind, {}).get(key, {})
            if told.get("taken_at", 0) is None or ("taken_at" not in told and (kind, key) in fresh):
                sample["taken_at"] = event["as_of"]
    return {**out, "as_of": event["as_of"]}


@given(
    st.lists(
        st.tuples(st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(0, 3), st.booleans())), st.booleans()),
        max_size=30,
    )
)
def test_changes_put_together_are_always_the_whole(
    steps: list[tuple[dict[str, tuple[int, bool]], bool]],
) -> None:
    telemetry = Telemetry()
    board = board_of(runtime(telemetry))
    seen, tree = -1, {}
    for readings, listens in steps:
        telemetry.read(**{name: float(value) for name, (value, _) in readings.items()})
        for name, (_, stuck) in readings.items():
            if stuck:
                # This device has not answered for a while.
                telemetry.samples[name] = telemetry.samples[name]._replace(taken_at=-100.0)
        # Somebody else listens all the time.
        board.telemetry(call(), telemetry.number - 1, devices=True, changes=True)
        if not listens:
            continue
        found = board.telemetry(call(), seen, devices=True, changes=True)
        assert found is not None
        seen, (name, event) = found[0], told(found)
        tree = event if name == "telemetry" else put_together(tree, event)
        whole = board.telemetry(call(), -1, devices=True, changes=False)
        assert tree == told(whole)[1]


async def test_a_viewer_that_takes_nothing_has_no_queue() -> None:
    telemetry = Telemetry()
    telemetry.read(GPU_0=0.0)
    place = runtime(telemetry)
    board = board_of(place)
    written: list[bytes] = []
    taken = asyncio.Event()
    stuck = asyncio.Event()

    async def write(data: bytes) -> None:
        written.append(data)
        if len(written) == 2:
            stuck.set()
            await taken.wait()

    stream = Stream(viewer(place), board, ("telemetry",), at_leisure(write), changes=True)
    running = asyncio.create_task(stream.run(None, 3))
    await stuck.wait()
    for percent in range(1, 50):
        telemetry.read(GPU_0=float(percent))
    taken.set()
    await running
    assert len(written) == 3
    name, event = told((0, written[2]))
    assert (name, event["changed"]["sessions"]["s1"]["utilization_percent"]) == ("changes", 49.0)


async def test_a_notice_that_a_broken_link_swallowed_is_told_and_none_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("swangpu.api.board.sessions_of", lambda call: [])
    place = runtime(Telemetry())
    notices = [StoredNotice("n1", 90.1234567, Notify("ada", "s1", "ready", "info", "Your GPU is ready."))]
    place.notices = lambda user: notices

    async def connect(last_id: str | None, events: int) -> list[list[str]]:
        """The lines of each of so many events."""
        written: list[bytes] = []

        async def write(data: bytes) -> None:
            written.append(data)

        board = board_of(place)
        stream = Stream(viewer(place), board, ("sessions", "notices"), at_leisure(write))
        await stream.run(last_id, events)
        return [event.decode().splitlines() for event in written]

    def last_id(heard: list[list[str]]) -> str:
        return [line.removeprefix("id: ") for event in heard for line in event if line.startswith("id: ")][-1]

    hello, sessions = await connect(None, 2)
    assert sessions[0] == "event: sessions"
    *_, told_late = await connect(last_id([hello, sessions]), 3)
    assert told_late[0] == "event: notices"
    notices.append(StoredNotice("n2", 90.123459, Notify("ada", "s1", "ending", "info", "Your GPU goes.")))
    *_, told_next = await connect(last_id([told_late]), 3)
    assert ("n1" in told_next[-2], "n2" in told_next[-2]) == (False, True)


def test_a_scope_that_was_forgotten_has_no_version_that_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("swangpu.api.board.MAX_SCOPES", 1)
    monkeypatch.setattr("swangpu.api.board.sessions_of", lambda call: [])
    board = board_of(runtime(Telemetry()))
    seen, _ = board.sessions(call("ada"), -1, changes=False) or (-1, b"")
    board.sessions(call("bob"), -1, changes=False)
    again = board.sessions(call("ada"), seen, changes=False)
    assert again is not None
    assert again[0] > seen


async def test_a_viewer_that_takes_nothing_for_long_is_hung_up_on() -> None:
    telemetry = Telemetry()
    telemetry.read(GPU_0=0.0)
    place = runtime(telemetry)
    ended = asyncio.Event()
    stuck = asyncio.Event()
    written: list[bytes] = []

    async def write(data: bytes) -> None:
        written.append(data)
        if len(written) == 2:
            stuck.set()
            await ended.wait()
            raise ConnectionError

    stream = Stream(viewer(place), board_of(place), ("telemetry",), at_leisure(write), hang_up=ended.set)
    running = asyncio.create_task(stream.run(None, None))
    await stuck.wait()
    now = place.clock.monotonic()
    stream.tick(now + 60)
    assert not ended.is_set()
    stream.tick(now + 200)
    with pytest.raises(ConnectionError):
        await running
    assert telemetry.listeners == []
