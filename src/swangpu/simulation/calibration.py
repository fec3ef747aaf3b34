"""Whether estimates of waiting times hold: what was foreseen of each wait, against how long it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..broker import commands as cmd
from ..broker.estimate import estimate_wait
from ..broker.queue import ahead_of
from ..broker.state import BrokerState, Changes
from ..domain.sessions import Session, SessionState
from .shared import SharedSite

__all__ = ["Calibration", "Foreseen", "WatchedSite", "calibrate"]


#: floats of Unix seconds are not exact
EXACT_S = 0.001


@dataclass(frozen=True)
class Foreseen:
    """One wait: what was said when it began, None when nothing was, and how long it was. Seconds."""

    at: float
    p50_s: float | None
    p90_s: float | None
    basis: str
    waited_s: float


@dataclass(frozen=True)
class Calibration:
    """Of those who had to wait and were told something: the parts that waited no longer than what was said.

    Attributes
    ----------
    unknown_part : float
        Of those who had to wait, the part to whom "not known yet" was said.
    error_p50_s : float
        Half of the estimates were off by less.
    """

    waits: int
    unknown_part: float
    under_p50: float
    under_p90: float
    error_p50_s: float


class WatchedSite(SharedSite):
    """A site that remembers what it has foreseen.

    Attributes
    ----------
    foreseen : list of Foreseen
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.foreseen: list[Foreseen] = []
        self._open: dict[str, tuple[float, float | None, float | None, str]] = {}
        super().__init__(*args, **kwargs)
        self.around.foresee = self._foresee

    def _foresee(self, row: Session) -> None:
        if row.state is not SessionState.QUEUED:
            return
        state = self.desk.state
        ahead = sum(s.request.count for s in ahead_of(state, row))
        said = estimate_wait(state, row.request, ahead, state.now)
        if said is None:
            self._open[row.id] = (state.now, None, None, "")
        else:
            self._open[row.id] = (state.now, said.p50_s, said.p90_s, said.basis)

    def _watch(self, state: BrokerState, changes: Changes, commands: list[cmd.Command]) -> None:
        super()._watch(state, changes, commands)
        if not self._open:
            return
        for session_id, row in changes.sessions.items():
            if session_id in self._open and row is not None and row.state is not SessionState.QUEUED:
                at, p50_s, p90_s, basis = self._open.pop(session_id)
                if row.ready_at is not None:
                    self.foreseen.append(Foreseen(at, p50_s, p90_s, basis, row.ready_at - at))


def calibrate(rows: Sequence[Foreseen], *, after: float = 0.0) -> Calibration:
    """How estimates held.

    Parameters
    ----------
    after : float
        Unix seconds; who came before is left out, since there was nothing to go by until then.

    Notes
    -----
    Many waits are as long as a move takes, and are foreseen to the second. Who waited just as long as was said, to the
    second, counts half as below the median and half as above it, as is usual where values pile up.
    """
    late = [r for r in rows if r.at >= after]
    told = [(r.waited_s, r.p50_s, r.p90_s) for r in late if r.p50_s is not None and r.p90_s is not None]
    errors = sorted(abs(waited - p50) for waited, p50, _ in told)
    count = max(1, len(told))
    return Calibration(
        waits=len(late),
        unknown_part=1.0 - len(told) / len(late) if late else 0.0,
        under_p50=sum(0.5 if abs(waited - p50) < 1.0 else float(waited < p50) for waited, p50, _ in told) / count,
        under_p90=sum(waited <= p90 + EXACT_S for waited, _, p90 in told) / count,
        error_p50_s=errors[len(errors) // 2] if errors else 0.0,
    )
