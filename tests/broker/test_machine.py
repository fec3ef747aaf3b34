"""At least 200,000 events are handled by the state machine of `broker.machine` on each full run."""

from __future__ import annotations

import os

import pytest

from broker import machine

WANTED_STEPS = int(os.environ.get("SWANGPU_MACHINE_STEPS", "200000"))
#: so many at a time, of some 7,000 events each
EXAMPLES = 10


@pytest.mark.timeout(1200)
def test_nothing_is_held_twice_leaked_or_forgotten() -> None:
    while machine.steps_taken < WANTED_STEPS:
        machine.run(EXAMPLES)
    assert machine.steps_taken >= WANTED_STEPS
