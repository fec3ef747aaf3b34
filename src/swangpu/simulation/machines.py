"""What really runs at a simulated site: backends and kernels that do what the broker commands, in their own time.

The broker is believed in nothing. Whoever starts on a share where somebody else still runs stops the simulation.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..broker import commands as cmd
from ..broker import events as ev
from ..broker.exclusion import conflict
from ..domain.devices import Share, ShareKind
from ..domain.sessions import ComesBack, PausePhase, Session, SessionState
from .site import Site
from .world import World

__all__ = ["Broken", "Kernel", "Machines"]

#: bound once: a test that breaks the broker's own idea of a conflict must not break ours
_CONFLICT = conflict
#: at most this part of a share may be filled with what offloaded kernels leave there
CONTEXTS_PART = 0.5


class Broken(AssertionError):
    """Something has happened that must never happen."""


class Kernel(Protocol):
    """The process of a notebook, as the site sees it."""

    methods: tuple[str, ...]
    used_bytes: int

    @property
    def computes(self) -> bool:
        """Whether a cell runs."""

    @property
    def waits(self) -> bool:
        """Whether a cell waits behind the gate."""

    def up(self, *, resumed: bool) -> None:
        """It is on its GPU and the gate is open, for the first time or again."""

    def down(self) -> None:
        """The process has ended."""


@dataclass(slots=True, eq=False)
class _Work:
    """One session's process.

    Attributes
    ----------
    resident_bytes : int
        What has stayed on its device, though its shares are free for others.
    context_on : str or None
        The share on which it has left its context.
    turn : int
        What was begun before is overtaken.
    """

    id: str
    kernel: Kernel
    shares: tuple[Share, ...]
    phase: str = "starting"
    attached: bool = False
    method: str = ""
    saved_bytes: int = 0
    resident_bytes: int = 0
    context_on: str | None = None
    turn: int = 0


class Machines:
    """Carries out `StartWork`, `StopWork`, `AttachKernel`, `PauseWork` and `ResumeWork`.

    Parameters
    ----------
    world : World
    site : Site
    remap : bool
        Whether a checkpoint can be brought back on another device.
    report : callable
        Sends an event to the broker.
    kernel_of : callable
        The kernel of a session.
    session_of : callable
        The broker's session, to be read only.
    """

    def __init__(
        self,
        world: World,
        site: Site,
        remap: bool,
        rng: random.Random,
        report: Callable[[ev.Event], None],
        kernel_of: Callable[[str], Kernel],
        session_of: Callable[[str], Session | None],
    ) -> None:
        self._world, self._site, self._remap, self._rng = world, site, remap, rng
        self._report, self._kernel_of, self._session_of = report, kernel_of, session_of
        self.works: dict[str, _Work] = {}
        self._on_device: dict[str, dict[str, tuple[Share, str]]] = {}
        self._moving: dict[str, int] = {}
        self._contexts: dict[str, int] = {}
        self.host_bytes = 0
        self.host_peak_bytes = 0
        self.moves = 0
        self.moved_bytes = 0
        #: how often a session has stayed on its device, and how often one was moved out later
        self.stays = 0
        self.moved_out = 0
        self.faults = site.faults

    # -- asking -----------------------------------------------------------------------------------

    def phase(self, session_id: str) -> str:
        """``starting``, ``open``, ``resident``, ``saving``, ``saved``, ``restoring``, ``stopping``, or ``gone``."""
        work = self.works.get(session_id)
        return work.phase if work is not None else "gone"

    # -- commands ---------------------------------------------------------------------------------

    def carry_out(self, command: cmd.Command) -> None:
        """Begin what is commanded; commanded twice it is done once."""
        if isinstance(command, cmd.StartWork):
            self._start(command.session_id)
        elif isinstance(command, cmd.AttachKernel):
            self._attach(command.session_id)
        elif isinstance(command, cmd.StopWork):
            self._stop(command.session_id)
        elif isinstance(command, cmd.PauseWork):
            self._pause(command)
        elif isinstance(command, cmd.ResumeWork):
            self._resume(command.session_id)

    def reconcile(self) -> None:
        """After a crash of the shell: say what is there."""
        for work in list(self.works.values()):
            if work.phase != "starting":
                self._report(ev.WorkStarted(work.id))
            if work.phase == "open":
                self._attach(work.id)
                self._report(ev.ActivityReported(work.id, work.kernel.computes))

    def vanish(self) -> None:
        """A process dies without our doing."""
        open_ones = [w for w in self.works.values() if w.phase in ("open", "resident") and w.attached]
        if open_ones:
            work = self._rng.choice(open_ones)
            self._gone(work)
            self._report(ev.WorkVanished(work.id))

    def _start(self, session_id: str) -> None:
        session = self._session_of(session_id)
        # What the real shell checks too: a start that was overtaken by a stop is not carried out.
        if session is None or session.state is not SessionState.READY or session.claimed_at is None:
            return
        work = self.works.get(session_id)
        if work is not None:
            if work.phase == "open":
                self._report(ev.WorkStarted(session_id))
            return
        if self._fails(self.faults.start_fails):
            self._report(ev.WorkFailed(session_id, "start_failed", "It failed."))
            return
        work = self.works[session_id] = _Work(session_id, self._kernel_of(session_id), session.shares)
        self._occupy(work)
        self._after(work, self._site.start_s, self._started)

    def _started(self, work: _Work) -> None:
        work.phase = "open"
        self._report(ev.WorkStarted(work.id))

    def _attach(self, session_id: str) -> None:
        work = self.works.get(session_id)
        if work is None or work.phase != "open":
            return
        self._report(ev.KernelAttached(session_id, f"kernel-{session_id}", None, work.kernel.methods))
        if not work.attached:
            work.attached = True
            work.kernel.up(resumed=False)

    def _stop(self, session_id: str) -> None:
        session = self._session_of(session_id)
        if session is None or session.state is not SessionState.ENDING:
            return
        work = self.works.get(session_id)
        if work is None:
            self._report(ev.WorkStopped(session_id))
            return
        if work.phase == "stopping" or self._fails(self.faults.stop_fails):
            return
        work.phase = "stopping"
        work.kernel.down()
        self._after(work, self._site.stop_s, self._stopped)

    def _stopped(self, work: _Work) -> None:
        self._gone(work)
        self._report(ev.WorkStopped(work.id))

    # -- putting aside and bringing back ----------------------------------------------------------

    def _pause(self, command: cmd.PauseWork) -> None:
        session_id, methods = command.session_id, command.methods
        session, work = self._session_of(session_id), self.works.get(session_id)
        pause = session.pause if session is not None else None
        if pause is None or pause.phase is not PausePhase.SAVING:
            return
        if work is None or work.phase in ("starting", "stopping"):
            self._report(ev.PauseFailed(session_id, "no_kernel", "There is no kernel."))
        elif work.phase == "saved" or (work.phase == "resident" and not command.leaves):
            self._say_saved(work)
        elif work.phase in ("open", "resident"):
            if work.kernel.computes:
                self._report(ev.PauseFailed(session_id, "kernel_busy", "A cell runs."))
                return
            ways = [m for m in methods if m in work.kernel.methods]
            method = next((m for m in ways if self._possible(work, m)), None)
            if ways[:1] == ["offload"] and 0 < self._on_it(work) <= command.stays_bytes:
                self._stay(work)
            elif method is None:
                self._report(ev.PauseFailed(session_id, "not_saved", "There is no room for it."))
            elif self._fails(self.faults.pause_fails):
                self._pause_fails(work)
            else:
                self.moved_out += work.phase == "resident"
                work.phase, work.method, work.saved_bytes = "saving", method, self._bytes_of(work, method)
                self.host_bytes += work.saved_bytes
                self.host_peak_bytes = max(self.host_peak_bytes, self.host_bytes)
                self._move(work, self._saved)

    def _pause_fails(self, work: _Work) -> None:
        lost = self._fails(self.faults.lost)
        if lost:
            self._gone(work)
        self._report(ev.PauseFailed(work.id, "checkpoint_failed", "It failed.", lost=lost))

    def _stay(self, work: _Work) -> None:
        """It waits behind its gate, and nothing is moved."""
        work.phase, work.method, work.resident_bytes = "resident", "resident", self._on_it(work)
        self.stays += 1
        self._leave(work)
        self._say_saved(work)

    def _on_it(self, work: _Work) -> int:
        """What a process has on its device, its context included; 0 where it has never opened it."""
        used = work.kernel.used_bytes
        return used + self._site.context_bytes if used else 0

    def _saved(self, work: _Work) -> None:
        work.phase, work.resident_bytes = "saved", 0
        if work.method == "offload" and work.saved_bytes:
            work.context_on = work.shares[0].id
            self._contexts[work.context_on] = self._contexts.get(work.context_on, 0) + self._site.context_bytes
        self._leave(work)
        self._say_saved(work)

    def _say_saved(self, work: _Work) -> None:
        back, stays = self._comes_back(work), work.resident_bytes
        self._report(ev.PauseSaved(work.id, work.method, work.saved_bytes, comes_back=back, resident_bytes=stays))

    def _comes_back(self, work: _Work) -> ComesBack:
        if work.method == "carry" or (self._site.untouched_anywhere and not work.kernel.used_bytes):
            return ComesBack.ANYWHERE
        return ComesBack.FLAVOR if work.method == "checkpoint" and self._remap else ComesBack.DEVICE

    def _resume(self, session_id: str) -> None:
        session, work = self._session_of(session_id), self.works.get(session_id)
        pause = session.pause if session is not None else None
        if session is None or pause is None or pause.phase is not PausePhase.RESTORING:
            return
        if work is None:
            self._report(ev.ResumeFailed(session_id, "gone", "Its kernel is gone.", lost=True))
        elif work.phase == "open":
            self._report(ev.ResumeDone(session_id, busy=work.kernel.computes))
        elif work.phase in ("saved", "resident"):
            if self._fails(self.faults.resume_fails):
                lost = self._fails(self.faults.lost)
                if lost:
                    self._gone(work)
                self._report(ev.ResumeFailed(session_id, "not_restored", "It does not fit.", lost=lost))
                return
            came_from = work.shares
            has_something = work.kernel.used_bytes or not self._site.untouched_anywhere
            bound = has_something and work.method in ("offload", "resident")
            if bound and came_from[0].kind is ShareKind.MIG and came_from != session.shares:
                raise Broken(f"{session_id} was on {came_from[0].id} and can't come back on {session.shares[0].id}")
            if self._comes_back(work) is ComesBack.FLAVOR and came_from[0].flavor != session.shares[0].flavor:
                raise Broken(f"{session_id} was on {came_from[0].flavor} and can't go on with {session.flavor}")
            stayed, work.resident_bytes = work.phase == "resident", 0
            work.phase, work.shares = "restoring", session.shares
            self._occupy(work)
            if stayed:
                self._restored(work)
                return
            self._forget_context(work)
            self._move(work, self._restored)

    def _restored(self, work: _Work) -> None:
        work.phase = "open"
        self.host_bytes -= work.saved_bytes
        work.saved_bytes = 0
        self._report(ev.ResumeDone(work.id, busy=work.kernel.waits))
        work.kernel.up(resumed=True)

    def _possible(self, work: _Work, method: str) -> bool:
        share, site = work.shares[0], self._site
        if site.host_bytes is not None and self.host_bytes + self._bytes_of(work, method) > site.host_bytes:
            return False
        if method == "checkpoint":
            # NVIDIA/cuda-checkpoint does not work with MIG
            return share.kind is not ShareKind.MIG
        if method == "offload" and work.kernel.used_bytes:
            left = self._contexts.get(share.id, 0) + site.context_bytes
            return left <= CONTEXTS_PART * share.memory_bytes
        return True

    def _bytes_of(self, work: _Work, method: str) -> int:
        used = work.kernel.used_bytes
        return used + (self._site.context_bytes if method == "checkpoint" and used else 0)

    def _move(self, work: _Work, then: Callable[[_Work], None]) -> None:
        site, device = self._site, work.shares[0].device_uuid
        carry_s = site.carry_s if work.phase == "saving" else site.restart_s
        overheads = {"offload": site.offload_s, "carry": carry_s, "checkpoint": site.checkpoint_s}
        overhead_s = overheads.get(work.method, 0.0)
        self._moving[device] = self._moving.get(device, 0) + 1
        self.moves += 1
        self.moved_bytes += work.saved_bytes

        def done() -> None:
            self._moving[device] -= 1

        seconds = overhead_s + work.saved_bytes * self._moving[device] / site.bandwidth_bytes_s
        self._world.at(seconds, done)
        self._after(work, seconds, then)

    # -- inside -----------------------------------------------------------------------------------

    def _after(self, work: _Work, seconds: float, then: Callable[[_Work], None]) -> None:
        work.turn += 1
        turn = work.turn
        if self._fails(self.faults.slow):
            seconds *= 30.0

        def act() -> None:
            if work.turn == turn and self.works.get(work.id) is work:
                then(work)

        self._world.at(seconds, act)

    def _fails(self, part: float) -> bool:
        return part > 0.0 and self._rng.random() < part

    def _occupy(self, work: _Work) -> None:
        for share in work.shares:
            rows = self._on_device.setdefault(share.device_uuid, {})
            for other, whose in rows.values():
                if whose != work.id and _CONFLICT(share, other):
                    raise Broken(f"{work.id} starts on {share.id} where {whose} still runs")
            rows[share.id] = (share, work.id)
            stay = sum(w.resident_bytes for w in self.works.values() if w is not work and _stays_beside(w, share))
            if stay and stay + work.kernel.used_bytes > share.memory_bytes:
                raise Broken(f"{work.id} starts on {share.id} and does not fit beside {stay} bytes that have stayed")

    def _leave(self, work: _Work) -> None:
        for share in work.shares:
            rows = self._on_device.get(share.device_uuid, {})
            if share.id in rows and rows[share.id][1] == work.id:
                del rows[share.id]

    def _gone(self, work: _Work) -> None:
        self._forget_context(work)
        work.turn += 1
        self.host_bytes -= work.saved_bytes
        work.saved_bytes = 0
        self._leave(work)
        self.works.pop(work.id, None)
        if work.phase != "stopping":
            work.kernel.down()

    def _forget_context(self, work: _Work) -> None:
        if work.context_on is not None:
            self._contexts[work.context_on] -= self._site.context_bytes
            work.context_on = None


def _stays_beside(work: _Work, share: Share) -> bool:
    return work.resident_bytes > 0 and any(_CONFLICT(mine, share) for mine in work.shares)
