"""People at notebooks whose GPUs the broker gives and takes: they ask, run cells, wait, give up, come back, leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..broker import events as ev
from ..domain.sessions import Carry, Request, Session, SessionState
from .desk import Desk
from .machines import Machines
from .meter import Outcome
from .workload import Visit
from .world import World

__all__ = ["Person", "Surroundings"]

#: somebody who closes a notebook does so a minute after its last cell
CLOSES_S = 60.0
#: a request that was not heard of is made again after so long, and so often at most
ASKS_AGAIN_S, MOST_REQUESTS = 10.0, 50


@dataclass
class Surroundings:
    """What people of one simulation share.

    Attributes
    ----------
    lease_s : float
        For how long they ask, and by how much they extend.
    foresee : callable
        Told of a session that has just been asked for: estimates are compared with what comes.
    """

    world: World
    desk: Desk
    machines: Machines
    outcome: Outcome
    lease_s: float
    refresh: Callable[[str], None]
    foresee: Callable[[Session], None] | None = None


class Person:
    """One stay of one person, and the kernel of their notebook.

    Parameters
    ----------
    around : Surroundings
    visit : Visit
    own : callable
        Told the id of each session that this person asks for.
    """

    def __init__(self, around: Surroundings, visit: Visit, own: Callable[[str, Person], None]) -> None:
        self._a, self.visit, self._own = around, visit, own
        self.methods, self.used_bytes = visit.methods, visit.used_bytes
        self.computes = False
        self.waits = False
        self.session_id: str | None = None
        self.left = False
        self._number = 0
        self._asked = 0
        self._since = 0.0
        self._up = False
        self._first = True
        self._lost_work_s = 0.0
        #: what was planned before is overtaken: the end of a cell, and the next one
        self._turn = 0
        self._plan = 0

    # -- what a person does -----------------------------------------------------------------------

    def arrive(self) -> None:
        """Ask for a GPU, to run the first cell on it."""
        self._a.outcome.visits += 1
        self._want()

    def told(self, row: Session) -> None:
        """Something about the session has changed."""
        if row.id != self.session_id:
            return
        if row.state is SessionState.READY and row.claimed_at is None:
            self._a.desk.post(ev.Claimed(row.id))
        elif row.state is SessionState.ENDED:
            self.session_id = None
            self._a.outcome.ends[row.end_reason.value if row.end_reason else ""] = (
                self._a.outcome.ends.get(row.end_reason.value if row.end_reason else "", 0) + 1
            )
            if not self.left and (self.waits or self._first):
                # a cell waits: ask again, as the person would
                self._a.world.at(5.0, self._ask_again)

    def warned(self, code: str) -> None:
        """A notice has come; whoever has more to do extends a lease, wherever they are."""
        if code == "lease_ends" and not self.left and self.session_id is not None:
            self._a.desk.post(ev.Extended(self.session_id, self._a.lease_s))

    def _want(self) -> None:
        """A cell is to run."""
        self._since = self._a.world.clock.monotonic()
        self.waits = True
        if self.session_id is None:
            self._ask()
        elif self._up and self._a.machines.phase(self.session_id) == "open":
            self._begin(tell=True)
        else:
            # it is held behind the gate; the agent says that the kernel has something to do
            self._knock(self.session_id)

    def _knock(self, session_id: str) -> None:
        """A report can be lost; the agent says it again while the cell waits."""
        if not self.waits or self.session_id != session_id or not self._up:
            return
        self._a.desk.report(ev.ActivityReported(session_id, True), late=False)
        if self._a.desk.faults.report_lost and self.waits:
            self._a.world.at(60.0, lambda: self._knock(session_id))

    def _ask_again(self) -> None:
        if self.session_id is None and not self.left and (self.waits or self._first):
            self._ask()

    def _ask(self) -> None:
        v = self.visit
        self._asked += 1
        self.session_id = session_id = f"{v.id}.{self._asked}"
        self._up = False
        self._own(session_id, self)
        request = Request(
            memory_bytes=v.memory_bytes, duration_s=self._a.lease_s, attach_kernel_id=v.id, carry=Carry.ALL
        )
        self._a.desk.post(ev.Requested(session_id, v.user, request, None, v.group))
        row = self._a.desk.session(session_id)
        if row is not None and self._a.foresee is not None:
            self._a.foresee(row)
        if row is None:
            self._a.world.at(ASKS_AGAIN_S, lambda: self._unheard(session_id))
        if row is None or row.state is SessionState.QUEUED:
            self._a.world.at(max(1.0, v.patience_s), lambda: self._impatient(session_id))

    def _unheard(self, session_id: str) -> None:
        """The shell died with the request, or refused it: it is made again, a few times."""
        if self.left or self.session_id != session_id or self._a.desk.session(session_id) is not None:
            return
        self.session_id = None
        if self._asked < MOST_REQUESTS:
            self._ask()
        else:
            self._give_up()

    def _impatient(self, session_id: str) -> None:
        row = self._a.desk.session(session_id)
        if self.session_id == session_id and row is not None and row.state is SessionState.QUEUED:
            self._give_up()

    def _give_up(self) -> None:
        self._waited(self._a.world.clock.monotonic() - self._since)
        self._a.outcome.gave_up += 1
        self._leave(closes=True)

    # -- what the kernel does ---------------------------------------------------------------------

    def up(self, *, resumed: bool) -> None:
        """Its gate is open: what waits begins."""
        self._up = True
        if self.waits:
            self._begin(tell=not resumed)

    def down(self) -> None:
        """Its process has ended."""
        was_up, self._up = self._up, False
        running, self.computes = self.computes, False
        self._turn += 1
        if self.left or not was_up:
            return
        self._a.outcome.killed += 1
        self._a.outcome.lost_work_s += self._lost_work_s
        self._lost_work_s = 0.0
        if running:
            # it is run again, from its beginning
            self._want_later(30.0)

    def _begin(self, *, tell: bool) -> None:
        cell = self.visit.cells[self._number]
        self._waited(self._a.world.clock.monotonic() - self._since)
        self._first, self.waits, self.computes = False, False, True
        self._turn += 1
        turn = self._turn
        assert self.session_id is not None  # noqa: S101 - nothing runs without one
        self._a.refresh(self.session_id)
        if tell:
            self._a.desk.post(ev.ActivityReported(self.session_id, True))
        self._a.world.at(cell.run_s, lambda: self._end(turn))

    def _end(self, turn: int) -> None:
        if turn != self._turn:
            return
        cell = self.visit.cells[self._number]
        self.computes = False
        self._lost_work_s += cell.run_s
        self._number += 1
        outcome, waited = self._a.outcome, self._a.world.clock.monotonic() - self._since
        outcome.ran_s += cell.run_s
        outcome.took_s += cell.run_s
        got, took = outcome.stretch.get(self.visit.user, (0.0, 0.0))
        outcome.stretch[self.visit.user] = (got + cell.run_s, took + max(cell.run_s, waited))
        if self.session_id is not None:
            self._a.refresh(self.session_id)
            self._a.desk.post(ev.ActivityReported(self.session_id, False))
        if self._number < len(self.visit.cells):
            self._want_later(self.visit.cells[self._number].gap_s)
        elif self.visit.closes:
            self._a.world.at(CLOSES_S, lambda: self._leave(closes=True))
        else:
            self._leave(closes=False)

    def _want_later(self, in_s: float) -> None:
        self._plan += 1
        plan = self._plan
        self._a.world.at(in_s, lambda: self._want() if plan == self._plan and not self.left else None)

    def _leave(self, *, closes: bool) -> None:
        if self.left:
            return
        self.left = True
        self.waits = False
        self._plan += 1
        if closes and self.session_id is not None:
            self._a.desk.post(ev.Released(self.session_id, undoable=self._up))

    def _waited(self, seconds: float) -> None:
        outcome = self._a.outcome
        outcome.longest_wait_s = max(outcome.longest_wait_s, seconds)
        if not self._first:
            outcome.cell_waits.append(seconds)
        else:
            outcome.session_waits.append(seconds)
