"""Putting aside and bringing back: what fails on the way leaves no kernel behind a gate, and no share used twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from broker.fleet import whole
from runtime.world import Site
from swangpu.broker import events as ev
from swangpu.broker.policy import Policy, Reclaim, ReclaimMode
from swangpu.domain.sessions import PausePhase, Request, Session, SessionState
from swangpu.errors import Conflict
from swangpu.ports import KernelInfo

WHOLE = Request(flavor="t4", duration_s=3600.0)


def run(test: Callable[[Site], Awaitable[None]]) -> None:
    async def main() -> None:
        site = Site()
        site.kernels.methods = ("offload",)
        await site.runtime.start()
        try:
            await asyncio.wait_for(test(site), 30)
        finally:
            await site.runtime.stop()

    asyncio.run(main())


async def settled(site: Site) -> None:
    """Everything that was commanded is done."""
    while tasks := list(site.runtime._work._tasks):
        await asyncio.gather(*tasks)


async def on_gpu(site: Site, *kernels: str) -> Session:
    session = await site.runtime.request("alice", WHOLE)
    for kernel in kernels:
        session = await site.runtime.attach(session.id, kernel, None)
    return session


async def paused(site: Site, session: Session) -> Session:
    await site.runtime.handle(ev.Paused(session.id))
    await settled(site)
    return site.runtime.session(session.id)


def phase(site: Site, session: Session) -> PausePhase | None:
    pause = site.runtime.session(session.id).pause
    return pause.phase if pause is not None else None


def fails(site: Site, name: str, kernel: str) -> Callable[[], None]:
    """One call of the kernels fails for one of them, until the answer is called."""
    real = getattr(site.kernels, name)

    async def broken(kernel_id: str, *args: object) -> object:
        if kernel_id == kernel:
            raise Conflict("Its agent does not answer.", code="no_answer")
        return await real(kernel_id, *args)

    setattr(site.kernels, name, broken)
    return lambda: setattr(site.kernels, name, real)


def test_no_kernel_is_put_on_a_session_that_is_paused() -> None:
    async def test(site: Site) -> None:
        session = await paused(site, await on_gpu(site, "fit"))
        assert session.shares == ()
        with pytest.raises(Conflict) as raised:
            await site.runtime.attach(session.id, "gan", None)
        assert raised.value.code == "session_paused"
        assert site.kernels.rows["gan"] == (None, {}), "without shares it would see every GPU"

    run(test)


def test_a_kernel_whose_gate_cannot_be_opened_again_is_not_left_behind_it() -> None:
    async def test(site: Site) -> None:
        session = await on_gpu(site, "fit", "gan")
        site.kernels.computing.add("gan")
        mend = fails(site, "resume", "fit")
        assert (await paused(site, session)).state is SessionState.PAUSED, "it does not go on as it was"
        mend()
        site.clock.time += 121
        await site.runtime.handle(ev.Ticked())
        await settled(site)
        assert site.runtime.session(session.id).state is SessionState.ACTIVE
        assert site.kernels.gated == set()

    run(test)


def test_shares_on_which_one_kernel_is_back_are_not_given_away_since_another_is_not() -> None:
    async def test(site: Site) -> None:
        session = await on_gpu(site, "fit", "gan")
        await paused(site, session)
        mend = fails(site, "resume", "gan")
        await site.runtime.handle(ev.Resumed(session.id))
        await settled(site)
        assert site.kernels.gated == {"gan"}
        assert site.runtime.session(session.id).shares, "fit computes there"
        mend()
        site.clock.time += 121
        await site.runtime.handle(ev.Ticked())
        await settled(site)
        assert site.runtime.session(session.id).state is SessionState.ACTIVE
        assert site.kernels.gated == set()

    run(test)


def test_who_has_a_kernel_back_with_which_something_is_amiss_is_told() -> None:
    async def test(site: Site) -> None:
        session = await on_gpu(site, "fit", "gan")
        await paused(site, session)
        site.kernels.amiss = ("not_followed", "Restart the kernel.")
        await site.runtime.handle(ev.Resumed(session.id))
        await settled(site)
        assert site.runtime.session(session.id).state is SessionState.ACTIVE
        (told,) = [stored.notify for stored in site.runtime.notices("alice")]
        assert (told.code, told.level, told.text) == ("not_followed", "warning", "T4: Restart the kernel.")
        assert told.session_id == session.id

    run(test)


def test_a_session_whose_gpu_is_given_away_says_what_of_it_is_there_still() -> None:
    async def test(site: Site) -> None:
        session = await on_gpu(site, "fit", "gan")
        site.kernels.partly = ("paused_partly", "5 GB of it stay on the GPU: tensorflow.")
        session = await paused(site, session)
        assert session.shares == ()
        assert session.reason is not None
        assert session.reason.text == "Paused, variables kept. 5 GB of it stay on the GPU: tensorflow."
        await site.runtime.handle(ev.Resumed(session.id))
        await settled(site)
        assert site.runtime.session(session.id).reason is None

    run(test)


def test_a_kernel_that_is_found_as_its_session_comes_back_is_not_shut_behind_its_gate() -> None:
    async def test(site: Site) -> None:
        await on_gpu(site, "gan")
        session = await paused(site, await on_gpu(site, "fit"))
        other = await site.runtime.request("bob", WHOLE)
        await site.runtime.claim(other.id)
        await site.runtime.handle(ev.Resumed(session.id))
        assert phase(site, session) is PausePhase.WANTED
        woken = asyncio.Event()
        site.runtime.subscribe(lambda change: woken.set())

        async def meanwhile(event: ev.Event) -> None:
            await site.runtime.handle(event)
            if isinstance(event, ev.KernelAttached):
                await site.runtime.handle(ev.Released(other.id, undoable=False))
                while phase(site, session) is PausePhase.WANTED:
                    woken.clear()
                    await woken.wait()

        shut: list[str] = []

        async def gate(kernel_id: str, closed: bool, message: str = "") -> None:
            shut.append(kernel_id)

        site.runtime._work._report_once = meanwhile
        site.kernels.gate = gate  # type: ignore[method-assign]
        await site.runtime.take_in(KernelInfo("fit", session.id, "busy", "fit.ipynb", "python3", gated=True))
        await settled(site)
        assert site.runtime.session(session.id).state is SessionState.ACTIVE
        assert shut == [], "its cell would wait for good"

    run(test)


def test_a_session_found_anew_works_as_long_as_one_of_its_kernels_does() -> None:
    async def test(site: Site) -> None:
        session = await on_gpu(site, "fit", "gan")
        site.kernels.computing.add("fit")
        for kernel in site.kernels.kernels():
            await site.runtime.take_in(kernel)
        assert site.runtime.session(session.id).busy

    run(test)


def test_a_session_whose_owner_wants_it_back_still_waits_after_a_restart() -> None:
    async def test(site: Site) -> None:
        await on_gpu(site, "gan")
        session = await paused(site, await on_gpu(site, "fit"))
        other = await site.runtime.request("bob", WHOLE)
        await site.runtime.claim(other.id)
        await site.runtime.handle(ev.Resumed(session.id))
        await site.crash_and_restart()
        assert phase(site, session) is PausePhase.WANTED

    run(test)


SOME_MEMORY = Request(memory_bytes=2 * 10**9, pools=("local",), duration_s=3600.0)


async def has_stayed(site: Site) -> tuple[Session, Session]:
    """Alice's kernel has stayed on the device that bob's is on."""
    site.kernels.stays = True
    alice = await site.runtime.request("alice", SOME_MEMORY)
    await site.runtime.attach(alice.id, "fit", None)
    bob = await site.runtime.request("bob", SOME_MEMORY)
    site.clock.time += 100
    await site.runtime.handle(ev.Ticked())
    await settled(site)
    await site.runtime.attach(bob.id, "gan", None)
    return alice, bob


def with_one_device(test: Callable[[Site], Awaitable[None]]) -> None:
    rule = Reclaim(ReclaimMode.ENFORCE, idle_pause_s=60.0, residency_s=0.0)

    async def main() -> None:
        site = Site(Policy(reclaim=(("*", rule),)))
        site.backend.shares = (whole("T1"),)
        site.kernels.methods = ("offload",)
        await site.runtime.start()
        try:
            await asyncio.wait_for(test(site), 30)
        finally:
            await site.runtime.stop()

    asyncio.run(main())


def test_one_that_has_stayed_waits_behind_its_gate_and_goes_on_where_it_was() -> None:
    async def test(site: Site) -> None:
        alice, bob = await has_stayed(site)
        assert phase(site, alice) is PausePhase.SAVED
        assert site.kernels.gated == {"fit"}
        await site.runtime.handle(ev.Released(bob.id, undoable=False))
        await settled(site)
        await site.runtime.handle(ev.Resumed(alice.id))
        await settled(site)
        assert site.runtime.session(alice.id).state is SessionState.ACTIVE
        assert site.kernels.gated == set()
        assert site.kernels.saved == []

    with_one_device(test)


def test_one_that_cannot_leave_its_device_stays_behind_its_gate_while_somebody_computes_there() -> None:
    async def test(site: Site) -> None:
        alice, bob = await has_stayed(site)
        await site.runtime.handle(ev.ActivityReported(bob.id, True))
        site.kernels.fails = Conflict("It could not be moved.", code="not_saved")
        await site.runtime.handle(ev.MemoryShort("T1"))
        await settled(site)
        assert phase(site, alice) is PausePhase.SAVED
        assert site.kernels.gated == {"fit"}, "its cells would run beside bob's"
        site.kernels.fails = None
        site.clock.time += 301
        await site.runtime.handle(ev.MemoryShort("T1"))
        await settled(site)
        assert site.kernels.saved == ["fit"]
        pause = site.runtime.session(alice.id).pause
        assert pause is not None
        assert (pause.saved_bytes, pause.resident_bytes) == (10**9, 0)

    with_one_device(test)
