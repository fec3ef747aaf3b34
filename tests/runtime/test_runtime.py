"""The shell around the broker: durable before told, undone when it can't be, the same after a crash."""

from __future__ import annotations

import asyncio

import pytest

from runtime.world import WHOLE, Site, run, until
from swangpu.broker import events as ev
from swangpu.broker.policy import Policy, Reservation
from swangpu.domain.sessions import Carry, EndReason, Request, SessionState
from swangpu.errors import Conflict, LedgerUnavailable, NotFound, Refused

SLICE = Request(flavor="a100-40gb/1g.5gb", duration_s=3600.0)


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
