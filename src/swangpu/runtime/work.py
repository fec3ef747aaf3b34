"""Carries out the broker's commands through the ports.

Every command can come twice and is then done once; commands of one session are done in order, those of different
sessions side by side. What fails is reported to the broker, which decides what follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from ..backends.share_env import as_asked
from ..broker import commands as cmd
from ..broker import events as ev
from ..domain.sessions import ON_DISK, Carry, ComesBack, PausePhase, Session, SessionState
from ..errors import Conflict, LedgerUnavailable, NotFound, SwanGpuError
from ..ports import Backend, KernelHost, KernelInfo, Resumption, StartSpec, Suspension
from ..tasks import end, within
from .kernels import look_for

if TYPE_CHECKING:
    from ..broker.state import BrokerState

__all__ = ["Work"]

log = logging.getLogger(__name__)

#: a kernel that is told to restart for a detach and does not come back in this time is left to its own host; saving
#: and loading its variables takes time too
DETACH_TIMEOUT_S = {Carry.ALL: 90.0, Carry.NONE: 30.0}
DONE_HERE = (cmd.StartWork, cmd.StopWork, cmd.AttachKernel, cmd.PauseWork, cmd.ResumeWork)
#: first and longest pause before a report that could not be made durable is made again
REPORT_RETRY_S = (0.2, 5.0)
NOT_SAVED = "What it has on the device could not be moved."


class Work:
    """Starts, stops and attaches.

    Parameters
    ----------
    backends : mapping of str to Backend
    kernels : KernelHost or None
        None where there are no kernels of ours (a command-line tool, a test).
    report : callable
        Feeds an event to the broker and returns when it is durable.
    state : callable
        The broker's present state, to be read only.
    left : callable
        Told what a kernel had to leave behind: its id, the session's, names of variables, or why it was all of them.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        kernels: KernelHost | None,
        report: Callable[[ev.Event], Awaitable[object]],
        state: Callable[[], BrokerState],
        left: Callable[[str, str, Sequence[str], str], None] = lambda kernel_id, session_id, names, why: None,
    ) -> None:
        self._backends = backends
        self.kernels = kernels
        self._report_once = report
        self._state = state
        self._left = left
        self._queues: dict[str, asyncio.Queue[cmd.Command]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def do(self, command: cmd.Command) -> None:
        """Carry out a command behind those of the same session that came before."""
        if not isinstance(command, DONE_HERE):
            return
        queue = self._queues.get(command.session_id)
        if queue is None:
            queue = self._queues[command.session_id] = asyncio.Queue()
            task = asyncio.create_task(self._drain(command.session_id, queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        queue.put_nowait(command)

    async def close(self) -> None:
        """Abandon what is under way; it is commanded again after the next start."""
        await end(*self._tasks)

    async def report(self, event: ev.Event) -> None:
        """Tell the broker, again and again while the ledger is away: a report must not be lost."""
        pause_s, longest_s = REPORT_RETRY_S
        while True:
            try:
                await self._report_once(event)
            except LedgerUnavailable:
                await asyncio.sleep(pause_s)
                pause_s = min(longest_s, 2 * pause_s)
            except SwanGpuError as error:
                log.debug("The broker did not take %s: %s", type(event).__name__, error)
                return
            else:
                return

    def environment(self, session: Session) -> dict[str, str | None]:
        """The environment of the session's shares; None unsets a variable."""
        backend = self._backends.get(session.pool or "")
        if not session.shares or backend is None:
            return {}
        env = as_asked(backend.environment(session.shares), session.shares, session.request.memory_bytes)
        return {**env, "SWANGPU_SESSION_ID": session.id}

    async def attach(self, session: Session, kernel_id: str, carry: Carry, *, in_place: bool = False) -> None:
        """Put a kernel on a session and report it.

        Raises
        ------
        NotFound, Conflict
            From the kernel host; the session is as before.
        """
        if self.kernels is None:
            raise Conflict("There are no kernels to attach here.", code="no_kernels")
        # The lock keeps a stop of this session waiting until the kernel is on it: a kernel that comes to shares
        # after they were given back would use what somebody else holds.
        async with self._lock(session.id):
            now = self._state().sessions.get(session.id)
            if now is None or now.state not in (SessionState.ACTIVE, SessionState.PAUSED):
                raise Conflict("The session has ended meanwhile.", code="session_ended")
            if now.state is SessionState.PAUSED:
                # It may hold nothing: a kernel without the environment of shares sees every GPU.
                raise Conflict("The session is paused.", hint="Resume it first.", code="session_paused")
            if in_place:
                await self.kernels.bind_in_place(kernel_id, session.id, self.environment(now))
            else:
                await self.kernels.attach(kernel_id, session.id, self.environment(now), carry)
            known = next((k for k in self.kernels.kernels() if k.kernel_id == kernel_id), None)
            path, methods = (known.path, known.pause_methods) if known is not None else (None, ())
            await self.report(ev.KernelAttached(session.id, kernel_id, path, methods))

    async def take_in(self, kernel: KernelInfo) -> None:
        """Believe a kernel that says it is on a session, or take it off what that no longer has.

        Raises
        ------
        LedgerUnavailable
        """
        if self.kernels is None or kernel.session_id is None:
            return
        # The lock: a gate that is closed here must not be one that has just been opened.
        async with self._lock(kernel.session_id):
            found = self._state().sessions.get(kernel.session_id)
            if found is None or not (found.shares or found.state is SessionState.PAUSED):
                # A kernel on shares that nobody holds: take it off before they are given to somebody else.
                with contextlib.suppress(SwanGpuError):
                    await self.kernels.detach(kernel.kernel_id, kernel.session_id, Carry.NONE)
                return
            attached = ev.KernelAttached(found.id, kernel.kernel_id, kernel.path, kernel.pause_methods)
            await self._report_once(attached)
            now = self._state().sessions.get(found.id, found)
            pause = now.pause if now.state is SessionState.PAUSED else None
            if pause is not None and pause.phase is not PausePhase.RESTORING:
                # A gate that is closed already, by the agent that has outlived a server, stays so.
                with contextlib.suppress(SwanGpuError):
                    await self.kernels.gate(kernel.kernel_id, True, "Getting your GPU back …")
        others = [k for k in self.kernels.kernels() if k.session_id == found.id and k.kernel_id != kernel.kernel_id]
        busy = any(k.execution_state == "busy" for k in (kernel, *others))
        if busy or pause is None:
            # that no cell waits at the gate of a paused one is no news: its owner may want it back
            await self._report_once(ev.ActivityReported(found.id, busy))

    # -- one session's commands, in order ---------------------------------------------------------

    async def _drain(self, session_id: str, queue: asyncio.Queue[cmd.Command]) -> None:
        while not queue.empty():
            command = queue.get_nowait()
            session = self._state().sessions.get(session_id)
            if session is None:
                continue
            try:
                await self._carry_out(command, session)
            except Exception:
                # The broker says it again, or the lease ends: one failure must not stop what comes behind it.
                log.exception("%s of session %s failed", type(command).__name__, session_id)
        del self._queues[session_id]

    async def _carry_out(self, command: cmd.Command, session: Session) -> None:
        match command:
            case cmd.StartWork():
                await self._start(session)
            case cmd.StopWork():
                await self._stop(session)
            case cmd.AttachKernel():
                await self._attach_requested(session)
            case cmd.PauseWork():
                await self._pause(session, command)
            case cmd.ResumeWork():
                await self._resume(session)

    async def _start(self, session: Session) -> None:
        if session.state is not SessionState.READY or session.claimed_at is None or session.pool is None:
            return
        backend = self._backends.get(session.pool)
        if backend is None:
            await self.report(ev.WorkFailed(session.id, "pool_gone", "This pool is no longer configured."))
            return
        try:
            if session.checkpoint is not None:
                # A start that a crash interrupted: what is there already is not started again.
                known = await backend.status({session.id: session.checkpoint})
                if known.get(session.id) is not None and known[session.id].state == "running":
                    await self.report(ev.WorkStarted(session.id))
                    return
                await backend.stop(session.checkpoint)
            async for checkpoint in backend.start(_spec(session)):
                await self.report(ev.WorkCheckpointed(session.id, checkpoint))
        except SwanGpuError as error:
            await self.report(ev.WorkFailed(session.id, error.code, error.detail))
        except Exception:
            log.exception("Pool %s failed to start session %s", session.pool, session.id)
            await self.report(ev.WorkFailed(session.id, "start_failed", "The pool failed to start it."))
        else:
            await self.report(ev.WorkStarted(session.id))

    async def _stop(self, session: Session) -> None:
        if session.state is not SessionState.ENDING:
            return
        async with self._lock(session.id):
            for kernel_id in self._kernels_of(session):
                await self._detach(kernel_id, session.id)
        backend = self._backends.get(session.pool or "")
        if backend is not None and session.checkpoint is not None:
            await backend.stop(session.checkpoint)
        await self.report(ev.WorkStopped(session.id))

    def _lock(self, session_id: str) -> asyncio.Lock:
        return self._locks.setdefault(session_id, asyncio.Lock())

    def _kernels_of(self, session: Session) -> list[str]:
        """The kernels that the broker knows of, and those that the kernel host really has on the session."""
        if self.kernels is None:
            return []
        known = dict.fromkeys(self._state().sessions[session.id].kernel_ids)
        known.update({k.kernel_id: None for k in self.kernels.kernels() if k.session_id == session.id})
        return list(known)

    async def _detach(self, kernel_id: str, session_id: str) -> None:
        """Take a kernel off its shares, with its variables where that can be done.

        A running cell is interrupted for it: without that everything it has computed would be lost.
        """
        if self.kernels is None:
            return
        why = ""
        for carry in (Carry.ALL, Carry.NONE):
            detaching = self.kernels.detach(kernel_id, session_id, carry, stop_cell=True)
            try:
                await within(detaching, DETACH_TIMEOUT_S[carry])
            except NotFound:
                break
            except SwanGpuError as error:
                why = why or error.detail
            except (TimeoutError, asyncio.TimeoutError):
                why = why or "It took too long."
            else:
                break
            log.info("Detaching kernel %s with carry=%s: %s", kernel_id, carry.value, why)
        if why:
            self._left(kernel_id, session_id, (), why)

    async def _attach_requested(self, session: Session) -> None:
        if session.state is not SessionState.ACTIVE or self.kernels is None:
            return
        request = session.request
        known = await look_for(self.kernels, request.attach_kernel_id, request.attach_path)
        kernel_id = known.kernel_id if known is not None else request.attach_kernel_id
        if kernel_id is None:
            await self.report(ev.AttachFailed(session.id, "no_kernel", "The notebook has no running kernel."))
            return
        if kernel_id in session.kernel_ids:
            return
        try:
            await self.attach(session, kernel_id, request.carry)
        except SwanGpuError as error:
            await self.report(ev.AttachFailed(session.id, error.code, error.detail))
        except Exception:
            log.exception("Attaching kernel %s failed", kernel_id)
            await self.report(ev.AttachFailed(session.id, "attach_failed", "The kernel could not be restarted."))

    async def _pause(self, session: Session, command: cmd.PauseWork) -> None:
        """Put all kernels of a session aside, or none of them."""
        pause = session.pause
        if session.state is not SessionState.PAUSED or pause is None or pause.phase is not PausePhase.SAVING:
            return
        async with self._lock(session.id):
            kernel_ids = self._kernels_of(session)
            try:
                must_free = command.leaves or pause.why != "owner"
                outcome: ev.Event = await self._put_aside(command, kernel_ids, must_free=must_free)
            except SwanGpuError as error:
                lost, doubtful = bool(error.params.get("lost")), bool(error.params.get("doubtful"))
                outcome = ev.PauseFailed(session.id, error.code, error.detail, lost=lost, doubtful=doubtful)
            except Exception:
                log.exception("Session %s could not be put aside", session.id)
                outcome = ev.PauseFailed(session.id, "pause_failed", "It could not be paused.")
            # who was to leave its device, and has not, stays there behind its gate until it is its turn
            unharmed = isinstance(outcome, ev.PauseFailed) and not outcome.lost and not command.leaves
            if unharmed and not await self._wake(kernel_ids, self.environment(session)):
                # Nothing is said, so it is commanded again: nobody would open a gate of one that goes on.
                return
            await self.report(outcome)

    async def _put_aside(
        self, command: cmd.PauseWork, kernel_ids: Sequence[str], *, must_free: bool
    ) -> ev.PauseSaved | ev.PauseFailed:
        done: list[Suspension] = []
        left, may_stay = command.budget_bytes, command.stays_bytes
        for kernel_id in kernel_ids:
            if self.kernels is not None:
                one = await self.kernels.suspend(kernel_id, command.methods, left, may_stay)
                may_stay = max(0, may_stay - one.resident_bytes)
                taken = 0 if one.method in ON_DISK else one.saved_bytes
                left = max(0, left - taken) if left is not None else None
                done.append(one)
        frees = bool(done) and all(one.frees for one in done)
        why = next((one for one in done if one.code and (frees or not one.frees)), None)
        code, text = (why.code, why.text) if why is not None else ("", "")
        if must_free and not frees:
            return ev.PauseFailed(command.session_id, code or "not_saved", text or NOT_SAVED)
        return ev.PauseSaved(
            command.session_id,
            "+".join(dict.fromkeys(one.method for one in done)) or "gate",
            sum(one.saved_bytes for one in done),
            frees=frees,
            comes_back=_narrowest(done),
            code=code,
            text=text,
            resident_bytes=sum(one.resident_bytes for one in done),
        )

    async def _wake(self, kernel_ids: Sequence[str], env: Mapping[str, str | None]) -> bool:
        """A pause came to nothing: its kernels go on. Whether all of them do."""
        awake = True
        for kernel_id in kernel_ids:
            try:
                if self.kernels is not None:
                    await self.kernels.resume(kernel_id, env)
            except SwanGpuError as error:
                log.warning("Kernel %s could not be paused, and does not go on: %s", kernel_id, error)
                awake = False
        return awake

    async def _resume(self, session: Session) -> None:
        pause = session.pause
        if session.state is not SessionState.PAUSED or pause is None or pause.phase is not PausePhase.RESTORING:
            return
        done: list[Resumption] = []
        try:
            async with self._lock(session.id):
                for kernel_id in self._kernels_of(session):
                    if self.kernels is not None:
                        done.append(await self.kernels.resume(kernel_id, self.environment(session)))
        except SwanGpuError as error:
            how = {name: bool(error.params.get(name)) for name in ("lost", "own_device")}
            failed = ev.ResumeFailed(session.id, error.code, error.detail, **how)
        except Exception:
            log.exception("Session %s could not be brought back", session.id)
            failed = ev.ResumeFailed(session.id, "resume_failed", "It could not be brought back.")
        else:
            amiss = next((one for one in done if one.code), Resumption())
            await self.report(ev.ResumeDone(session.id, any(one.busy for one in done), amiss.code, amiss.text))
            return
        if done and not failed.lost:
            # One that is back computes on the shares: they stay its own, and the rest is commanded again.
            log.warning("Only a part of session %s is back: %s", session.id, failed.text)
            return
        await self.report(failed)


def _narrowest(done: Sequence[Suspension]) -> ComesBack:
    where = min((one.comes_back for one in done), key=list(ComesBack).index, default=ComesBack.DEVICE)
    # of several one may be refused on a device where another is already
    return ComesBack.DEVICE if where is ComesBack.FLAVOR and len(done) > 1 else where


def _spec(session: Session) -> StartSpec:
    request = session.request
    return StartSpec(
        session_id=session.id,
        user=session.user,
        flavor=session.flavor or "",
        shares=session.shares,
        count=request.count,
        memory_bytes=request.memory_bytes,
        duration_s=request.duration_s,
        kind=request.kind.value,
        project=request.project,
        purpose=request.purpose,
        options=dict(request.options),
    )
