"""The kernels of all servers of one user on this host, as if they were those of one.

Whoever leads asks the others when somebody looks; a server says by itself only what happens to kernels on sessions.
With one server, or no session, nothing is sent and nothing is polled.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from ..domain.sessions import Carry
from ..errors import NotFound, SwanGpuError, Unavailable
from ..ports import KernelHost, KernelInfo, Resumption, Saying, Suspension
from ..tasks import end
from .internal import KernelCall, Report
from .letters import Outbox
from .neighbours import Neighbour, Neighbourhood

__all__ = ["PeerKernelHost", "WatchedKernels"]

log = logging.getLogger(__name__)

#: how long a look at the kernels waits for the other servers; who is later is heard later
REFRESH_WAIT_S = 1.0
#: and by whom something is wanted that nobody is known to have
PATIENT_WAIT_S = 5.0
#: how long one listing may take before it counts as not given
LISTING_TIMEOUT_S = 10.0
#: a kernel may take long to carry its variables and to come back
ACTION_TIMEOUT_S = 180.0
#: how often a server with kernels on sessions is looked at: whether its process is there
WATCH_EVERY_S = 0.5


class WatchedKernels(KernelHost, Protocol):
    """A kernel host that tells what happens."""

    on_gone: Callable[[str, str], None]
    on_activity: Callable[[str, bool], None]
    on_left: Callable[[str, str, Sequence[str], str], None]

    async def close(self) -> None: ...


@dataclass
class _Known:
    """What we last heard of another server."""

    neighbour: Neighbour
    kernels: dict[str, KernelInfo] = field(default_factory=dict)


class PeerKernelHost:
    """Implements `swangpu.ports.KernelHost` on this server's kernels and on those of its neighbours.

    Parameters
    ----------
    local : WatchedKernels
    neighbourhood : Neighbourhood
    leading : callable
        Whether the broker runs here.
    leader : callable
        Where it is otherwise: its base URL and token, or None once it is here; may raise `SwanGpuError`.

    Attributes
    ----------
    on_gone, on_activity, on_left : callable
        As of the local host; called where the broker runs only.
    on_found : callable
        Called with each kernel of a neighbour that says that it is on a session.
    """

    def __init__(
        self,
        local: WatchedKernels,
        neighbourhood: Neighbourhood,
        *,
        leading: Callable[[], bool],
        leader: Callable[[], Awaitable[tuple[str, str] | None]],
    ) -> None:
        self.local = local
        self.on_gone: Callable[[str, str], None] = lambda kernel_id, session_id: None
        self.on_activity: Callable[[str, bool], None] = lambda session_id, busy: None
        self.on_left: Callable[[str, str, Sequence[str], str], None] = lambda kernel_id, session_id, names, why: None
        self.on_found: Callable[[KernelInfo], None] = lambda kernel: None
        self._near = neighbourhood
        self._leading = leading
        self._outbox = Outbox(neighbourhood, leader, self._deliver)
        self._known: dict[int, _Known] = {}
        self._asking: dict[int, asyncio.Task[None]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._dropping = asyncio.Lock()
        self._under_way: Counter[str] = Counter()
        self._changed: dict[str, float] = {}
        local.on_gone = self._local_gone
        local.on_activity = self._local_activity
        local.on_left = self._local_left

    # -- the port ---------------------------------------------------------------------------------

    async def attach(self, kernel_id: str, session_id: str, env: Mapping[str, str | None], carry: Carry) -> None:
        known = await self._holder(kernel_id)
        if known is None:
            await self.local.attach(kernel_id, session_id, env, carry)
            return
        await self._act(known, kernel_id, "attach", KernelCall(session_id, dict(env), carry.value))

    async def detach(self, kernel_id: str, session_id: str, carry: Carry, *, stop_cell: bool = False) -> None:
        known = await self._holder(kernel_id)
        if known is None:
            await self.local.detach(kernel_id, session_id, carry, stop_cell=stop_cell)
        else:
            call = KernelCall(session_id, carry=carry.value, stop_cell=stop_cell)
            await self._act(known, kernel_id, "detach", call)

    async def bind_in_place(self, kernel_id: str, session_id: str, env: Mapping[str, str | None]) -> None:
        known = await self._holder(kernel_id)
        if known is None:
            await self.local.bind_in_place(kernel_id, session_id, env)
            return
        await self._act(known, kernel_id, "bind", KernelCall(session_id, dict(env)))

    async def unbind(self, kernel_id: str, session_id: str) -> None:
        known = await self._holder(kernel_id)
        if known is None:
            await self.local.unbind(kernel_id, session_id)
        else:
            await self._act(known, kernel_id, "unbind", KernelCall(session_id))

    async def gate(self, kernel_id: str, closed: bool, message: str = "") -> None:
        known = await self._holder(kernel_id)
        if known is None:
            await self.local.gate(kernel_id, closed, message)
            return
        await self._act(known, kernel_id, "gate", KernelCall(closed=closed, message=message))

    async def say(self, kernel_id: str, saying: Saying) -> None:
        known = await self._holder(kernel_id)
        if known is None:
            await self.local.say(kernel_id, saying)
        else:
            await self._act(known, kernel_id, "say", KernelCall(saying=saying))

    async def suspend(
        self, kernel_id: str, methods: Sequence[str], budget_bytes: int | None = None, stays_bytes: int = 0
    ) -> Suspension:
        known = await self._holder(kernel_id)
        if known is None:
            return await self.local.suspend(kernel_id, methods, budget_bytes, stays_bytes)
        call = KernelCall(methods=list(methods), budget_bytes=budget_bytes, stays_bytes=stays_bytes)
        found = await self._near.act(known.neighbour, kernel_id, "suspend", call, ACTION_TIMEOUT_S)
        return msgspec.convert(found, Suspension)

    async def resume(self, kernel_id: str, env: Mapping[str, str | None]) -> Resumption:
        known = await self._holder(kernel_id)
        if known is None:
            return await self.local.resume(kernel_id, env)
        call = KernelCall(env=dict(env))
        found = await self._near.act(known.neighbour, kernel_id, "resume", call, ACTION_TIMEOUT_S)
        return msgspec.convert(found, Resumption)

    async def preview(self, kernel_id: str) -> Mapping[str, object]:
        known = await self._holder(kernel_id)
        if known is None:
            return await self.local.preview(kernel_id)
        found: Mapping[str, object] = await self._near.act(
            known.neighbour, kernel_id, "preview", KernelCall(), ACTION_TIMEOUT_S
        )
        return found

    async def refresh(self, *, patient: bool = False) -> None:
        """Ask everybody; wait for nobody longer than a moment, and not again for who did not answer in it.

        ``patient``: for some moments, and until all have said what they have now, not what they had."""
        if patient and self._asking:
            await asyncio.wait(list(self._asking.values()), timeout=PATIENT_WAIT_S)
        places = self._near.all()
        for known in list(self._known.values()):
            if known.neighbour.pid not in places:
                await self._still_there(known)
        new = []
        for neighbour in places.values():
            if neighbour.pid not in self._asking:
                task = asyncio.create_task(self._ask(neighbour))
                self._asking[neighbour.pid] = task
                new.append(task)
        await self.local.refresh()
        if new:
            await asyncio.wait(new, timeout=PATIENT_WAIT_S if patient else REFRESH_WAIT_S)

    def kernels(self) -> Sequence[KernelInfo]:
        own = list(self.local.kernels())
        here = {kernel.kernel_id for kernel in own}
        others = [k for known in self._known.values() for k in known.kernels.values() if k.kernel_id not in here]
        return own + others

    def find(self, path: str) -> str | None:
        own = self.local.find(path)
        if own is not None:
            return own
        wanted = path.strip("/")
        for known in self._known.values():
            for kernel in known.kernels.values():
                if kernel.path == wanted:
                    return kernel.kernel_id
        return None

    # -- beside the port --------------------------------------------------------------------------

    async def adopt(self) -> bool:
        """Take over the kernels that outlived an earlier server; whether there are any on a share."""
        adopt = getattr(self.local, "adopt", None)
        return bool(await adopt()) if adopt is not None else False

    def announce(self) -> None:
        """Tell the leader which of our kernels are on sessions already."""
        bound = [kernel for kernel in self.local.kernels() if kernel.session_id is not None]
        if bound and not self._leading():
            self._outbox.post(Report(os.getpid(), "here", kernels=bound))

    async def take(self, report: Report) -> None:
        """What another server reports to us.

        Raises
        ------
        Unavailable
            We do not lead; the reporter will find who does.
        """
        if not self._leading():
            raise Unavailable("This server does not lead.", code="not_leading")
        known = self._known.get(report.server)
        if known is None:
            neighbour = self._near.all().get(report.server)
            if neighbour is None:
                return
            known = self._known[report.server] = _Known(neighbour)
        for kernel in report.kernels:
            known.kernels[kernel.kernel_id] = kernel
            self._touch(kernel.kernel_id)
        if report.kind == "gone":
            known.kernels.pop(report.kernel_id, None)
            self._touch(report.kernel_id)
        elif report.kind == "here":
            self._found(report.kernels)
        self._deliver(report)
        self._watch()

    async def close(self) -> None:
        await end(*self._asking.values(), self._watching)
        await self._outbox.close()
        await self._near.close()

    # -- inside: what happens here ----------------------------------------------------------------

    def _local_gone(self, kernel_id: str, session_id: str) -> None:
        self._tell(Report(os.getpid(), "gone", session_id, kernel_id))

    def _local_activity(self, session_id: str, busy: bool) -> None:
        # With the kernels as they are now: a restart by hand has given them other processes.
        kernels = [] if self._leading() else [k for k in self.local.kernels() if k.session_id == session_id]
        self._tell(Report(os.getpid(), "activity", session_id, busy=busy, kernels=kernels))

    def _local_left(self, kernel_id: str, session_id: str, names: Sequence[str], why: str) -> None:
        self._tell(Report(os.getpid(), "left", session_id, kernel_id, names=list(names), why=why))

    def _tell(self, report: Report) -> None:
        if self._leading():
            self._deliver(report)
        else:
            self._outbox.post(report)

    def _deliver(self, report: Report) -> None:
        if report.kind == "gone":
            self.on_gone(report.kernel_id, report.session_id)
        elif report.kind == "activity":
            self.on_activity(report.session_id, report.busy)
        elif report.kind == "left":
            self.on_left(report.kernel_id, report.session_id, report.names, report.why)

    # -- inside: the neighbours -------------------------------------------------------------------

    def _where(self, kernel_id: str) -> _Known | None:
        """The neighbour that has a kernel; None when it is ours, or nobody's."""
        if any(kernel.kernel_id == kernel_id for kernel in self.local.kernels()):
            return None
        return next((known for known in self._known.values() if kernel_id in known.kernels), None)

    async def _holder(self, kernel_id: str) -> _Known | None:
        """The neighbour that has a kernel and runs; None when the local host is to be asked."""
        known = self._where(kernel_id)
        return known if known is not None and await self._still_there(known) else None

    def _touch(self, kernel_id: str) -> None:
        self._changed[kernel_id] = asyncio.get_running_loop().time()

    @contextmanager
    def _acting(self, kernel_id: str) -> Iterator[None]:
        """A listing that was begun before this ends may show the kernel as it was before, and does not count."""
        self._under_way[kernel_id] += 1
        try:
            yield
        finally:
            self._under_way[kernel_id] -= 1
            self._under_way += Counter()
            self._touch(kernel_id)

    async def _act(self, known: _Known, kernel_id: str, action: str, call: KernelCall) -> None:
        with self._acting(kernel_id):
            try:
                found = await self._near.act(known.neighbour, kernel_id, action, call, ACTION_TIMEOUT_S)
            except NotFound:
                known.kernels.pop(kernel_id, None)
                raise
            if found is None:
                known.kernels.pop(kernel_id, None)
            else:
                known.kernels[kernel_id] = self._near.kernel(found)
        self._watch()

    async def _ask(self, neighbour: Neighbour) -> None:
        """Have a neighbour's kernels listed. Who does not answer has what it had, as long as its process is there."""
        begun = asyncio.get_running_loop().time()
        try:
            listed = await self._near.kernels(neighbour, LISTING_TIMEOUT_S)
        except SwanGpuError as error:
            log.debug("Server %s does not say what it has: %s", neighbour.pid, error)
            return
        finally:
            self._asking.pop(neighbour.pid, None)
        known = self._known.setdefault(neighbour.pid, _Known(neighbour))
        before = known.kernels

        def stale(kernel_id: str) -> bool:
            return bool(self._under_way[kernel_id]) or self._changed.get(kernel_id, -1.0) >= begun

        now = {k.kernel_id: k for k in listed if not stale(k.kernel_id)}
        now.update({kernel_id: k for kernel_id, k in before.items() if stale(kernel_id)})
        known.kernels = now
        self._changed = {k: at for k, at in self._changed.items() if begun - at < LISTING_TIMEOUT_S}
        for kernel_id, kernel in before.items():
            if kernel_id not in now:
                self._ended(kernel)
        self._found([k for k in now.values() if not stale(k.kernel_id)])
        self._watch()

    def _found(self, kernels: Sequence[KernelInfo]) -> None:
        for kernel in kernels:
            if kernel.session_id is not None and self._leading():
                self.on_found(kernel)

    def _ended(self, kernel: KernelInfo) -> None:
        if kernel.session_id is not None and self._leading():
            self.on_gone(kernel.kernel_id, kernel.session_id)

    async def _still_there(self, known: _Known) -> bool:
        if known.neighbour.runs():
            return True
        async with self._dropping:
            if self._known.get(known.neighbour.pid) is known:
                await self._drop(known)
        return False

    async def _drop(self, known: _Known) -> None:
        """A server has died. Its kernels have too, but for those that outlive it: these are on their shares still,
        so whoever leads takes them over, lest the shares are given to somebody else under them."""
        if self._leading() and any(kernel.session_id is not None for kernel in known.kernels.values()):
            try:
                await self.adopt()
            except Exception:
                log.exception("The kernels of server %s could not be taken over", known.neighbour.pid)
        self._known.pop(known.neighbour.pid, None)
        own = self.local.kernels()
        here = {kernel.kernel_id for kernel in own}
        for kernel in known.kernels.values():
            if kernel.kernel_id not in here:
                self._ended(kernel)
        self._found(own)

    def _watch(self) -> None:
        if (self._watching is None or self._watching.done()) and self._watched():
            self._watching = asyncio.create_task(self._watch_neighbours())

    def _watched(self) -> list[_Known]:
        return [n for n in self._known.values() if any(k.session_id is not None for k in n.kernels.values())]

    async def _watch_neighbours(self) -> None:
        """See a server die, as long as a kernel of it is on a session: it can no longer tell that itself."""
        while watched := self._watched():
            for known in watched:
                await self._still_there(known)
            await asyncio.sleep(WATCH_EVERY_S)
