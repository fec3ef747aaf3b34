"""One process as NVIDIA's program sees it: its state, and the phases that change it, each for a limited time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import checkpoint_program, registry
from .checkpoint_program import Answer, Phase, State

__all__ = ["CudaProcess", "Limits"]


@dataclass(frozen=True)
class Limits:
    """Seconds. ``lock_s``: how long work that is under way may take to end. Copying has its size's time more."""

    ask_s: float = 10.0
    lock_s: float = 10.0
    copy_s: float = 30.0
    #: the slowest that is still waited for
    copy_bytes_per_s: float = 0.5e9
    unlock_s: float = 10.0
    #: how long a process may stay between two states
    settle_s: float = 30.0
    settle_every_s: float = 0.2
    #: for a copy of which nobody knows the size
    unknown_copy_s: float = 300.0
    #: how much longer the program may take than the driver was told
    grace_s: float = 5.0


class CudaProcess:
    """The CUDA state of a process. After each phase ``worked`` and ``was_killed`` tell of the program, and ``why`` and
    ``said`` of what failed last.

    Parameters
    ----------
    program : Path
    pid : int
    limits : Limits
    """

    def __init__(self, program: Path, pid: int, limits: Limits) -> None:
        self.pid = pid
        self.why = ""
        self.said = ""
        self.worked = False
        self.was_killed = False
        self._program = program
        self._limits = limits
        # an id can be given to another process: nothing is done to one that began later
        self._start = registry.process_start(pid)

    async def uses_cuda(self) -> bool:
        """Whether CUDA answers in it."""
        answer = await self._run(checkpoint_program.get_restore_tid(self._program, self.pid), self._limits.ask_s)
        return checkpoint_program.restore_tid_of(answer) is not None

    async def state(self) -> State | Literal["ended"] | None:
        """Its state, once it is in one; None when the driver does not tell."""
        until = time.monotonic() + self._limits.settle_s
        asked_again = False
        while True:
            if not self._is_there():
                return "ended"
            answer = await self._run(checkpoint_program.get_state(self._program, self.pid), self._limits.ask_s)
            state = checkpoint_program.state_of(answer)
            if state is None and answer.timed_out and not asked_again:
                asked_again = True
            elif state != "moving" or time.monotonic() > until:
                return state if self._is_there() else "ended"
            await asyncio.sleep(self._limits.settle_every_s)

    async def lock(self) -> State | Literal["ended"] | None:
        """Let no more work begin. Returns the state after it."""
        limit = self._limits.lock_s
        argv = checkpoint_program.action(self._program, "lock", self.pid, timeout_s=limit)
        return await self._change(argv, limit + self._limits.grace_s)

    async def act(
        self, phase: Phase, size_bytes: int | None, device_map: Mapping[str, str] | None = None
    ) -> State | Literal["ended"] | None:
        """Save or bring back so many bytes. Returns the state after it."""
        argv = checkpoint_program.action(self._program, phase, self.pid, device_map=device_map)
        limits = self._limits
        known = size_bytes is not None
        limit = limits.copy_s + (size_bytes or 0) / limits.copy_bytes_per_s if known else limits.unknown_copy_s
        return await self._change(argv, limit)

    async def unlock(self) -> State | Literal["ended"] | None:
        """Let work begin again, and once more if that failed. Returns the state after it."""
        state: State | Literal["ended"] | None = None
        for _ in range(2):
            argv = checkpoint_program.action(self._program, "unlock", self.pid)
            state = await self._change(argv, self._limits.unlock_s)
            if state not in ("locked", None):
                break
        return state

    async def _change(self, argv: list[str], limit_s: float) -> State | Literal["ended"] | None:
        self.why = self.said = ""
        if not self._is_there():
            return "ended"
        answer = await self._run(argv, limit_s)
        why, said, killed = self.why, self.said, answer.timed_out or (answer.code or 0) < 0
        state = await self.state()
        if not answer.ok:
            # of two failures the first says why
            self.why, self.said = why, said
        self.worked, self.was_killed = answer.ok, killed
        return state

    async def _run(self, argv: list[str], limit_s: float) -> Answer:
        answer = await checkpoint_program.run(argv, limit_s)
        if not answer.ok:
            self.why, self.said = checkpoint_program.failure(answer), answer.text
        return answer

    def _is_there(self) -> bool:
        return self._start is not None and registry.process_start(self.pid) == self._start
