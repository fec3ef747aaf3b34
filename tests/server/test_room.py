"""Memory that gets short on a device on which paused sessions have stayed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from broker.desk import ENFORCE, Desk
from broker.fleet import GB
from swangpu.broker import events as ev
from swangpu.domain.telemetry import Sample
from swangpu.server.room import QUIET_S, RoomWatch, is_short

MIB = 2**20


def reading(used_bytes: int | None, total_bytes: int | None = 16 * GB) -> Sample:
    return Sample("T1", 0.0, memory_used_bytes=used_bytes, memory_total_bytes=total_bytes)


@pytest.mark.parametrize(
    ("used", "total", "short"),
    [
        (15 * GB, 16 * GB, False),
        (int(15.3 * GB), 16 * GB, True),
        (int(4.6 * GB), 5 * GB, True),
        (int(4.4 * GB), 5 * GB, False),
        (None, 16 * GB, False),
        (15 * GB, None, False),
    ],
)
def test_what_is_short(used: int | None, total: int | None, short: bool) -> None:
    """Less than 5 % of the device, or than 512 MiB; what is not known is not."""
    assert is_short(reading(used, total)) is short


def with_one_that_stays() -> tuple[Desk, str]:
    """Alice has stayed on a T4 on which bob computes."""
    desk = Desk(ENFORCE)
    desk.stays = True
    alice = desk.get(None, user="alice", memory_bytes=9 * GB)
    desk.work(desk.get("t4", user="carol"))
    desk.work(alice)
    desk.work(alice, busy=False)
    desk.pass_time(100)
    desk.get(None, user="bob", memory_bytes=9 * GB)
    return desk, alice


def test_who_has_stayed_is_moved_out_once_it_is_short_and_not_told_twice() -> None:
    desk, alice = with_one_that_stays()
    told: list[Any] = []

    async def report(event: ev.Event) -> None:
        told.append(event)
        desk.send(event)

    pause = desk[alice].pause
    assert pause is not None
    assert pause.resident_on is not None
    device = pause.resident_on.device_uuid
    full = {device: reading(16 * GB)}

    async def look() -> None:
        runtime: Any = SimpleNamespace(now=lambda: desk.now, report=report, broker=desk.broker)
        watch = RoomWatch(runtime)
        watch.look({})
        watch.look({"T9": reading(16 * GB), device: reading(8 * GB)})
        await asyncio.sleep(0)
        assert told == []
        desk.pauses = False
        watch.look(full)
        watch.look(full)
        await asyncio.sleep(0)
        assert told == [ev.MemoryShort(device)]
        desk.now += QUIET_S
        watch.look(full)
        await asyncio.sleep(0)
        assert len(told) == 2
        desk.send(ev.PauseSaved(alice, "offload", 2 * GB))
        desk.now += QUIET_S
        watch.look(full)
        await watch.close()
        assert len(told) == 2, "nobody is there any more who could leave"

    asyncio.run(look())
    assert desk.left == [alice]
