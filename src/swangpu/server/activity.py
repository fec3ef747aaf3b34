"""Whether a session works: a cell of its kernels runs, or its GPU does something without one.

A session is idle when both are still. The GPU is judged by its utilization where the driver gives one, and else by its
memory: what allocates and frees is at work (an A100's MIG devices tell no more than that). What is not known about the
GPU is left out, and the kernel alone decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..domain.sessions import Session, SessionState
from ..domain.telemetry import Sample
from ..ports import KernelInfo

__all__ = ["Activity"]

#: what a desktop, a monitoring tool or a context that only exists may use, in percent
STILL_PERCENT = 3.0
#: memory that moves by less than this from one reading to the next is still
STILL_BYTES = 16 * 2**20


@dataclass
class _Known:
    cell: bool = False
    gpu: bool = False
    memory_bytes: int | None = None
    told: bool | None = field(default=None)

    @property
    def busy(self) -> bool:
        return self.cell or self.gpu


class Activity:
    """Puts together what kernels and readings say, and tells when it changes.

    Parameters
    ----------
    tell : callable
        Called with session id and whether it works, when that has changed.
    kernels : callable
        All kernels that are known: a session works as long as one of its own does.
    """

    def __init__(
        self, tell: Callable[[str, bool], None], kernels: Callable[[], Iterable[KernelInfo]] = lambda: ()
    ) -> None:
        self._tell = tell
        self._kernels = kernels
        self._known: dict[str, _Known] = {}

    def cell(self, session_id: str, busy: bool) -> None:
        """A cell of one of the session's kernels has begun or ended to run, or to wait at the gate."""
        known = self._known.setdefault(session_id, _Known())
        before, known.cell = known.cell, busy or self._runs(session_id)
        # One that begins is told in any case: the GPU, for which it may wait, was at work when the session was paused.
        self._say(session_id, known, again=known.cell and not before)

    def look(self, sessions: Iterable[Session], sample_of: Callable[[Session], Sample | None]) -> None:
        """Take a reading of what is held; what is not held any more, or is paused, is forgotten.

        Behind a closed gate only a cell that waits is news, and what comes back is as the broker says. A command's work
        is its process.
        """
        works = {s.id: s for s in sessions if s.state is SessionState.ACTIVE and s.kernel_ids}
        for session_id in self._known.keys() - works.keys():
            del self._known[session_id]
        for session_id, session in works.items():
            known, sample = self._known.setdefault(session_id, _Known(session.busy)), sample_of(session)
            known.gpu = sample is not None and self._works(known, sample)
            # Its broker has looked for itself, perhaps, and the cell was over before it was heard of here.
            self._say(session_id, known, again=known.told is False and session.busy)

    def _runs(self, session_id: str) -> bool:
        return any(k.session_id == session_id and k.execution_state == "busy" for k in self._kernels())

    def _works(self, known: _Known, sample: Sample) -> bool:
        before, known.memory_bytes = known.memory_bytes, sample.memory_used_bytes
        if sample.utilization_percent is not None:
            return sample.utilization_percent > STILL_PERCENT
        if before is None or sample.memory_used_bytes is None:
            return False
        return abs(sample.memory_used_bytes - before) > STILL_BYTES

    def _say(self, session_id: str, known: _Known, *, again: bool = False) -> None:
        if again or known.told != known.busy:
            known.told = known.busy
            self._tell(session_id, known.busy)
