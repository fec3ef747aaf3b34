"""One suite that every backend passes.

A backend's test module makes a `Harness` for its service and an empty subclass::

    class TestMine(BackendContract):
        @pytest.fixture
        def harness(self): ...
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from swangpu.domain.devices import PoolInventory, ShareKind
from swangpu.errors import PoolUnavailable
from swangpu.ports import Backend, BackendStatus, StartSpec

T = TypeVar("T")

STATES = {"queued", "starting", "running", "ended", "failed", "unknown"}

HOSTILE = [
    "plain",
    "../../etc/passwd",
    "a'b\"c`d$(touch pwned)",
    "line\nbreak\r\nand\ttab",
    "null\x00byte",
    "-rf",
    "\u00fcn\u00efc\u00f6d\u00e9 \U0001f9a2",
    "{}[]%s%n{0}",
    "x" * 10_000,
]


class Harness:
    """What the suite asks of a service beside its backend. Override what the service can do."""

    def backend(self) -> Backend:
        """A new backend on the same service, as after a restart of ours."""
        raise NotImplementedError

    def working(self) -> set[str] | None:
        """Ids of the sessions whose work really exists in the service; None where starting has no side effect."""
        return None

    def vanish(self, session_id: str) -> None:
        """Make a session's work go away behind our back."""
        pytest.skip("work can't vanish here")

    def down(self) -> None:
        """Make the service not answer."""
        pytest.skip("this service can't be down")

    def up(self) -> None:
        """Make it answer again, and return when it does."""

    def slow(self) -> None:
        """Make it take seconds for its answers."""
        pytest.skip("this service can't be slow")


def run(function: Callable[[], Awaitable[T]], timeout_s: float = 30.0) -> T:
    async def bounded() -> T:
        return await asyncio.wait_for(function(), timeout_s)

    return asyncio.run(bounded())


async def spec_for(backend: Backend, session_id: str = "s-1", user: str = "alice") -> StartSpec:
    pool = await backend.inventory()
    assert pool.available, pool.reason_text
    flavor = pool.flavors[0]
    shares = tuple(s for s in pool.shares if s.flavor == flavor.name)[:1]
    return StartSpec(session_id, user, flavor.name, shares, 1, flavor.memory_bytes, 3600.0, "kernel", purpose=user)


async def start(backend: Backend, spec: StartSpec, checkpoints: int = 1000) -> list[str]:
    """The checkpoints of a start, cut off after so many, as by a crash: nothing more is done after that."""
    seen: list[str] = []
    steps = backend.start(spec)
    while len(seen) < checkpoints:
        try:
            seen.append(await steps.__anext__())
        except StopAsyncIteration:
            break
    return seen


async def settled(backend: Backend, checkpoint: str, wanted: set[str], timeout_s: float = 15.0) -> BackendStatus:
    end = time.monotonic() + timeout_s
    while True:
        status = (await backend.status({"s-1": checkpoint}))["s-1"]
        if status.state in wanted or time.monotonic() > end:
            return status
        await asyncio.sleep(0.05)


class BackendContract:
    @pytest.fixture
    def harness(self) -> Harness:
        raise NotImplementedError

    def test_the_inventory_is_well_formed(self, harness: Harness) -> None:
        pool = run(harness.backend().inventory)
        check_inventory(pool)
        assert pool.available
        assert pool.flavors

    def test_a_crash_between_checkpoints_leaks_nothing(self, harness: Harness) -> None:
        async def story(after: int) -> int:
            first = harness.backend()
            seen = await start(first, await spec_for(first), after)
            second = harness.backend()
            if seen:
                await second.stop(seen[-1])
            assert not harness.working()
            return len(seen)

        whole = run(lambda: story(1000))
        assert whole >= 1
        for after in range(whole + 1):
            assert run(lambda after=after: story(after)) == after

    def test_checkpoints_are_short_text(self, harness: Harness) -> None:
        async def story() -> None:
            backend = harness.backend()
            seen = await start(backend, await spec_for(backend))
            assert all(isinstance(c, str) and 0 < len(c) < 65536 for c in seen)
            await backend.stop(seen[-1])

        run(story)

    def test_stopping_twice_is_stopping_once(self, harness: Harness) -> None:
        async def story() -> None:
            backend = harness.backend()
            last = (await start(backend, await spec_for(backend)))[-1]
            await backend.stop(last)
            await backend.stop(last)
            await harness.backend().stop(last)
            assert not harness.working()
            assert (await settled(backend, last, STATES)).state in STATES

        run(story)

    @pytest.mark.parametrize("checkpoint", ["", "{}", "null", "[]", '{"devices": 3}', "nonsense", "\x00", "9" * 5000])
    def test_stopping_what_never_started_is_safe(self, harness: Harness, checkpoint: str) -> None:
        async def story() -> None:
            backend = harness.backend()
            await backend.stop(checkpoint)
            assert (await backend.status({"s-1": checkpoint}))["s-1"].state in STATES

        run(story)

    def test_started_work_runs(self, harness: Harness) -> None:
        async def story() -> None:
            backend = harness.backend()
            last = (await start(backend, await spec_for(backend)))[-1]
            assert (await settled(backend, last, {"running"})).state == "running"
            assert (await settled(harness.backend(), last, {"running"})).state == "running"
            assert await backend.status({}) == {}
            await backend.stop(last)

        run(story)

    def test_vanished_work_is_told(self, harness: Harness) -> None:
        async def story() -> None:
            backend = harness.backend()
            last = (await start(backend, await spec_for(backend)))[-1]
            harness.vanish("s-1")
            gone = {"ended", "failed", "unknown"}
            assert (await settled(backend, last, gone)).state in gone
            await backend.stop(last)

        run(story)

    def test_a_service_that_is_down_says_so_and_loses_nothing(self, harness: Harness) -> None:
        async def story() -> None:
            backend = harness.backend()
            last = (await start(backend, await spec_for(backend)))[-1]
            harness.down()
            pool = await inventory_when_down(backend)
            if pool is not None:
                check_inventory(pool)
                assert pool.hint
            with contextlib.suppress(PoolUnavailable):
                status = (await backend.status({"s-1": last}))["s-1"]
                assert status.state not in {"ended", "failed"}
            harness.up()
            assert (await settled(backend, last, {"running"})).state == "running"
            await backend.stop(last)
            assert not harness.working()

        run(story)

    def test_a_slow_service_does_not_block_the_event_loop(self, harness: Harness) -> None:
        async def story() -> float:
            backend = harness.backend()
            await backend.inventory()
            harness.slow()
            longest, last = 0.0, time.monotonic()
            asking = asyncio.ensure_future(backend.inventory())
            end = last + 3.0
            while not asking.done() and time.monotonic() < end:
                await asyncio.sleep(0.01)
                now = time.monotonic()
                longest, last = max(longest, now - last), now
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            return longest

        assert run(story) < 0.5

    @pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
    def test_hostile_names_do_no_harm(self, harness: Harness, name: str) -> None:
        async def story() -> None:
            backend = harness.backend()
            spec = await spec_for(backend, name, name)
            seen = await start(backend, spec)
            assert set(await backend.status({name: seen[-1]})) == {name}
            for value in backend.environment(spec.shares).values():
                assert value is None or not set(value) & {"\x00", "\n"}
            await backend.stop(seen[-1])
            assert not harness.working()

        run(story)

    def test_the_environment_of_every_share(self, harness: Harness) -> None:
        async def story() -> None:
            backend = harness.backend()
            pool = await backend.inventory()
            environments = [backend.environment([s]) for s in pool.shares]
            # All of them speak of the same variables, so that moving to another share leaves nothing behind.
            assert len({frozenset(env) for env in environments}) == 1
            assert all(v is None or isinstance(v, str) for env in environments for v in env.values())

        run(story)

    def test_closing_twice_is_closing_once(self, harness: Harness) -> None:
        async def story() -> None:
            backend = harness.backend()
            await backend.inventory()
            await backend.close()
            await backend.close()

        run(story)


async def inventory_when_down(backend: Backend, timeout_s: float = 10.0) -> PoolInventory | None:
    """What a backend says of itself once it has noticed; None when it says so by raising."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            pool = await backend.inventory()
        except PoolUnavailable:
            return None
        if not pool.available:
            return pool
        assert time.monotonic() < end
        await asyncio.sleep(0.1)


def check_inventory(pool: PoolInventory) -> None:
    ids = [s.id for s in pool.shares]
    assert ids == sorted(set(ids))
    names = {f.name for f in pool.flavors}
    assert {s.flavor for s in pool.shares} <= names
    assert len(names) == len(pool.flavors)
    assert len({f.title for f in pool.flavors}) == len(pool.flavors)
    assert set(pool.taken) <= set(ids)
    assert not set(pool.lost) & set(ids)
    assert all(s.pool == pool.pool and s.memory_bytes > 0 for s in pool.shares)
    assert all(s.mig_uuid and s.profile for s in pool.shares if s.kind is ShareKind.MIG)
    assert pool.as_of > 0
    if not pool.available:
        assert pool.reason_code
        assert pool.reason_text
