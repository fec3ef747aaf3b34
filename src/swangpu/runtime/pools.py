"""Asks the pools what they have and what runs, while that matters to somebody."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace

from ..broker import events as ev
from ..broker.reservations import shortfalls
from ..broker.state import BrokerState
from ..domain.devices import PoolInventory
from ..domain.sessions import SessionState
from ..errors import SwanGpuError
from ..ports import Backend, Clock
from ..tasks import wait_at_most, within

__all__ = ["PoolWatch"]

log = logging.getLogger(__name__)

#: how often the pools are asked while somebody looks or holds something
INVENTORY_INTERVAL_S = 5.0
#: how long after the last look the pools are still asked
INTEREST_S = 30.0
#: a pool that takes longer is told as not answering, and holds up nobody
INVENTORY_TIMEOUT_S = 15.0


class PoolWatch:
    """Feeds inventories and the state of running work to the broker.

    Parameters
    ----------
    backends : mapping of str to Backend
    clock : Clock
    handle : callable
        Feeds an event to the broker.
    state : callable
        The broker's present state, to be read only.
    simulated : bool
        Whether a pool that cannot even say what it is would be a simulated one.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        clock: Clock,
        handle: Callable[[ev.Event], Awaitable[object]],
        state: Callable[[], BrokerState],
        *,
        simulated: bool,
    ) -> None:
        self._backends = backends
        self._clock = clock
        self._handle = handle
        self._state = state
        self._simulated = simulated
        self._look_wake = asyncio.Event()
        self._looked_at = float("-inf")
        self._as_of: dict[str, float] = {}
        #: what each pool said last that is on disk; the broker's own copy keeps the shares of a pool that is away
        self._said: dict[str, PoolInventory] = {}
        self._lock = asyncio.Lock()
        self._short: list[str] = []

    def as_of(self, pool: str) -> float:
        """When a pool was last asked, in Unix seconds."""
        known = self._state().pools.get(pool)
        return self._as_of.get(pool, known.as_of if known is not None else 0.0)

    async def refresh(self, max_age_s: float = 0.0) -> None:
        """Ask the pools, unless that was done less than ``max_age_s`` ago; marks that somebody looks."""
        now = self._clock.monotonic()
        if now - self._looked_at > INTEREST_S:
            self._look_wake.set()
        self._looked_at = now
        async with self._lock:
            wall = self._clock.now()
            stale = [b for n, b in self._backends.items() if wall - self._as_of.get(n, float("-inf")) > max_age_s]
            await self._ask_all(stale)

    async def run(self) -> None:
        """Ask at a steady pace while somebody looks or a session lives; otherwise wait for a look."""
        while True:
            self._look_wake.clear()
            looked = self._clock.monotonic() - self._looked_at <= INTEREST_S
            interested = looked or next(iter(self._state().live()), None) is not None
            timeout = INVENTORY_INTERVAL_S if interested else None
            await wait_at_most(self._look_wake, timeout)
            async with self._lock:
                await self._ask_all(self._backends.values())
            await self._check_work()

    async def _ask_all(self, backends: Iterable[Backend]) -> None:
        await asyncio.gather(*(self._ask(backend) for backend in backends))
        # once: to an operator a typing error looks like a reservation that holds
        short = shortfalls(self._state(), self._clock.now())
        for sentence in short:
            if sentence not in self._short:
                log.warning("SwanGpu.reservations: %s", sentence)
        self._short = short

    async def _ask(self, backend: Backend) -> None:
        """Ask one pool; one that fails is told as away and does not hold up the others."""
        try:
            inventory = await within(backend.inventory(), INVENTORY_TIMEOUT_S)
        except Exception as error:
            if not isinstance(error, SwanGpuError):
                log.exception("Pool %s failed to say what it has", backend.name)
            text = error.detail if isinstance(error, SwanGpuError) else "The pool does not answer."
            code = error.code if isinstance(error, SwanGpuError) else "pool_failed"
            before = self._state().pools.get(backend.name)
            inventory = PoolInventory(
                pool=backend.name,
                title=before.title if before else backend.name,
                managed=before.managed if before else True,
                available=False,
                as_of=self._clock.now(),
                reason_code=code,
                reason_text=text,
                simulated=self._simulated,
            )
        self._as_of[backend.name] = inventory.as_of
        for known in (self._state().pools.get(backend.name), self._said.get(backend.name)):
            if known is not None and replace(known, as_of=inventory.as_of) == inventory:
                return
        with contextlib.suppress(SwanGpuError):
            await self._handle(ev.InventoryReported(inventory))
            self._said[backend.name] = inventory

    async def _check_work(self) -> None:
        """What the backends say of the work that should be running."""
        for name, backend in self._backends.items():
            running = {
                s.id: s.checkpoint
                for s in self._state().live()
                if s.pool == name and s.checkpoint is not None and s.state in (SessionState.ACTIVE, SessionState.PAUSED)
            }
            if not running:
                continue
            try:
                found = await backend.status(running)
            except Exception as error:
                log.info("Pool %s does not say what runs: %s", name, error)
                continue
            for session_id, status in found.items():
                if status.state in ("ended", "failed"):
                    with contextlib.suppress(SwanGpuError):
                        await self._handle(ev.WorkVanished(session_id, status.text or "The work has ended."))
