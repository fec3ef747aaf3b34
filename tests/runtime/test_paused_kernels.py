"""Putting aside and bringing back: what is told, what comes back where, and what is given up."""

from __future__ import annotations

import asyncio

import pytest

from runtime.world import WHOLE, Site, run, until
from swangpu.broker import events as ev
from swangpu.broker.policy import Policy
from swangpu.domain.sessions import ComesBack, EndReason, Session, SessionState
from swangpu.errors import Conflict


async def paused(site: Site) -> Session:
    """A session whose kernel is put aside by checkpoint, on its owner's wish."""
    site.kernels.methods = ("checkpoint",)
    session = await site.runtime.request("alice", WHOLE)
    await site.runtime.attach(session.id, "fit", None)
    await site.runtime.handle(ev.Paused(session.id))
    while site.runtime.session(session.id).shares:
        await asyncio.sleep(0)
    return site.runtime.session(session.id)


def codes(site: Site) -> list[str]:
    return [stored.notify.code for stored in site.runtime.notices("alice")]


def test_a_kernel_comes_back_with_the_environment_of_the_shares_that_it_gets() -> None:
    async def test(site: Site) -> None:
        session = await paused(site)
        assert session.pause is not None
        assert session.pause.method == "checkpoint"
        site.kernels.rows["fit"] = (session.id, {"CUDA_VISIBLE_DEVICES": "another"})
        await site.runtime.handle(ev.Resumed(session.id))
        back = await until(site, session.id, SessionState.ACTIVE)
        assert site.kernels.rows["fit"][1]["CUDA_VISIBLE_DEVICES"] == back.shares[0].id

    run(test)


def test_all_kernels_of_a_session_together_take_no_more_host_memory_than_is_left() -> None:
    async def test(site: Site) -> None:
        site.kernels.methods = ("offload",)
        site.kernels.saves_bytes = 3 * 10**9
        session = await site.runtime.request("alice", WHOLE)
        for kernel_id in ("fit", "gan"):
            await site.runtime.attach(session.id, kernel_id, None)
        await site.runtime.handle(ev.Paused(session.id))
        while (found := site.runtime.session(session.id)).reason is None:
            await asyncio.sleep(0)
        assert found.shares, "one of them is on it still"
        assert found.pause is not None
        assert found.pause.saved_bytes == 3 * 10**9
        assert found.reason.text == "Paused; its GPU is kept for it. It needs 3000000000 B."

    run(test, Policy(paused_memory_bytes=5 * 10**9))


@pytest.mark.parametrize(("kernel_ids", "other"), [(("fit",), True), (("fit", "gan"), False)])
def test_another_device_is_for_one_kernel_and_only_until_it_is_refused(
    kernel_ids: tuple[str, ...], other: bool
) -> None:
    async def test(site: Site) -> None:
        site.kernels.comes_back = ComesBack.FLAVOR
        site.kernels.methods = ("checkpoint",)
        session = await site.runtime.request("alice", WHOLE)
        for kernel_id in kernel_ids:
            await site.runtime.attach(session.id, kernel_id, None)
        await site.runtime.handle(ev.Paused(session.id))
        while (found := site.runtime.session(session.id)).shares:
            await asyncio.sleep(0)
        assert found.pause is not None
        assert found.pause.remaps is other
        site.kernels.fails = Conflict("It can't come back there.", code="map_refused", own_device=True)
        await site.runtime.handle(ev.Resumed(session.id))
        while (found := site.runtime.session(session.id)).reason is None:
            await asyncio.sleep(0)
        assert found.pause is not None
        assert not found.pause.remaps

    run(test)


@pytest.mark.parametrize("lost", [True, False])
def test_what_an_attempt_did_to_a_kernel_is_told(lost: bool) -> None:
    async def test(site: Site) -> None:
        site.kernels.methods = ("checkpoint",)
        session = await site.runtime.request("alice", WHOLE)
        await site.runtime.attach(session.id, "fit", None)
        how = {"lost": True} if lost else {"doubtful": True}
        site.kernels.fails = Conflict("Its GPU state could not be saved.", code="state_failed", **how)
        await site.runtime.handle(ev.Paused(session.id))
        if lost:
            ended = await until(site, session.id, SessionState.ENDED)
            assert (ended.end_reason, codes(site)) == (EndReason.LOST, ["state_failed"])
            assert site.kernels.rows["fit"] == (None, {}), "it goes on without a GPU"
        else:
            kept = await until(site, session.id, SessionState.ACTIVE)
            assert kept.shares
            assert codes(site) == ["not_paused"]

    run(test)


def test_what_is_lost_on_the_way_back_ends_at_once() -> None:
    async def test(site: Site) -> None:
        session = await paused(site)
        site.kernels.fails = Conflict("It is lost.", code="state_failed", lost=True)
        await site.runtime.handle(ev.Resumed(session.id))
        ended = await until(site, session.id, SessionState.ENDED)
        assert (ended.end_reason, codes(site)) == (EndReason.LOST, ["state_failed"])

    run(test)


def test_what_does_not_come_back_is_tried_again_a_little_later() -> None:
    async def test(site: Site) -> None:
        session = await paused(site)
        site.kernels.fails = Conflict("There is no room.", code="no_room_device")
        await site.runtime.handle(ev.Resumed(session.id))
        while (found := site.runtime.session(session.id)).reason is None:
            await asyncio.sleep(0)
        assert (found.state, found.reason.code, found.shares) == (SessionState.PAUSED, "no_room_device", ())
        site.kernels.fails = None
        site.clock.time += 3
        await site.runtime.handle(ev.Ticked())
        await until(site, session.id, SessionState.ACTIVE)
        assert codes(site) == []

    run(test)
