"""Which lines the cells of a session show: what is true now, told when it changes, and no more often than need be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from runtime.world import Site
from swangpu.broker import events as ev
from swangpu.broker.policy import Group, Policy, Quota, Reclaim, ReclaimMode, Reservation
from swangpu.domain.sessions import Request
from swangpu.kernel_side import words
from swangpu.ports import Saying
from swangpu.server import speaking
from swangpu.server.speaking import Speaker, saying_of

WHOLE = Request(flavor="t4", duration_s=3600.0)


def run(test: Callable[[Site], Awaitable[None]], policy: Policy | None = None) -> None:
    async def main() -> None:
        site = Site(policy)
        site.kernels.agents = {"fit": 11, "gan": 12}
        await site.runtime.start()
        try:
            await asyncio.wait_for(test(site), 30)
        finally:
            await site.runtime.stop()

    asyncio.run(main())


async def attached(site: Site, user: str = "ada", kernel_id: str = "fit", request: Request = WHOLE) -> str:
    session = await site.runtime.request(user, request)
    return (await site.runtime.attach(session.id, kernel_id, None)).id


async def later(site: Site, seconds: float) -> None:
    site.clock.time += seconds
    await site.runtime.handle(ev.Ticked())


def said(site: Site, session_id: str) -> Saying:
    return saying_of(site.runtime.broker.state, site.runtime.session(session_id), site.clock.time)


def lines(site: Site, session_id: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(remark.text, remark.actions) for remark in said(site, session_id).remarks]


def reclaims(mode: ReclaimMode, **more: float) -> Policy:
    return Policy(reclaim=(("*", Reclaim(mode, residency_s=0.0, **more)),))


def test_a_lease_that_ends_is_said_with_when_and_what_helps_until_it_is_extended() -> None:
    async def test(site: Site) -> None:
        session_id = await attached(site)
        assert lines(site, session_id) == []
        await later(site, 3000)
        at = words.clock(4600.0, site.clock.time)
        assert lines(site, session_id) == [(f"T4 goes back at {at}: its lease ends.", ("extend", "release"))]
        assert said(site, session_id).remarks[0].until == 4600.0
        first = said(site, session_id).remarks[0].key
        await later(site, 500)
        assert said(site, session_id).remarks[0].key != first, "the last warning is one of its own"
        await site.runtime.handle(ev.Extended(session_id, 3600.0))
        assert lines(site, session_id) == []

    run(test)


def test_before_a_reservation_nothing_is_said_of_extending() -> None:
    soon = Reservation("r1", "Driver update", 3000.0, 9000.0, "local", "t4", 2)

    async def test(site: Site) -> None:
        session_id = await attached(site)
        await later(site, 1500)
        ((text, actions),) = lines(site, session_id)
        assert text.endswith("it is set aside for Driver update from then on.")
        assert actions == ("release",)

    run(test, Policy(reservations=(soon,)))


def test_what_was_lent_and_is_wanted_back() -> None:
    own = Group("own", members=("bob",), quotas=(Quota("t4", nominal=2),))
    other = Group("other", members=("ada",), quotas=(Quota("t4", nominal=0),))

    async def test(site: Site) -> None:
        sessions = [await attached(site, "ada", kernel) for kernel in ("fit", "gan")]
        for session_id in sessions:
            await site.runtime.handle(ev.ActivityReported(session_id, True))
        await site.runtime.request("bob", WHOLE)
        called = [one for session_id in sessions for one in lines(site, session_id)]
        assert len(called) == 1
        assert called[0][0].startswith("T4 was lent to your group and is wanted back: it goes back at ")
        assert called[0][1] == ("release",)

    run(test, Policy(groups=(own, other)))


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (ReclaimMode.ADVISE, None),
        (ReclaimMode.WARN, "T4 has been idle for 30 min, and somebody waits for it. Please release it if you can."),
        (ReclaimMode.ENFORCE, "T4 has been idle for 30 min, and somebody waits for it: without this cell"),
    ],
)
def test_idle_while_somebody_waits(mode: ReclaimMode, text: str | None) -> None:
    async def test(site: Site) -> None:
        session_id = await attached(site)
        await attached(site, "ada", "gan")
        await site.runtime.handle(ev.ActivityReported(session_id, True))
        await site.runtime.handle(ev.ActivityReported(session_id, False))
        await later(site, 1790)
        await site.runtime.request("bob", WHOLE)
        await later(site, 10)
        shown = [one for one, _ in lines(site, session_id)]
        assert [one.startswith(text or "") for one in shown] == ([True] if text else [])
        await later(site, 60)
        assert [one for one, _ in lines(site, session_id)] == shown, "it says the same until something happens"
        await site.runtime.handle(ev.ActivityReported(session_id, True))
        assert lines(site, session_id) == []

    run(test, reclaims(mode))


async def paused_and_wanted(site: Site) -> tuple[str, str]:
    """Ada's session is paused for Bob's, whose cell runs, and a cell of hers waits."""
    site.kernels.methods = ("offload",)
    fit = await attached(site)
    blocked = await attached(site, "eve", "eda")
    await site.runtime.handle(ev.ActivityReported(blocked, True))
    await later(site, 100)
    gan = await site.runtime.request("bob", WHOLE)
    while site.runtime.session(gan.id).state.value != "ready":
        await asyncio.sleep(0)
    await site.runtime.attach(gan.id, "gan", None)
    await site.runtime.handle(ev.ActivityReported(gan.id, True))
    site.kernels.held.add("fit")
    await site.runtime.handle(ev.ActivityReported(fit, True))
    return fit, gan.id


def test_a_held_cell_is_told_its_place_when_it_really_waits() -> None:
    async def test(site: Site) -> None:
        fit, gan = await paused_and_wanted(site)
        assert said(site, fit).waiting == "Getting your GPU back …"
        await later(site, 5)
        assert said(site, fit).waiting.startswith("Waiting for a GPU: next in the queue; ")
        await site.runtime.handle(ev.Released(gan, undoable=False))
        while site.runtime.session(fit).state.value != "active":
            await asyncio.sleep(0)
        assert said(site, fit).waiting == ""

    run(test, reclaims(ReclaimMode.ENFORCE, idle_pause_s=0.0))


def test_kernels_are_told_what_changes_and_nothing_else() -> None:
    async def told(site: Site, count: int) -> list[tuple[str, list[str]]]:
        while len(site.kernels.said) < count:
            await asyncio.sleep(0)
        return [(kernel_id, [remark.text[:9] for remark in saying.remarks]) for kernel_id, saying in site.kernels.said]

    async def test(site: Site) -> None:
        speaker = Speaker(site.runtime, site.kernels)
        session_id = await attached(site)
        assert await told(site, 1) == [("fit", [])]
        await later(site, 3000)
        assert (await told(site, 2))[1:] == [("fit", ["T4 goes b"])]
        await later(site, 1)
        await attached(site, "bob", "eda")
        await site.runtime.handle(ev.Extended(session_id, 3600.0))
        assert (await told(site, 3))[2:] == [("fit", [])], "a kernel without an agent is not told"
        # the kernel was restarted: its new agent knows nothing
        site.kernels.agents["fit"] = 99
        speaker.look()
        assert (await told(site, 4))[3:] == [("fit", [])]
        await speaker.close()

    run(test)


def test_a_place_that_changes_often_is_told_at_a_bounded_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaking, "EVERY_S", 1e9)

    async def test(site: Site) -> None:
        await paused_and_wanted(site)
        speaker = Speaker(site.runtime, site.kernels)
        speaker.look()
        for _ in range(5):
            await later(site, 60)
        while not site.kernels.said:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len([one for one, _ in site.kernels.said if one == "fit"]) == 1
        await speaker.close()

    run(test, reclaims(ReclaimMode.ENFORCE, idle_pause_s=0.0))
