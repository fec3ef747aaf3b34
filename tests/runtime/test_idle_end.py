"""An idle session's time is over: whether a cell has begun that nobody has heard of yet is looked at first."""

from __future__ import annotations

from broker.fleet import whole
from runtime.world import WHOLE, Site
from swangpu.broker import events as ev
from swangpu.broker.policy import Policy, Reclaim, ReclaimMode
from swangpu.domain.sessions import EndReason, Session, SessionState

RULE = Reclaim(ReclaimMode.ENFORCE, idle_release_s=60.0, grace_s=30.0, residency_s=0.0)


async def warned() -> tuple[Site, Session]:
    """Alice's session is idle, bob waits for its device, and she was warned that it goes in 30 s."""
    site = Site(Policy(reclaim=(("*", RULE),)))
    site.backend.shares = (whole("T1"),)
    await site.runtime.start()
    alice = await site.runtime.request("alice", WHOLE)
    await site.runtime.attach(alice.id, "fit", None)
    await site.runtime.request("bob", WHOLE)
    site.clock.time += 61
    await site.runtime.handle(ev.Ticked())
    alice = site.runtime.session(alice.id)
    assert alice.idle_ends_at == site.clock.time + 30
    return site, alice


async def test_a_cell_that_has_just_begun_keeps_its_gpu() -> None:
    site, alice = await warned()
    try:
        site.kernels.computing.add("fit")
        site.clock.time += 31
        await site.runtime._tick()
        alice = site.runtime.session(alice.id)
        assert (alice.state, alice.busy, alice.idle_ends_at) == (SessionState.ACTIVE, True, None)
    finally:
        await site.runtime.stop()


async def test_without_a_cell_it_goes() -> None:
    site, alice = await warned()
    try:
        # somebody else's
        site.kernels.computing.add("gan")
        site.clock.time += 31
        await site.runtime._tick()
        assert site.runtime.session(alice.id).end_reason is EndReason.RECLAIMED
    finally:
        await site.runtime.stop()
