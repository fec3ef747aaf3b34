"""A checkpointer on the stand-ins of driver and program."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

from suspend.sim import MODEL, CudaSim, View, machine
from swangpu.kernels import checkpoint_record
from swangpu.kernels.checkpoint import Checkpointer, Outcome
from swangpu.kernels.checkpoint_record import Passed
from swangpu.kernels.checkpoint_room import Room

PASSED = Passed("boot", "580.65.06", "digest", os.getuid(), {MODEL: True})


def checkpointer(
    sim: CudaSim, *, view: View | None = None, passed: Passed | None = PASSED, **more: Any
) -> Checkpointer:
    record = sim.folder / "record.json"
    if passed is not None:
        checkpoint_record.write(record, passed)
    more.setdefault("look", lambda program, driver: machine(sim, driver_version=driver))
    more.setdefault("room", lambda pid: Room(2**40, "machine"))
    return Checkpointer(view or View(sim), record=record, **more)


def run(work: Coroutine[Any, Any, Outcome]) -> Outcome:
    return asyncio.run(work)
