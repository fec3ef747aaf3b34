"""How the kernels of a server are put aside: what the driver tells `Checkpointer` comes from the sampler."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..kernels.carry_method import Carry
from ..kernels.checkpoint import Checkpointer, DeviceReading, Held
from ..kernels.checkpoint_method import Checkpoint
from ..kernels.checkpoint_view import held_of, reading_of
from ..kernels.suspend import Suspender

if TYPE_CHECKING:
    from ..telemetry.sampler import Sampler, Snapshot

__all__ = ["SampledView", "make_suspender"]


class SampledView:
    """Implements `swangpu.kernels.checkpoint.DeviceView` on the sampler, by a reading of its own each time.

    Parameters
    ----------
    sampler : callable
        The sampler of this server, made when it is first needed. Called on a thread.
    """

    def __init__(self, sampler: Callable[[], Sampler]) -> None:
        self._sampler = sampler

    def read(self) -> DeviceReading:
        now = self._now()
        return reading_of(now.status, now.devices.values(), now.samples)

    def held_by(self, pids: Collection[int]) -> Sequence[Held] | None:
        now = self._now()
        return held_of(now.status, now.devices.values(), now.samples, pids)

    def _now(self) -> Snapshot:
        # it always comes: of a driver that hangs the sampler says so after some seconds
        return self._sampler().refresh().result()


def make_suspender(sampler: Callable[[], Sampler] | None, program: str, folder: Path) -> Suspender:
    """What this server can do to put kernels aside.

    Parameters
    ----------
    sampler : callable or None
        As for `SampledView`; None where there is no real device to checkpoint.
    program : str
        NVIDIA's program as it is configured, empty where it is to be looked for.
    folder : Path
        Where variables go that are carried.
    """
    checkpoint = Checkpoint(Checkpointer(SampledView(sampler), program=program)) if sampler is not None else None
    return Suspender(checkpoint, Carry(folder))
