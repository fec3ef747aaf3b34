"""Virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swangpu.ports import Clock
from swangpu.simulation.world import VirtualClock, World


def test_the_wall_clock_jumps_and_the_other_does_not() -> None:
    clock = VirtualClock(1000.0)
    port: Clock = clock
    clock.advance(5.0)
    clock.jump(-3600.0)
    assert (port.now(), port.monotonic()) == (1000.0 + 5.0 - 3600.0, 5.0)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1.0)


@given(st.lists(st.floats(-5.0, 100.0), max_size=30), st.floats(0.0, 120.0))
def test_what_is_due_happens_in_order_and_on_time(delays: list[float], for_s: float) -> None:
    world = World()
    done: list[tuple[float, int]] = []
    for n, delay in enumerate(delays):
        world.at(delay, lambda n=n: done.append((world.clock.monotonic(), n)))  # type: ignore[misc]
    world.run(for_s)
    due = [(max(0.0, d), n) for n, d in enumerate(delays) if d <= for_s]
    assert done == sorted(due)
    assert world.clock.monotonic() == for_s


def test_what_is_planned_may_plan() -> None:
    world = World()
    ticks: list[float] = []
    world.every(10.0, lambda: ticks.append(world.clock.monotonic()))
    world.run(35.0)
    world.run(10.0)
    assert ticks == [10.0, 20.0, 30.0, 40.0]
    with pytest.raises(ValueError, match="longer than nothing"):
        world.every(0.0, lambda: None)


def test_processes_use_time_at_their_rate() -> None:
    world = World()
    world.processes.start(1, cpu=0.5, rss_bytes=7)
    world.run(10.0)
    world.processes.change(1, cpu=0.0)
    world.run(10.0)
    reading = world.processes.read(1)
    assert reading is not None
    assert (reading.cpu_s, reading.rss_bytes) == (5.0, 7)
    world.processes.end(1)
    assert world.processes.read(1) is None
