"""The shell around the broker: durable before told, undone when it can't be, the same after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from runtime.world import Site
from swangpu.broker import events as ev
from swangpu.broker.policy import Policy, Reservation
from swangpu.domain.sessions import Carry, ComesBack, EndReason, Request, Session, SessionState
from swangpu.errors import Conflict, LedgerUnavailable, NotFound, Refused

SLICE = Request(flavor="a100-40gb/1g.5gb", duration_s=3600.0)
WHOLE = Request(flavor="t4", duration_s=3600.0)


def run(test: Callable[[Site], Awaitable[None]], policy: Policy | None = None) -> None:
    async def main() -> None:
        site = Site(policy)
        await site.runtime.start()
        try:
            await asyncio.wait_for(test(site), 30)
        finally:
            await site.runtime.stop()

    asyncio.run(main())


async def until(site: Site, session_id: str, state: SessionState) -> Session:
    """Wait for a state, by the commits."""
    woken = asyncio.Event()
    end = site.runtime.subscribe(lambda change: woken.set())
    try:
        while (session := site.runtime.session(session_id)).state is not state:
            woken.clear()
            await asyncio.wait_for(woken.wait(), 10)
        return session
    finally:
        end()


def test_a_reservation_for_what_there_is_not_is_told_to_the_operator_once(caplog: pytest.LogCaptureFixture) -> None:
    wrong = Reservation("r1", "Tutorial", 0.0, 1e12, "local", "T4", 1, ())

    async def main() -> None:
        site = Site(Policy(version=2, reservations=(wrong,)))
        await site.runtime.start()
        await site.runtime.refresh()
        await site.runtime.stop()

    asyncio.run(main())
    told = [record.getMessage() for record in caplog.records if "reservations" in record.getMessage()]
    assert len(told) == 1
    assert 'SwanGpu.reservations: "Tutorial" sets nothing aside: there is no "T4" in local (it has' in told[0]


def test_get_compute_and_give_back() -> None:
    async def test(site: Site) -> None:
        session = await site.runtime.request("alice", SLICE)
        assert session.state is SessionState.READY
        session = await site.runtime.attach(session.id, None, "fit.ipynb", Carry.NONE)
        assert session.state is SessionState.ACTIVE
        assert session.kernel_ids == ("fit",)
        bound, env = site.kernels.rows["fit"]
        assert bound == session.id
        assert env["CUDA_VISIBLE_DEVICES"] == session.shares[0].id
        await site.runtime.handle(ev.Released(session.id, undoable=False))
        ended = await until(site, session.id, SessionState.ENDED)
        assert ended.end_reason is EndReason.RELEASED
        assert site.kernels.rows["fit"] == (None, {})
        assert site.backend.stopped == [session.id]
        assert [u.session_id for u in site.ledger.usage_records] == [session.id]

    run(test)


def test_a_full_disk_changes_nothing_and_says_so() -> None:
    async def test(site: Site) -> None:
        before = site.runtime.broker.state.copy()
        site.ledger.full = True
        with pytest.raises(LedgerUnavailable) as raised:
            await site.runtime.request("alice", SLICE)
        assert "disk is full" in raised.value.detail
        assert site.runtime.broker.state.sessions == before.sessions
        assert not site.backend.running
        site.ledger.full = False
        session = await site.runtime.request("alice", SLICE)
        assert session.state is SessionState.READY

    run(test)


def test_everything_decided_on_top_of_a_failed_commit_goes_too() -> None:
    async def test(site: Site) -> None:
        site.ledger.full = True
        answers = await asyncio.gather(
            *(site.runtime.handle(ev.Requested(f"s{i}", "alice", SLICE)) for i in range(5)), return_exceptions=True
        )
        assert all(isinstance(a, LedgerUnavailable) for a in answers)
        assert not site.runtime.broker.state.sessions

    run(test)


def test_a_start_that_a_crash_interrupts_is_done_once() -> None:
    async def test(site: Site) -> None:
        site.backend.may_start.clear()
        session = await site.runtime.request("alice", Request(flavor="t4", attach_path="fit.ipynb"))
        await asyncio.wait_for(site.backend.started.wait(), 5)
        await site.crash_and_restart()
        assert site.runtime.session(session.id).shares == session.shares
        site.backend.may_start.set()
        active = await until(site, session.id, SessionState.ACTIVE)
        assert active.shares == session.shares
        assert list(site.backend.running) == [session.id]

    run(test)


def test_after_a_crash_the_truth_is_what_the_kernels_say() -> None:
    async def test(site: Site) -> None:
        first = await site.runtime.request("alice", WHOLE)
        await site.runtime.attach(first.id, "fit", None)
        second = await site.runtime.request("alice", WHOLE)
        await site.runtime.attach(second.id, "gan", None)
        waiting = await site.runtime.request("alice", WHOLE)
        assert waiting.state is SessionState.QUEUED
        # While nobody looks, one kernel dies, and one is found on a session that nobody knows.
        del site.kernels.rows["gan"]
        site.kernels.rows["eda"] = ("forgotten", {"CUDA_VISIBLE_DEVICES": "T1"})
        await site.crash_and_restart()
        assert site.runtime.session(first.id).kernel_ids == ("fit",)
        assert site.runtime.session(second.id).kernel_ids == ()
        assert site.runtime.session(waiting.id).state is SessionState.QUEUED
        assert site.kernels.rows["eda"] == (None, {})

    run(test)


def test_a_queued_request_is_told_when_its_turn_comes() -> None:
    async def test(site: Site) -> None:
        held = [await site.runtime.request("alice", WHOLE) for _ in range(2)]
        waiting = await site.runtime.request("bob", WHOLE)
        site.clock.time += 5
        await site.runtime.handle(ev.Released(held[0].id))
        ready = await until(site, waiting.id, SessionState.READY)
        assert ready.shares == held[0].shares
        assert [n.notify.code for n in site.runtime.notices("bob")] == ["ready"]
        assert site.runtime.notices("alice") == []

    run(test)


def test_a_stop_that_fails_keeps_the_share_until_it_is_confirmed() -> None:
    async def test(site: Site) -> None:
        session = await site.runtime.request("alice", WHOLE)
        await site.runtime.attach(session.id, "fit", None)
        site.backend.fail_stop = True
        await site.runtime.handle(ev.Released(session.id, undoable=False))
        await asyncio.gather(*site.runtime._work._tasks)
        assert site.runtime.session(session.id).shares == session.shares
        site.backend.fail_stop = False
        site.clock.time += 11
        await site.runtime.handle(ev.Ticked())
        assert (await until(site, session.id, SessionState.ENDED)).shares == ()

    run(test)


def test_a_kernel_that_comes_late_to_a_released_session_is_taken_off_again() -> None:
    async def test(site: Site) -> None:
        session = await site.runtime.request("alice", WHOLE)
        await site.runtime.claim(session.id)
        site.kernels.may_attach.clear()
        attaching = asyncio.create_task(site.runtime.attach(session.id, "fit", None))
        await asyncio.sleep(0)
        await site.runtime.handle(ev.Released(session.id, undoable=False))
        site.kernels.may_attach.set()
        await asyncio.gather(attaching, return_exceptions=True)
        await until(site, session.id, SessionState.ENDED)
        assert site.kernels.rows["fit"] == (None, {}), "a kernel is left on a share that was given back"

    run(test)


def test_a_failed_start_says_why_and_gives_the_share_back() -> None:
    async def test(site: Site) -> None:
        site.backend.fail_start = True
        session = await site.runtime.request("alice", WHOLE)
        with pytest.raises(Conflict, match="No room on the node"):
            await site.runtime.claim(session.id)
        ended = await until(site, session.id, SessionState.ENDED)
        assert ended.end_reason is EndReason.FAILED

    run(test)


def test_a_pool_that_is_away_is_told_and_loses_nothing() -> None:
    async def test(site: Site) -> None:
        session = await site.runtime.request("alice", WHOLE)
        await site.runtime.attach(session.id, "fit", None)
        site.backend.away = True
        site.clock.time += 10
        await site.runtime.refresh()
        pool = site.runtime.broker.state.pools["local"]
        assert not pool.available
        assert pool.reason_code == "driver_not_loaded"
        assert site.runtime.session(session.id).lost_since is not None
        site.backend.away = False
        site.clock.time += 10
        await site.runtime.refresh()
        assert site.runtime.session(session.id).lost_since is None
        assert site.runtime.session(session.id).state is SessionState.ACTIVE

    run(test)


def test_what_can_never_be_served_is_refused_at_once() -> None:
    async def test(site: Site) -> None:
        for request, code in [
            (Request(flavor="h100"), "unknown_flavor"),
            (Request(memory_bytes=10**12), "more_memory_than_there_is"),
            (Request(flavor="t4", pools=("moon",)), "unknown_pool"),
            (Request(flavor="t4", duration_s=1e7), "lease_too_long"),
            (Request(flavor="a100-40gb/1g.5gb", count=2), "too_many_per_kernel"),
        ]:
            with pytest.raises(Refused) as raised:
                await site.runtime.request("alice", request)
            assert raised.value.code == code
            assert raised.value.hint
        assert not site.runtime.broker.state.sessions
        assert [d.outcome for d in site.ledger.demand_records] == ["refused"] * 5

    run(test)


def test_attach_of_what_is_not_there_or_taken() -> None:
    async def test(site: Site) -> None:
        first = await site.runtime.request("alice", WHOLE)
        second = await site.runtime.request("alice", WHOLE)
        with pytest.raises(NotFound):
            await site.runtime.attach(first.id, "nobody", None)
        await site.runtime.attach(first.id, "fit", None)
        with pytest.raises(Conflict) as raised:
            await site.runtime.attach(second.id, "fit", None)
        assert raised.value.code == "kernel_attached"

    run(test)


def test_a_restart_from_a_snapshot_is_the_same() -> None:
    async def main() -> None:
        site = Site()
        await site.runtime.start()
        session = await site.runtime.request("alice", WHOLE)
        await site.runtime.attach(session.id, "fit", None)
        state = site.runtime.broker.state.copy()
        await site.runtime.stop()
        assert site.ledger.snapshot is not None
        site.runtime = site._runtime()
        await site.runtime.start()
        assert site.runtime.session(session.id) == state.sessions[session.id]
        await site.runtime.stop()

    asyncio.run(main())


def test_a_session_whose_attach_failed_goes_back_after_the_linger() -> None:
    async def test(site: Site) -> None:
        session = await site.runtime.request("alice", WHOLE)

        async def refuse(*args: object) -> None:
            raise Conflict("A cell is running.", code="kernel_busy")

        site.kernels.attach = refuse  # type: ignore[method-assign]
        with pytest.raises(Conflict, match="A cell is running"):
            await site.runtime.attach(session.id, "fit", None)
        assert site.runtime.session(session.id).state is SessionState.ACTIVE
        site.clock.time += 61
        await site.runtime.handle(ev.Ticked())
        assert (await until(site, session.id, SessionState.ENDED)).shares == ()

    run(test)


# -- putting aside and bringing back ------------------------------------------------------------------


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
