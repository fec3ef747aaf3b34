"""Puts the parts of one server together, late: nothing is loaded before somebody asks or something runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..broker import events as ev
from ..broker.commands import Notify
from ..broker.policy import Policy
from ..domain.sessions import Reason, Session, SessionState
from ..errors import SwanGpuError, Unavailable
from ..ports import GpuDriver, KernelInfo
from ..runtime import Runtime, StoredNotice, SystemClock
from ..tasks import end
from .activity import Activity
from .election import Election, Leader
from .files import neighbours_dir
from .neighbours import Neighbourhood
from .paths import ledger_path
from .peers import PeerKernelHost, WatchedKernels
from .prometheus import PrometheusSettings, remote_gpus
from .whose import SessionProcesses

if TYPE_CHECKING:
    from ..backends.flavors import LocalPoolConfig
    from ..telemetry.remote import RemoteGpus
    from ..telemetry.sampler import Sampler
    from .speaking import Speaker
    from .watch import ShareWatch

__all__ = ["Service", "Settings"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What the traits say, as plain values.

    Attributes
    ----------
    owner : str
        Whose server this is: everybody who is let in acts as this person.
    url, token : str
        Where other servers and kernels of this user reach our API, and with what.
    prometheus : PrometheusSettings or None
        Where the site's other GPUs are seen; None for nowhere.
    """

    owner: str
    url: str
    token: str
    data_dir: Path
    runtime_dir: Path
    simulated: bool = False
    policy: Policy = field(default_factory=Policy)
    pool: LocalPoolConfig | None = None
    metrics_user_names: bool = False
    prometheus: PrometheusSettings | None = None


class Service:
    """This server's part: the leader's broker, or the way to it.

    Parameters
    ----------
    settings : Settings
    kernels : KernelHost
        This server's own.
    told : callable
        Called with each notice, where the broker runs here.

    Attributes
    ----------
    kernels : KernelHost
        Those of all servers of this user.
    """

    def __init__(
        self, settings: Settings, kernels: WatchedKernels, told: Callable[[StoredNotice], None] = lambda notice: None
    ) -> None:
        self.settings = settings
        self._told = told
        self._near = Neighbourhood(neighbours_dir(settings.runtime_dir))
        self.kernels = PeerKernelHost(
            kernels, self._near, leading=lambda: self._runtime is not None, leader=self._leader
        )
        self._election = Election(settings.runtime_dir)
        self._runtime: Runtime | None = None
        self._sampler: Sampler | None = None
        self._driver: GpuDriver | None = None
        self._making_sampler = threading.Lock()
        self._starting = asyncio.Lock()
        self._takeover: asyncio.Task[None] | None = None
        self._standing_by: asyncio.Task[None] | None = None
        self._withdraw: Callable[[], None] | None = None
        self._closed = False
        self._processes = SessionProcesses(self.kernels)
        self._watch: ShareWatch | None = None
        self._speaker: Speaker | None = None
        self._telling: set[asyncio.Future[None]] = set()

    @property
    def running(self) -> Runtime | None:
        """The runtime, when it runs here."""
        return self._runtime

    async def place(self) -> Runtime | Leader:
        """Where the broker is: here, started now if need be, or at the leader.

        Raises
        ------
        Unavailable
            Neither: the leader has just died, or starts; in a moment it will be known.
        LedgerUnavailable
        """
        if self._runtime is not None:
            return self._runtime
        async with self._starting:
            if self._runtime is not None:
                return self._runtime
            if self._closed:
                raise Unavailable("This server is shutting down.", code="shutting_down")
            if await self._election.win(settle_s=0.0):
                return await self._start()
            leader = self._election.leader()
            if self._takeover is None:
                self._takeover = asyncio.create_task(self._take_over())
            if leader is None or leader.pid == os.getpid():
                raise Unavailable(
                    "Another server of yours is just starting.", hint="Try again in a second.", code="starting"
                )
            return leader

    def warnings(self) -> Mapping[str, Reason]:
        """By session id: what its person should know now, beside what the broker knows."""
        return self._watch.warnings if self._watch is not None else {}

    def sampler(self) -> Sampler:
        """The one reader of the driver in this server; it reads nothing before it is asked. On any thread."""
        from ..telemetry.sampler import Sampler

        with self._making_sampler:
            if self._sampler is None:
                clock = SystemClock()
                self._driver = self._make_driver(clock)
                self._sampler = Sampler(self._driver, clock)
            return self._sampler

    async def adopt_kernels(self) -> None:
        """Take over the kernels that outlived an earlier server; see to those that are on a share."""
        if await self.kernels.adopt():
            await self.place()
            self.kernels.announce()

    def stand_by(self) -> None:
        """Take over if the leader dies, also when nobody ever asks here."""

        async def ask() -> None:
            with contextlib.suppress(Unavailable):
                await self.place()

        if self._runtime is None and self._takeover is None and self._standing_by is None:
            self._standing_by = asyncio.create_task(ask())

    async def kernel_at(self, path: str) -> str | None:
        """The kernel of the notebook that has this path here: another server may have the same path for another."""
        await self.kernels.local.refresh()
        return self.kernels.local.find(path)

    async def close(self) -> None:
        """Leave kernels and work running; let another server of this user lead."""
        self._closed = True
        await end(self._takeover, self._standing_by)
        await self.kernels.close()
        if self._withdraw is not None:
            self._withdraw()
        if self._runtime is not None:
            runtime, self._runtime = self._runtime, None
            for watching in (self._watch, self._speaker):
                if watching is not None:
                    await watching.close()
            if runtime.telemetry is not None:
                await runtime.telemetry.close()
            await runtime.stop()
        # what is being suspended by then is seen to its end
        await self.kernels.local.close()
        if self._sampler is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._sampler.close)
        self._election.resign()

    # -- inside -----------------------------------------------------------------------------------

    async def _leader(self) -> tuple[str, str] | None:
        place = await self.place()
        return None if isinstance(place, Runtime) else (place.url, place.token)

    async def _take_over(self) -> None:
        """A follower waits for the leader to go, and then starts from the ledger."""
        await self._election.win(settle_s=None)
        async with self._starting:
            if self._runtime is None and not self._closed:
                with contextlib.suppress(Unavailable):
                    await self._start()
                    log.info("swangpu: this server leads now")

    async def _start(self) -> Runtime:
        from ..backends.local import LocalBackend, LocalPoolConfig
        from ..ledger.store import SqlLedger
        from ..telemetry.history_files import HistoryFiles
        from ..telemetry.prometheus import expose
        from .metering import SiteMeter
        from .speaking import Speaker
        from .telemetry import SiteTelemetry
        from .watch import ShareWatch

        settings, clock = self.settings, SystemClock()
        self._sampler = self.sampler()
        pool = settings.pool or LocalPoolConfig()
        backend = LocalBackend(pool, self._sampler, own_pids=self._processes.own)
        ledger = SqlLedger(ledger_path(settings.data_dir, socket.gethostname()))
        runtime = Runtime(
            ledger=ledger,
            backends={pool.name: backend},
            clock=clock,
            policy=settings.policy,
            kernels=self.kernels,
            simulated=settings.simulated,
        )
        runtime.listen(self._told)

        def holding() -> list[Session]:
            held = (SessionState.ACTIVE, SessionState.PAUSED)
            return [s for s in runtime.broker.state.live() if s.state in held]

        kept = "history-simulated" if settings.simulated else "history"
        telemetry = SiteTelemetry(
            self._sampler,
            holding,
            HistoryFiles(settings.runtime_dir / kept, clock.now),
            lambda: self._processes.owners,
            self._make_remote(clock),
        )
        runtime.telemetry = telemetry
        try:
            await telemetry.restore()
            # an earlier leader's kernels may have outlived it, and would be taken for gone
            await self.kernels.adopt()
            await runtime.start()
        except BaseException:
            await telemetry.close()
            self._election.resign()
            raise
        self._runtime = runtime
        self._election.publish(Leader(settings.url, settings.token, os.getpid()))

        def changed(_: object = None) -> None:
            telemetry.watch_sessions(bool(holding()), wanted=bool(runtime.broker.state.index.waiting))
            live = list(runtime.broker.state.live())
            self._processes.look(live)
            if self._driver is not None:
                self._processes.bind(self._driver, live)

        runtime.subscribe(changed)
        changed()
        watch = self._watch = ShareWatch(runtime, holding, self._processes.all)
        telemetry.subscribe(lambda snapshot: watch.look(snapshot.samples))
        self._speaker = Speaker(runtime, self.kernels)
        self._speaker.look()
        if ledger.put_aside is not None:
            runtime.tell([_put_aside(settings.owner, ledger.put_aside)])
        meter = SiteMeter(runtime, user_names=settings.metrics_user_names)
        self._withdraw = expose(self._sampler, meter.counts, clock.now)
        self._listen(runtime, holding)
        return runtime

    def _listen(self, runtime: Runtime, holding: Callable[[], list[Session]]) -> None:
        """What happens to kernels becomes events."""

        def start(work: Coroutine[Any, Any, None]) -> None:
            task = asyncio.ensure_future(work)
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

        def tell(event: ev.Event) -> None:
            start(runtime.report(event))

        async def take_in(kernel: KernelInfo) -> None:
            # what cannot be done now is found again by the next look
            with contextlib.suppress(SwanGpuError):
                await runtime.take_in(kernel)

        def found(kernel: KernelInfo) -> None:
            session = runtime.broker.state.sessions.get(kernel.session_id or "")
            # what ends is being taken off its shares already, and what is known needs no word
            if session is None or not (kernel.kernel_id in session.kernel_ids or session.state is SessionState.ENDING):
                start(take_in(kernel))

        self.kernels.on_found = found
        self.kernels.on_gone = lambda kernel_id, session_id: tell(ev.KernelGone(session_id, kernel_id))
        self.kernels.on_left = runtime.left_behind
        activity = Activity(lambda session_id, busy: tell(ev.ActivityReported(session_id, busy)), self.kernels.kernels)
        self.kernels.on_activity = activity.cell
        if runtime.telemetry is not None:
            runtime.telemetry.subscribe(lambda _: activity.look(holding(), runtime.telemetry.of_session))

    def _make_driver(self, clock: SystemClock) -> GpuDriver:
        if self.settings.simulated:
            from ..simulation.driver import SimulatedDriver
            from ..simulation.fleet import demo_fleet

            return SimulatedDriver(demo_fleet(), clock)
        from ..telemetry.nvml import NvmlDriver

        return NvmlDriver(clock.now)

    def _make_remote(self, clock: SystemClock) -> RemoteGpus | None:
        """Beside the pools: nothing of it can be got, and our metrics do not repeat it."""
        settings = self.settings
        if settings.prometheus is None:
            return None
        return remote_gpus(settings.prometheus, clock, settings.runtime_dir / "history-remote")


def _put_aside(owner: str, path: Path) -> Notify:
    """The ledger was damaged: what is lost, and where the rest is."""
    text = (
        "The record of your GPU sessions was damaged, so a new one was begun: sessions and statistics of before are "
        f"not known any more. The damaged file is kept as {path.name} in {path.parent}."
    )
    return Notify(owner, "", "ledger_put_aside", "error", text, (("path", str(path)),))
