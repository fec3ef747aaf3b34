"""A viewer that rests is written to by the reading itself, and what goes wrong with one stays its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from test_board import Telemetry, board_of, runtime, told, viewer

from swangpu.api.stream import Stream
from swangpu.broker.commands import Notify
from swangpu.runtime import StoredNotice
from swangpu.tasks import within


def taken_at_once(into: list[bytes]) -> Callable[[bytes], asyncio.Future[None]]:
    def write(event: bytes) -> asyncio.Future[None]:
        into.append(event)
        taken = asyncio.get_running_loop().create_future()
        taken.set_result(None)
        return taken

    return write


async def rested(stream: Stream) -> None:
    async def until() -> None:
        while not stream._resting:
            await asyncio.sleep(0)

    await within(until(), 10.0)


@pytest.mark.parametrize("raises", [False, True])
async def test_viewers_that_rest_are_written_to_by_the_reading_itself_and_a_broken_one_keeps_it_from_nobody(
    raises: bool,
) -> None:
    telemetry = Telemetry()
    telemetry.read(GPU_0=0.0)
    place = runtime(telemetry)
    board = board_of(place)
    heard: list[bytes] = []
    gone = asyncio.get_running_loop().create_future()
    gone.set_exception(ConnectionError())
    heard_by_broken: list[bytes] = []

    def fails(event: bytes) -> asyncio.Future[None]:
        heard_by_broken.append(event)
        if raises and len(heard_by_broken) == 3:
            raise ConnectionError
        return gone if len(heard_by_broken) == 3 else taken_at_once([])(event)

    broken = Stream(viewer(place), board, ("telemetry",), fails, changes=True)
    whole = Stream(viewer(place), board, ("telemetry",), taken_at_once(heard), changes=True)
    tasks = [asyncio.create_task(broken.run(None, None)), asyncio.create_task(whole.run(None, 5))]
    for percent in (1.0, 2.0, 3.0):
        await rested(whole)
        telemetry.read(GPU_0=percent)
        # nothing has been waited for
        assert told((0, heard[-1]))[1]["changed"]["sessions"]["s1"]["utilization_percent"] == percent
    with pytest.raises(ConnectionError):
        await tasks[0]
    # its last one
    await tasks[1]
    assert len(heard) == 5
    assert telemetry.listeners == []


async def test_what_is_wrong_with_a_reading_ends_the_streams_and_not_the_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    telemetry = Telemetry()
    telemetry.read(GPU_0=0.0)
    place = runtime(telemetry)
    stream = Stream(viewer(place), board_of(place), ("telemetry",), taken_at_once([]))
    running = asyncio.create_task(stream.run(None, None))
    await rested(stream)
    monkeypatch.setattr(telemetry, "latest", lambda: 1 / 0)
    telemetry.read(GPU_0=1.0)
    with pytest.raises(ZeroDivisionError):
        await within(running, 10.0)


async def test_a_viewer_that_hears_something_else_gets_the_newest_reading_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("swangpu.api.board.sessions_of", lambda call: [])
    telemetry = Telemetry()
    telemetry.read(GPU_0=0.0)
    place = runtime(telemetry)
    changed: list[Callable[[Any], None]] = []

    def subscribe(listener: Callable[[Any], None]) -> Callable[[], None]:
        changed.append(listener)
        return lambda: None

    place.subscribe = subscribe
    place.notices = lambda user: [StoredNotice("n1", 200.0, Notify("ada", "s1", "ready", "info", "Ready."))]
    heard: list[bytes] = []
    stream = Stream(viewer(place), board_of(place), ("telemetry", "notices"), taken_at_once(heard), changes=True)
    running = asyncio.create_task(stream.run(None, 5))
    await rested(stream)
    before = len(heard)
    changed[-1](SimpleNamespace(sessions=False, pools=False, notices={"ada"}))
    telemetry.read(GPU_0=7.0)
    telemetry.read(GPU_0=8.0)
    assert len(heard) == before
    place.notices = lambda user: [StoredNotice("n2", 300.0, Notify("ada", "s1", "ready", "info", "Ready."))]
    await running
    names = [event.decode().split("\n")[0].removeprefix("event: ") for event in heard]
    assert names == ["hello", "telemetry", "notices", "notices", "changes"]
    assert told((0, heard[-1]))[1]["changed"]["sessions"]["s1"]["utilization_percent"] == 8.0
