"""A ledger in memory that can fail, a backend that can do anything, and kernels that are a dict."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from broker.fleet import inventory
from swangpu.broker.policy import Policy
from swangpu.domain.devices import PoolInventory, Share
from swangpu.domain.records import DemandRecord, JournalEntry, UsageRecord
from swangpu.domain.sessions import Carry, ComesBack, Request, Session, SessionState
from swangpu.errors import Conflict, LedgerUnavailable, NotFound, PoolUnavailable
from swangpu.ports import BackendStatus, KernelInfo, Resumption, Saying, StartSpec, Suspension
from swangpu.runtime import Runtime

WHOLE = Request(flavor="t4", duration_s=3600.0)


class MemoryLedger:
    """Keeps what it is given; ``full`` makes every write fail."""

    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []
        self.usage_records: list[UsageRecord] = []
        self.demand_records: list[DemandRecord] = []
        self.snapshot: tuple[int, str] | None = None
        self.full = False

    def load(self) -> tuple[tuple[int, str] | None, Sequence[JournalEntry]]:
        after = self.snapshot[0] if self.snapshot else 0
        return self.snapshot, [e for e in self.entries if e.seq > after]

    def append(
        self,
        entries: Sequence[JournalEntry],
        usage: Sequence[UsageRecord] = (),
        demand: Sequence[DemandRecord] = (),
    ) -> None:
        if self.full:
            raise LedgerUnavailable("The disk is full.", hint="Make room.")
        self.entries += entries
        self.usage_records += usage
        self.demand_records += demand

    def save_snapshot(self, seq: int, state: str) -> None:
        if self.full:
            raise LedgerUnavailable("The disk is full.")
        self.snapshot = (seq, state)

    def usage(self, by: str, start: float, end: float, user: str | None) -> list[Mapping[str, object]]:
        return []

    def demand(self, by: str, start: float, end: float, user: str | None) -> list[Mapping[str, object]]:
        return []

    def close(self) -> None:
        pass


class TestClock:
    """Wall time that moves only when told; monotonic time is real, for time-outs."""

    __test__ = False

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class ScriptedBackend:
    """What it is told to be: slow, failing, away."""

    name = "local"

    def __init__(self, clock: TestClock) -> None:
        self.clock = clock
        self.running: dict[str, str] = {}
        self.stopped: list[str] = []
        self.fail_start = False
        self.fail_stop = False
        self.away = False
        #: instead of all of the small fleet
        self.shares: tuple[Share, ...] = ()
        self.started = asyncio.Event()
        self.may_start = asyncio.Event()
        self.may_start.set()

    async def inventory(self) -> PoolInventory:
        if self.away:
            raise PoolUnavailable("The driver does not answer.", code="driver_not_loaded")
        found = inventory(self.clock.now())
        return replace(found, shares=self.shares) if self.shares else found

    async def start(self, spec: StartSpec) -> AsyncIterator[str]:
        yield f"before {spec.session_id}"
        self.started.set()
        await self.may_start.wait()
        if self.fail_start:
            raise PoolUnavailable("No room on the node.", code="no_room")
        self.running[spec.session_id] = f"before {spec.session_id}"

    async def status(self, checkpoints: Mapping[str, str]) -> dict[str, BackendStatus]:
        return {i: BackendStatus("running" if i in self.running else "ended", text="It is gone.") for i in checkpoints}

    async def stop(self, checkpoint: str) -> None:
        if self.fail_stop:
            raise PoolUnavailable("The service is away.")
        session_id = checkpoint.removeprefix("before ")
        self.running.pop(session_id, None)
        self.stopped.append(session_id)

    def environment(self, shares: Sequence[Share]) -> dict[str, str | None]:
        return {"CUDA_VISIBLE_DEVICES": ",".join(s.id for s in shares), "CUDA_MPS_PIPE_DIRECTORY": None}

    async def close(self) -> None:
        pass


class DictKernels:
    """Kernels that are rows: id to (session id, environment)."""

    def __init__(self, *ids: str) -> None:
        self.rows: dict[str, tuple[str | None, dict[str, str | None]]] = {i: (None, {}) for i in ids}
        self.gated: set[str] = set()
        #: kernels with a cell that runs, and with one that waits at the gate
        self.computing: set[str] = set()
        self.held: set[str] = set()
        self.methods: tuple[str, ...] = ()
        #: what each of them has on the device
        self.saves_bytes = 10**9
        self.comes_back = ComesBack.DEVICE
        #: whether that stays there where it may
        self.stays = False
        #: whose was moved to host memory
        self.saved: list[str] = []
        #: what suspending and resuming raise instead
        self.fails: Conflict | None = None
        #: code and text of what is amiss though it is back
        self.amiss = ("", "")
        #: and of what stays on a device that is given away
        self.partly = ("", "")
        self.said: list[tuple[str, Saying]] = []
        #: process ids of those that have an agent
        self.agents: dict[str, int] = {}
        self.may_attach = asyncio.Event()
        self.may_attach.set()

    async def attach(self, kernel_id: str, session_id: str, env: Mapping[str, str | None], carry: Carry) -> None:
        if kernel_id not in self.rows:
            raise NotFound("There is no such kernel.", code="no_such_kernel")
        await self.may_attach.wait()
        self.rows[kernel_id] = (session_id, dict(env))

    async def detach(self, kernel_id: str, session_id: str, carry: Carry, *, stop_cell: bool = False) -> None:
        if kernel_id in self.rows:
            self.rows[kernel_id] = (None, {})

    async def bind_in_place(self, kernel_id: str, session_id: str, env: Mapping[str, str | None]) -> None:
        self.rows[kernel_id] = (session_id, dict(env))

    async def unbind(self, kernel_id: str, session_id: str) -> None:
        await self.detach(kernel_id, session_id, Carry.NONE)

    async def preview(self, kernel_id: str) -> Mapping[str, object]:
        return {}

    async def say(self, kernel_id: str, saying: Saying) -> None:
        self.said.append((kernel_id, saying))

    async def gate(self, kernel_id: str, closed: bool, message: str = "") -> None:
        (self.gated.add if closed else self.gated.discard)(kernel_id)

    async def suspend(
        self, kernel_id: str, methods: Sequence[str], budget_bytes: int | None = None, stays_bytes: int = 0
    ) -> Suspension:
        if kernel_id in self.computing:
            raise Conflict("A cell runs.", code="kernel_busy")
        if self.fails is not None:
            raise self.fails
        self.gated.add(kernel_id)
        if self.stays and self.saves_bytes <= stays_bytes:
            return Suspension("resident", resident_bytes=self.saves_bytes)
        if budget_bytes is not None and methods and self.saves_bytes > budget_bytes:
            return Suspension("gate", code="no_room", text=f"It needs {self.saves_bytes} B.")
        self.saved += [kernel_id] if methods else []
        method, size = (methods[0], self.saves_bytes) if methods else ("gate", 0)
        return Suspension(method, size, self.comes_back, *self.partly)

    async def resume(self, kernel_id: str, env: Mapping[str, str | None]) -> Resumption:
        if self.fails is not None and kernel_id in self.gated:
            raise self.fails
        self.rows[kernel_id] = (self.rows[kernel_id][0], dict(env))
        self.gated.discard(kernel_id)
        return Resumption(kernel_id in self.held, *self.amiss)

    async def refresh(self, *, patient: bool = False) -> None:
        pass

    def kernels(self) -> list[KernelInfo]:
        return [
            KernelInfo(
                i,
                s,
                "busy" if i in self.computing else "idle",
                f"{i}.ipynb",
                "python3",
                self.agents.get(i),
                pause_methods=self.methods,
            )
            for i, (s, _) in self.rows.items()
        ]

    def find(self, path: str) -> str | None:
        name = path.removesuffix(".ipynb")
        return name if name in self.rows else None


class Site:
    """All of it together; `restart` is what a kill -9 and a new start leave."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy
        self.clock = TestClock()
        self.ledger = MemoryLedger()
        self.backend = ScriptedBackend(self.clock)
        self.kernels = DictKernels("fit", "gan", "eda")
        self.runtime = self._runtime()

    def _runtime(self) -> Runtime:
        return Runtime(
            ledger=self.ledger,
            backends={"local": self.backend},
            clock=self.clock,
            policy=self.policy,
            kernels=self.kernels,
            simulated=True,
        )

    async def crash_and_restart(self) -> None:
        """Nothing is closed, no snapshot is kept: the tasks are gone and that is all."""
        old = self.runtime
        for task in [*old._tasks, *old._work._tasks, *([old._journal._task] if old._journal._task else [])]:
            task.cancel()
        self.runtime = self._runtime()
        await self.runtime.start()


def run(test: Callable[[Site], Awaitable[None]], policy: Policy | None = None) -> None:
    """Run a story at a site of its own."""

    async def main() -> None:
        site = Site(policy)
        await site.runtime.start()
        try:
            await asyncio.wait_for(test(site), 30)
        finally:
            await site.runtime.stop()

    asyncio.run(main())


async def until(site: Site, session_id: str, state: SessionState) -> Session:
    """Wait for a state, by the commits."""
    woken = asyncio.Event()
    end = site.runtime.subscribe(lambda change: woken.set())
    try:
        while (session := site.runtime.session(session_id)).state is not state:
            woken.clear()
            await asyncio.wait_for(woken.wait(), 10)
        return session
    finally:
        end()
