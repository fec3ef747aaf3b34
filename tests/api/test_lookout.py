"""Looking while a cell runs: readings come and are kept, within bounds, and it ends when nobody asks any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from swangpu.api import lookout
from swangpu.api.lookout import Lookout
from swangpu.domain.devices import Share, ShareKind
from swangpu.domain.sessions import Request, Session, SessionState
from swangpu.errors import Unavailable
from swangpu.runtime import SystemClock
from swangpu.server.telemetry import SiteTelemetry
from swangpu.simulation.driver import SimulatedDriver
from swangpu.simulation.fleet import demo_fleet
from swangpu.telemetry.sampler import Sampler

WHOLE = demo_fleet().infos()[2]
SHARE = Share(WHOLE.uuid, "local", "a100-40gb", ShareKind.WHOLE, WHOLE.uuid, WHOLE.memory_bytes)


def session(name: str) -> Session:
    return Session(name, "ada", Request(flavor="a100-40gb"), SessionState.ACTIVE, 0.0, 1, shares=(SHARE,))


def with_sampler(work: Callable[[Any, Sampler], Any]) -> None:
    """Run with a real sampler, ten times as fast as in a server."""

    async def main() -> None:
        clock = SystemClock()
        sampler = Sampler(SimulatedDriver(demo_fleet(), clock), clock, look_interval_s=0.1)
        held = {name: session(name) for name in ("a", "b")}
        telemetry = SiteTelemetry(sampler, lambda: list(held.values()))
        state = SimpleNamespace(sessions=held)
        runtime = SimpleNamespace(telemetry=telemetry, now=clock.now, broker=SimpleNamespace(state=state))
        try:
            await asyncio.wait_for(work(runtime, sampler), 30)
        finally:
            await telemetry.close()
            sampler.close()

    asyncio.run(main())


def lookers(sampler: Sampler) -> int:
    return sampler._watching["look"]


async def until(check: Callable[[], bool]) -> None:
    while not check():
        await asyncio.sleep(0.01)


def test_readings_follow_on_each_other_and_end_with_the_last_who_asked() -> None:
    async def work(runtime: Any, sampler: Sampler) -> None:
        one = Lookout()
        assert lookers(sampler) == 0
        one.look(runtime, session("a"), 30.0)
        one.look(runtime, session("b"), 30.0)
        assert lookers(sampler) == 1
        await one.read_until("a", 0.0, 20.0)
        await one.read_until("a", one.readings("a")[0][0].since + 0.5, 20.0)
        readings, missing = one.readings("a")
        assert readings[-1].until - readings[0].since >= 0.5
        assert all(first.until == second.since for first, second in pairwise(readings))
        assert all(reading.energy_mj is not None for reading in readings)
        assert "power_mw" not in missing
        one.shorten(runtime, "a", 0.1)
        await until(lambda: one.readings("a") == ([], {}))
        assert lookers(sampler) == 1, "the other cell still runs"
        one.shorten(runtime, "b", 0.1)
        await until(lambda: lookers(sampler) == 0)

    with_sampler(work)


def test_a_kernel_that_dies_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "MAX_LOOK_S", 0.3)

    async def work(runtime: Any, sampler: Sampler) -> None:
        one = Lookout()
        assert one.look(runtime, session("a"), 1e9) <= runtime.now() + 0.3
        assert lookers(sampler) == 1
        await until(lambda: lookers(sampler) == 0)
        assert one.readings("a") == ([], {})

    with_sampler(work)


def test_who_waits_is_not_kept_waiting_when_looking_ends() -> None:
    async def work(runtime: Any, sampler: Sampler) -> None:
        one = Lookout()
        await one.read_until("a", runtime.now() + 1e6, 1e6)
        one.look(runtime, session("a"), 0.2)
        await one.read_until("a", runtime.now() + 1e6, 1e6)
        assert lookers(sampler) == 0

    with_sampler(work)


def test_memory_and_number_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "MAX_READINGS", 8)
    monkeypatch.setattr(lookout, "MAX_SESSIONS", 1)

    async def work(runtime: Any, sampler: Sampler) -> None:
        one = Lookout()
        one.look(runtime, session("a"), 30.0)
        with pytest.raises(Unavailable):
            one.look(runtime, session("b"), 30.0)
        await one.read_until("a", 0.0, 20.0)
        first = one.readings("a")[0][0].since
        await one.read_until("a", first + 2.0, 20.0)
        readings, _ = one.readings("a")
        assert len(readings) <= 8
        assert readings[0].since == first, "what is older is coarser, not forgotten"
        one.shorten(runtime, "a", 0.0)
        await until(lambda: lookers(sampler) == 0)

    with_sampler(work)


def test_power_is_told_of_whole_devices_only() -> None:
    async def work(runtime: Any, sampler: Sampler) -> None:
        one = Lookout()
        slice_ = replace(session("a"), shares=(replace(SHARE, kind=ShareKind.TIME_SLICE),))
        runtime.broker.state.sessions["a"] = slice_
        one.look(runtime, slice_, 30.0)
        await one.read_until("a", runtime.now() + 0.3, 20.0)
        readings, missing = one.readings("a")
        assert readings
        assert {reading.energy_mj for reading in readings} == {None}
        assert missing["power_mw"] == "shared"

    with_sampler(work)
