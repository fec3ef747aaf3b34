"""One broker, alive: events in, commands out, and a word to whoever watches."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from ..broker import commands as cmd
from ..broker import events as ev
from ..broker.broker import Broker
from ..broker.lifecycle import title_of
from ..broker.policy import Policy
from ..broker.state import Changes
from ..domain.records import ProfileRecord, RunPeak
from ..domain.sessions import Carry, Request, Session, SessionState
from ..errors import Conflict, NotFound, Refused, SwanGpuError, Unavailable
from ..ports import Backend, Clock, KernelHost, KernelInfo, Ledger
from ..tasks import end, wait_at_most
from .journal import Journal
from .kernels import look_for
from .notices import Notices, StoredNotice
from .pools import PoolWatch
from .ticking import Ticker
from .watching import Change, Watchers
from .work import Work

__all__ = ["Runtime"]

T = TypeVar("T")

#: how long a caller of ``attach`` waits for the backend
START_TIMEOUT_S = 60.0


class Runtime:
    """The asyncio loop around the broker.

    Parameters
    ----------
    ledger : Ledger
    backends : mapping of str to Backend
    clock : Clock
    policy : Policy
        The operator's rules; a change since the last start is journalled as an event.
    kernels : KernelHost, optional
    telemetry : object, optional
        Passed through to the API; see ``telemetry/sampler.py``.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        backends: Mapping[str, Backend],
        clock: Clock,
        policy: Policy | None = None,
        kernels: KernelHost | None = None,
        telemetry: Any = None,
        simulated: bool = False,
    ) -> None:
        self.epoch = secrets.token_hex(4)
        self.simulated = simulated
        self.telemetry = telemetry
        self.ledger = ledger
        self.backends = backends
        self.clock = clock
        self._policy = policy or Policy()
        self._journal = Journal(ledger, self._on_durable)
        self._work = Work(backends, kernels, self.handle, lambda: self.broker.state, self.left_behind)
        self._watchers = Watchers()
        self._notices = Notices(self.epoch)
        self._tasks: list[asyncio.Task[None]] = []
        self._ticker = Ticker(self.now, lambda: self.broker.next_deadline(), self._tick)
        self._pools = PoolWatch(backends, clock, self.handle, lambda: self.broker.state, simulated=simulated)
        self._closed = False

    # -- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load, ask the pools what they have, reconcile with what really runs, then go on."""
        await self._journal.open()
        state = self.broker.state
        wanted = replace(self._policy, version=state.policy.version)
        if wanted != state.policy:
            await self.handle(ev.Configured(replace(wanted, version=state.policy.version + 1)))
        await self.refresh()
        await self._reconcile()
        await self.handle(ev.Recovered())
        self._tasks = [asyncio.create_task(self._ticker.run()), asyncio.create_task(self._pools.run())]

    async def stop(self) -> None:
        """Leave everything that runs running; keep a snapshot."""
        self._closed = True
        await end(*self._tasks)
        await self._work.close()
        for backend in self.backends.values():
            await backend.close()
        await self._journal.close()

    @property
    def broker(self) -> Broker:
        """The broker, to be read only: changes go through `handle`."""
        return self._journal.broker

    @property
    def kernels(self) -> KernelHost | None:
        return self._work.kernels

    def now(self) -> float:
        return self.clock.now()

    # -- events -----------------------------------------------------------------------------------

    async def handle(self, event: ev.Event) -> list[cmd.Command]:
        """Decide, make durable, then let the commands be carried out.

        Raises
        ------
        SwanGpuError
        """
        if self._closed:
            raise Unavailable("This server is shutting down.", code="shutting_down")
        return await self._journal.handle(event, self.now())

    async def report(self, event: ev.Event) -> None:
        """Take a report that must not be lost: again and again while the ledger is away."""
        await self._work.report(event)

    async def request(self, user: str, request: Request, idempotency_key: str | None = None) -> Session:
        """Ask for shares.

        Returns
        -------
        Session
            Queued, ready or on its way; an earlier one for a repeated key.

        Raises
        ------
        Refused
            It can never be served here.
        Conflict
            The kernel has a session, or the key was used for something else.
        """
        await self.refresh(max_age_s=2.0)
        new_id = secrets.token_hex(8)
        commands = await self.handle(ev.Requested(new_id, user, request, idempotency_key))
        for command in commands:
            if isinstance(command, cmd.Reject):
                raise Refused(command.detail, hint=command.hint, code=command.code, **dict(command.params))
        accepted = next(c.session_id for c in commands if isinstance(c, cmd.Accept))
        return self.session(accepted)

    def session(self, session_id: str) -> Session:
        return self.broker.session(session_id)

    async def attach(
        self,
        session_id: str,
        kernel_id: str | None,
        path: str | None,
        carry: Carry = Carry.NONE,
        in_place: bool = False,
    ) -> Session:
        """Put a kernel on a session, claiming the session first where that is due.

        Raises
        ------
        NotFound
            No such kernel or session.
        Conflict
            Not ready yet, or the kernel is on another session.
        """
        kernels = self.kernels
        if kernels is None:
            raise Conflict("There are no kernels to attach here.", code="no_kernels")
        known = await look_for(kernels, kernel_id, path)
        if known is None:
            raise NotFound("There is no such kernel.", hint="Start the notebook's kernel first.", code="no_such_kernel")
        kernel_id = known.kernel_id
        for other in self.broker.state.live():
            if kernel_id in other.kernel_ids and other.id != session_id and other.state is not SessionState.ENDING:
                raise Conflict(
                    "This kernel is on another session already.",
                    hint="Release that session first.",
                    code="kernel_attached",
                )
        session = await self.claim(session_id)
        if kernel_id not in session.kernel_ids:
            try:
                await self._work.attach(session, kernel_id, carry, in_place=in_place)
            except SwanGpuError as error:
                # The claim stands; without a kernel the session goes back after the linger, not at its lease's end.
                await self.report(ev.AttachFailed(session_id, error.code, error.detail))
                raise
        return self.session(session_id)

    async def claim(self, session_id: str) -> Session:
        """Take what is held, and wait until its work has started.

        Raises
        ------
        Conflict
            Not ready, or it could not be started; says why.
        """
        await self.handle(ev.Claimed(session_id))

        def settled() -> Session | None:
            session = self.session(session_id)
            return session if session.state is not SessionState.READY else None

        session = await self._until(settled, START_TIMEOUT_S)
        if session.state not in (SessionState.ACTIVE, SessionState.PAUSED):
            text = session.reason.text if session.reason else "It ended before it started."
            raise Conflict(text, hint="Ask again, or try another pool.", code="start_failed")
        return session

    async def detach(
        self, session_id: str, kernel_id: str | None, carry: Carry = Carry.NONE, *, in_place: bool = False
    ) -> Session:
        """Take one kernel, or all, off a session; the session and its lease stay."""
        session = self.session(session_id)
        kernels = self.kernels
        if kernel_id is not None and kernel_id not in session.kernel_ids:
            raise NotFound("This kernel is not on this session.", code="no_such_kernel")
        for one in [kernel_id] if kernel_id is not None else session.kernel_ids:
            if kernels is not None and in_place:
                await kernels.unbind(one, session_id)
            elif kernels is not None:
                await kernels.detach(one, session_id, carry)
            await self.handle(ev.KernelGone(session_id, one))
        return self.session(session_id)

    def environment(self, session: Session) -> dict[str, str]:
        """What to set for work on this session's shares; empty while nothing is held."""
        if session.claimed_at is None or session.state is SessionState.ENDED:
            return {}
        return {k: v for k, v in self._work.environment(session).items() if v is not None}

    def kernel_path(self, session: Session) -> str | None:
        """The notebook of a session's first kernel, or the one that its request named."""
        for kernel in self.kernels.kernels() if self.kernels is not None else ():
            if kernel.kernel_id in (*session.kernel_ids, session.request.attach_kernel_id) and kernel.path:
                return kernel.path
        return session.request.attach_path

    async def preview(self, kernel_id: str | None, path: str | None) -> Mapping[str, Any]:
        """What attaching would do to a kernel; see `swangpu.wire.KernelPreview`."""
        if self.kernels is None:
            raise NotFound("There are no kernels here.", code="no_such_kernel")
        known = await look_for(self.kernels, kernel_id, path)
        if known is None:
            raise NotFound("There is no such kernel.", hint="Start the notebook's kernel first.", code="no_such_kernel")
        return await self.kernels.preview(known.kernel_id)

    async def take_in(self, kernel: KernelInfo) -> None:
        """Believe a kernel that says it is on a session, or take it off what it no longer has."""
        await self._work.take_in(kernel)

    # -- watching ---------------------------------------------------------------------------------

    def subscribe(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        """Call ``callback`` on the event loop after each commit; the answer ends it."""
        return self._watchers.subscribe(callback)

    def tell(self, told: Sequence[cmd.Notify] = (), touched: Collection[str] = ()) -> None:
        """Say what no event of the broker brought about, and that the sessions of ``touched`` look different now.

        It is not journalled: after a restart it is seen anew where it still holds.
        """
        for notice in told:
            self._notices.keep(notice, self.now())
        self._watchers.publish(Change(frozenset(touched), False, frozenset(n.user for n in told)))

    def left_behind(self, kernel_id: str, session_id: str, names: Sequence[str], why: str) -> None:
        """Tell a person that variables of a kernel did not come along: these, or all of them for a reason."""
        session = self.broker.state.sessions.get(session_id)
        if session is None:
            return
        title = title_of(self.broker.state, session)
        shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        params = (("kernel_id", kernel_id), ("names", shown), ("title", title), ("why", why))
        text = (
            f"these variables did not come along: {shown}. {why}".strip()
            if names
            else f"the variables did not come along. {why}"
        )
        self.tell([cmd.Notify(session.user, session_id, "variables_left", "warning", f"{title}: {text}", params)])

    def notices(self, user: str) -> list[StoredNotice]:
        """What a person was told lately, newest last."""
        return self._notices.of(user)

    def listen(self, listener: Callable[[StoredNotice], None]) -> None:
        """Call ``listener`` with each notice, on the event loop."""
        self._notices.listen(listener)

    def pool_as_of(self, pool: str) -> float:
        """When a pool was last asked (its inventory is journalled only when it changes)."""
        return self._pools.as_of(pool)

    async def refresh(self, max_age_s: float = 0.0) -> None:
        """Ask the pools what they have, unless that is known well enough; marks that somebody looks."""
        await self._pools.refresh(max_age_s)

    async def usage(self, by: str, start: float, end: float, user: str | None) -> Sequence[Mapping[str, object]]:
        return await self._journal.in_writer(self.ledger.usage, by, start, end, user)

    async def demand(self, by: str, start: float, end: float, user: str | None) -> Sequence[Mapping[str, object]]:
        return await self._journal.in_writer(self.ledger.demand, by, start, end, user)

    async def add_profile(self, record: ProfileRecord) -> None:
        """Keep what a cell did."""
        await self._journal.in_writer(self.ledger.add_profile, record)

    async def profiles(self, session_id: str) -> Sequence[ProfileRecord]:
        return await self._journal.in_writer(self.ledger.profiles, session_id)

    async def run_peaks(self, user: str, path: str, limit: int) -> Sequence[RunPeak]:
        """What the newest runs of a notebook needed; see `swangpu.ports.Ledger.run_peaks`."""
        return await self._journal.in_writer(self.ledger.run_peaks, user, path, limit)

    # -- inside -----------------------------------------------------------------------------------

    def _on_durable(self, commands: Sequence[cmd.Command], changes: Changes) -> None:
        told: set[str] = set()
        for command in commands:
            if isinstance(command, cmd.Notify):
                self._notices.keep(command, self.now())
                told.add(command.user)
            else:
                self._work.do(command)
        users = frozenset(s.user for s in changes.sessions.values() if s is not None)
        self._watchers.publish(Change(users, bool(changes.pools or changes.sessions), frozenset(told)))
        self._ticker.wake()

    async def _until(self, ready: Callable[[], T | None], timeout_s: float) -> T:
        """Wait until ``ready`` answers something; asked after each commit."""
        woken = asyncio.Event()
        end = self.subscribe(lambda change: woken.set())
        deadline = self.clock.monotonic() + timeout_s
        try:
            while (answer := ready()) is None:
                left_s = deadline - self.clock.monotonic()
                if left_s <= 0:
                    text = "The pool is taking long to start it."
                    raise Conflict(text, hint="It goes on; look again in a minute.", code="starting")
                woken.clear()
                await wait_at_most(woken, left_s)
            return answer
        finally:
            end()

    async def _tick(self) -> bool:
        now = self.now()
        due = [s.id for s in self.broker.state.live() if s.idle_ends_at is not None and s.idle_ends_at <= now]
        kernels = self.kernels.kernels() if due and self.kernels is not None else ()
        busy = {k.session_id for k in kernels if k.execution_state == "busy"}
        for session_id in due:
            if session_id in busy:
                # What was heard of it is up to a second old, and to end it would stop the cell.
                await self.handle(ev.ActivityReported(session_id, True))
        return bool(await self.handle(ev.Ticked()))

    async def _reconcile(self) -> None:
        """After a start: what the ledger says against the kernels that are really there."""
        if self.kernels is None:
            return
        # who is slow to say what it has must not lose it
        await self.kernels.refresh(patient=True)
        there = {k.kernel_id: k for k in self.kernels.kernels()}
        for session in list(self.broker.state.live()):
            for kernel_id in session.kernel_ids:
                if kernel_id not in there:
                    await self.handle(ev.KernelGone(session.id, kernel_id))
        for kernel in there.values():
            await self.take_in(kernel)
