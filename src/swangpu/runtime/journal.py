"""Group commit: what the broker decides is durable before anybody hears of it, and undone when it cannot be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar, cast

from ..broker import commands as cmd
from ..broker import events as ev
from ..broker.broker import Broker
from ..broker.state import BrokerState, Changes
from ..domain.records import DemandRecord, JournalEntry, UsageRecord
from ..errors import LedgerUnavailable, SwanGpuError
from ..ledger.codec import decode, encode
from ..ports import Ledger
from ..tasks import end

__all__ = ["Decision", "Journal"]

log = logging.getLogger(__name__)

T = TypeVar("T")

#: entries after which a snapshot is written
SNAPSHOT_EVERY = 500


@dataclass(frozen=True)
class Decision:
    """What one event led to; journalled as one entry."""

    commands: tuple[cmd.Command, ...]
    changes: Changes


@dataclass
class _Pending:
    event: ev.Event
    now: float
    decision: Decision
    done: asyncio.Future[None]


class Journal:
    """Commits decisions in groups on one writer thread.

    Parameters
    ----------
    ledger : Ledger
    on_durable : callable
        Called on the event loop, in order, with the commands of each decision once it is on disk.
    """

    def __init__(self, ledger: Ledger, on_durable: Callable[[Sequence[cmd.Command], Changes], None]) -> None:
        self.broker = Broker()
        self._ledger = ledger
        self._on_durable = on_durable
        self._durable = BrokerState()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="swangpu-ledger")
        self._pending: list[_Pending] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._seq = 0
        self._snapshot_seq = 0
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Load the last durable state and start to commit.

        Raises
        ------
        LedgerUnavailable
        """
        state, self._seq, self._snapshot_seq = await self.in_writer(self._load)
        self._durable = state
        self.broker = Broker(state.copy())
        self._task = asyncio.create_task(self._commit_loop())

    async def close(self) -> None:
        """Commit what is pending, keep a snapshot, close the ledger."""
        if self._task is not None:
            self._wake.set()
            await self._idle.wait()
            await end(self._task)
            self._task = None
            if self._seq > self._snapshot_seq:
                try:
                    await self.in_writer(self._snapshot, self._seq, self._durable)
                except LedgerUnavailable as error:
                    log.warning("No snapshot was kept: %s", error.detail)
        await self.in_writer(self._ledger.close)
        self._writer.shutdown(wait=False)

    async def handle(self, event: ev.Event, now: float) -> list[cmd.Command]:
        """Decide, and return once the decision is durable.

        Raises
        ------
        SwanGpuError
            The broker's own refusals, with nothing changed.
        LedgerUnavailable
            It could not be written; the broker is back where it was.
        """
        commands = self.broker.handle(event, now)
        state = self.broker.state
        policy_changed = state.policy != self._durable.policy
        if not commands and not state.changed and not policy_changed:
            return commands
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.clear()
        self._pending.append(_Pending(event, state.now, Decision(tuple(commands), state.take_changes()), done))
        self._wake.set()
        await done
        return commands

    async def in_writer(self, function: Callable[..., T], *args: object) -> T:
        """Run a call of the ledger on the writer thread."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, function, *args)

    async def _commit_loop(self) -> None:
        while True:
            if not self._pending:
                self._idle.set()
            await self._wake.wait()
            self._wake.clear()
            if not self._pending:
                continue
            batch, self._pending = self._pending, []
            after = self.broker.state.copy()
            first = self._seq + 1
            try:
                await self.in_writer(self._write, batch, first)
            except SwanGpuError as error:
                self._roll_back(batch, error)
                continue
            except Exception as error:
                log.exception("The ledger failed in an unforeseen way")
                self._roll_back(batch, LedgerUnavailable(f"The ledger failed: {type(error).__name__}."))
                continue
            self._seq += len(batch)
            self._durable = after
            for item in batch:
                if not item.done.done():
                    item.done.set_result(None)
                self._on_durable(item.decision.commands, item.decision.changes)
            if self._seq - self._snapshot_seq >= SNAPSHOT_EVERY:
                await self._keep_snapshot()

    def _roll_back(self, batch: list[_Pending], error: SwanGpuError) -> None:
        """Forget the batch and everything that was decided on top of it."""
        failed = [*batch, *self._pending]
        self._pending = []
        self.broker.state = self._durable.copy()
        for item in failed:
            if not item.done.done():
                item.done.set_exception(
                    LedgerUnavailable(error.detail, hint=error.hint or "Nothing was changed. Try again in a moment.")
                )
                item.done.exception()  # a caller that has gone away is not a warning in the log

    async def _keep_snapshot(self) -> None:
        try:
            await self.in_writer(self._snapshot, self._seq, self._durable)
        except SwanGpuError as error:
            log.warning("No snapshot was kept: %s", error.detail)

    # -- on the writer thread ---------------------------------------------------------------------

    def _load(self) -> tuple[BrokerState, int, int]:
        snapshot, entries = self._ledger.load()
        state, seq = BrokerState(), 0
        if snapshot is not None:
            seq, text = snapshot
            state = decode(text, {"BrokerState": BrokerState})
        at = seq
        for entry in entries:
            state.apply(decode_decision(entry.commands))
            at = entry.seq
        return state, at, seq

    def _write(self, batch: list[_Pending], first_seq: int) -> None:
        entries: list[JournalEntry] = []
        usage: list[UsageRecord] = []
        demand: list[DemandRecord] = []
        for seq, item in enumerate(batch, first_seq):
            decision = item.decision
            usage += [c.record for c in decision.commands if isinstance(c, cmd.RecordUsage)]
            demand += [c.record for c in decision.commands if isinstance(c, cmd.RecordDemand)]
            entries.append(
                JournalEntry(
                    seq=seq,
                    now=item.now,
                    policy_version=decision.changes.policy.version,
                    event=encode(item.event),
                    commands=encode_decision(decision),
                )
            )
        self._ledger.append(entries, usage, demand)

    def _snapshot(self, seq: int, state: BrokerState) -> None:
        self._ledger.save_snapshot(seq, encode(state))
        self._snapshot_seq = seq


def encode_decision(decision: Decision) -> str:
    """One line for the changes, then one for each command.

    A reload reads the first line only: the rest is for whoever asks why.
    """
    return "\n".join([encode(decision.changes), *(encode(c) for c in decision.commands)])


def decode_decision(text: str) -> Changes:
    """The changes of a journalled decision."""
    return cast(Changes, decode(text.split("\n", 1)[0], {"Changes": Changes}))
