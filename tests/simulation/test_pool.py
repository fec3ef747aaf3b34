"""The demo's fleet as people see it: the local pool on simulated devices."""

from __future__ import annotations

import asyncio

from swangpu.backends.flavors import LocalPoolConfig
from swangpu.backends.local import LocalBackend
from swangpu.domain.devices import PoolInventory, Share
from swangpu.simulation.driver import SimulatedDriver
from swangpu.simulation.fleet import demo_fleet
from swangpu.simulation.world import World
from swangpu.telemetry.sampler import Sampler


def free(pool: PoolInventory) -> list[Share]:
    return [s for s in pool.shares if s.id not in pool.taken]


def test_a_newcomer_can_always_have_something_of_each_kind() -> None:
    world = World()
    driver = SimulatedDriver(demo_fleet(), world.clock, world.processes.read)
    sampler = Sampler(driver, world.clock)
    own: set[int] = set()
    backend = LocalBackend(LocalPoolConfig(slices_per_model={"T4": 4}), sampler, lambda: own)

    async def look() -> PoolInventory:
        return await backend.inventory()

    try:
        pool = asyncio.run(look())
        assert pool.available
        assert pool.simulated
        assert pool.reason_code is None
        assert {f.name for f in pool.flavors} == {
            "a100-40gb",
            "a100-40gb/1g.5gb",
            "a100-40gb/2g.10gb",
            "t4/time-4",
        }
        assert len(pool.shares) == 1 + 7 + 3 + 8
        taken: set[tuple[str, ...]] = set()
        for _ in range(24):
            world.run(600.0)
            pool = asyncio.run(look())
            assert {s.flavor for s in free(pool)} == {f.name for f in pool.flavors}
            assert any(s.memory_bytes >= 10e9 for s in free(pool) if s.mig_uuid), "the panel asks for 10 GB at first"
            taken.add(pool.taken)
        assert len(taken) > 4
        # A process of ours does not take its own share from us.
        share = next(s for s in free(pool) if s.mig_uuid)
        world.processes.start(10)
        driver.rebind({10: share.id})
        own.add(10)
        world.run(2.0)
        assert share.id not in asyncio.run(look()).taken
        own.clear()
        world.run(2.0)
        assert share.id in asyncio.run(look()).taken
    finally:
        sampler.close()
