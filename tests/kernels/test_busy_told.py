"""When cells start and end to run is told, whatever other kernels' agents do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from swangpu.kernels.activity import Activity
from swangpu.kernels.bindings import Binding
from swangpu.tasks import within


@dataclass
class Site:
    """Kernels as the server sees them, agents that answer when they are let, and what is told."""

    bindings: dict[str, Binding] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    seems: dict[str, bool] = field(default_factory=dict)
    agents: dict[str, asyncio.Future[bool | None]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    told: asyncio.Queue[tuple[str, bool]] = field(default_factory=asyncio.Queue)

    def add(self, kernel_id: str, *, gated: bool = False) -> None:
        self.bindings[kernel_id] = Binding(f"session of {kernel_id}", {})
        self.seems[kernel_id] = False
        if gated:
            self.gated.add(kernel_id)
            self.agents[kernel_id] = asyncio.get_running_loop().create_future()

    async def ask(self, kernel_id: str) -> bool | None:
        self.asked.append(kernel_id)
        return await asyncio.shield(self.agents[kernel_id])

    async def next(self) -> tuple[str, bool]:
        return await within(self.told.get(), 10.0)


@asynccontextmanager
async def watched() -> AsyncIterator[tuple[Site, Activity]]:
    site = Site()
    activity = Activity(site.bindings, site.gated, site.seems.get, site.ask, lambda *what: site.told.put_nowait(what))
    yield site, activity
    await activity.close()


async def test_an_agent_that_does_not_answer_keeps_no_other_kernel_waiting() -> None:
    async with watched() as (site, activity):
        site.add("silent", gated=True)
        site.add("waits", gated=True)
        site.add("runs")
        site.agents["waits"].set_result(True)
        site.seems["runs"] = True
        activity.start()
        assert {await site.next(), await site.next()} == {("session of waits", True), ("session of runs", True)}
        site.seems["runs"] = False
        assert await site.next() == ("session of runs", False)
        assert site.asked.count("silent") == 1
        # it has not answered, and is let alone; what the server takes it for is what it is meanwhile
        site.agents["silent"].set_result(None)
        site.seems["silent"] = True
        assert await site.next() == ("session of silent", True)
        assert site.asked.count("silent") == 1


async def test_who_was_opened_while_its_agent_was_asked_is_not_told_by_its_answer() -> None:
    async with watched() as (site, activity):
        site.add("opened", gated=True)
        site.add("other")
        activity.start()
        while not site.asked:
            await asyncio.sleep(0)
        site.gated.discard("opened")
        activity.told("opened", "session of opened", True)
        site.seems["opened"] = True
        site.agents["opened"].set_result(False)
        site.seems["other"] = True
        assert await site.next() == ("session of other", True)
        assert site.told.empty()


async def test_a_gated_kernel_whose_agent_is_away_is_what_it_seems_to_be() -> None:
    async with watched() as (site, activity):
        site.add("alone", gated=True)
        site.seems["alone"] = True
        site.agents["alone"].set_result(None)
        activity.start()
        assert await site.next() == ("session of alone", True)


async def test_one_that_has_gone_to_another_session_meanwhile_is_not_told_for_the_one_before() -> None:
    async with watched() as (site, activity):
        site.add("moved", gated=True)
        activity.start()
        while not site.asked:
            await asyncio.sleep(0)
        site.bindings["moved"] = Binding("its next session", {})
        site.agents["moved"].set_result(True)
        assert await site.next() == ("its next session", True)


async def test_the_next_session_of_a_busy_kernel_is_told_too() -> None:
    async with watched() as (site, activity):
        site.add("moved")
        site.seems["moved"] = True
        activity.start()
        assert await site.next() == ("session of moved", True)
        site.bindings["moved"] = Binding("its next session", {})
        assert await site.next() == ("its next session", True)


async def test_it_begins_idle_again_once_forgotten() -> None:
    async with watched() as (site, activity):
        site.add("ends")
        site.seems["ends"] = True
        activity.start()
        assert await site.next() == ("session of ends", True)
        activity.forget("ends")
        assert await site.next() == ("session of ends", True)


async def test_it_looks_no_more_when_closed_and_again_when_started() -> None:
    async with watched() as (site, activity):
        site.add("silent", gated=True)
        activity.start()
        while not site.asked:
            await asyncio.sleep(0)
        await activity.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        site.agents["silent"].set_result(True)
        activity.start()
        assert await site.next() == ("session of silent", True)
