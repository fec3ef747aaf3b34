"""`Checkpointer` as one of the ways to put a kernel aside: for kernels in any language, on whole devices and slices."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import asdict
from typing import Any

from ..errors import Conflict
from .checkpoint import Checkpointer, Held, Outcome
from .methods import Aside, Remember, Saved, Subject, tree_of

__all__ = ["Checkpoint"]

#: what is set for a share of MPS and for no other
_MPS = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT")

_LOST = (
    "What was only on the GPU is lost. The kernel restarts without a GPU, with its other variables as far as they can "
    "still be read."
)

#: what became of it, and what is kept of it in host memory
_Done = tuple[Outcome, tuple[Held, ...]]


class Checkpoint:
    """Suspends the processes of a kernel.

    Parameters
    ----------
    checkpointer : Checkpointer
    """

    name = "checkpoint"

    def __init__(self, checkpointer: Checkpointer) -> None:
        self._checkpointer = checkpointer
        self._able = False
        self._running: set[asyncio.Task[_Done]] = set()

    async def learn(self) -> None:
        """Find out whether it can be done on this machine, now: `fits` answers from what was found last."""
        installed = self._checkpointer.installed()
        # without the program nobody has to ask the driver
        self._able = installed and (await self._checkpointer.capabilities()).suspend.able

    def fits(self, kernel: Any, env: Mapping[str, str | None]) -> bool:
        on_mps = any(env.get(name) for name in _MPS)
        on_mig = any(uuid.startswith("MIG-") for uuid in _devices(env))
        return self._able and bool(_devices(env)) and not on_mps and not on_mig

    async def out(
        self, subject: Subject, saved: Saved, remember: Remember, *, begun: bool, budget_bytes: int | None = None
    ) -> Aside:
        pids = await asyncio.to_thread(tree_of, subject.pid)
        known = tuple(_held(saved))

        async def work() -> _Done:
            done = await self._checkpointer.suspend(pids, budget_bytes, device_uuids=_devices(subject.env))
            if begun and done.kind == "unchanged" and done.code != "nothing_there":
                # It may be suspended already, by a server that has died, though it can't be done any more.
                back = await self._checkpointer.resume(pids, saved=known)
                done = back if back.kind in ("still_suspended", "lost") else done
            if not done.kind.endswith("suspended"):
                return done, ()
            # of what was suspended already, only the one who did it knows how much it was
            kept = known if known and all(one.memory_bytes is None for one in done.saved) else done.saved
            await remember([asdict(one) for one in kept])
            return done, kept

        done, kept = await self._to_its_end(work())
        if done.kind == "lost":
            raise _refusal(done)
        if done.kind.endswith("suspended"):
            sizes = [one.memory_bytes for one in kept]
            measured = sum(size or 0 for size in sizes)
            # of what nobody measured it is only known that it was not more than was allowed
            return Aside(True, max(measured, budget_bytes or 0) if None in sizes else measured)
        if done.code == "nothing_there":
            return Aside(True)
        return Aside(False, code=done.code, text=_said(done), doubtful=done.kind == "undone")

    async def back(self, subject: Subject, saved: Saved) -> None:
        held = tuple(_held(saved))
        # which it was may not have been remembered: then all are looked at
        pids = [one.pid for one in held] or await asyncio.to_thread(tree_of, subject.pid)
        done = await self._checkpointer.resume(pids, saved=held)
        if done.kind != "resumed" and done.code != "nothing_there":
            raise _refusal(done)

    async def close(self) -> None:
        """Wait for what is under way, so that no process stays locked, and what was saved is remembered."""
        while self._running:
            await asyncio.wait(self._running)
        await self._checkpointer.close()

    async def _to_its_end(self, work: Coroutine[Any, Any, _Done]) -> _Done:
        """Whoever stops waiting does not keep what was saved from being remembered."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)


def _devices(env: Mapping[str, str | None]) -> list[str]:
    return [uuid for uuid in (env.get("CUDA_VISIBLE_DEVICES") or "").split(",") if uuid]


def _held(saved: Saved) -> list[Held]:
    """What was remembered, as far as it makes sense."""
    out = []
    for one in saved:
        pid, uuid, size = one.get("pid"), one.get("device_uuid"), one.get("memory_bytes")
        if isinstance(pid, int) and isinstance(uuid, str) and (size is None or isinstance(size, int)):
            out.append(Held(pid, uuid, size))
    return out


def _said(done: Outcome) -> str:
    return f"{done.text} {done.hint}".strip()


def _refusal(done: Outcome) -> Conflict:
    if done.kind == "lost":
        return Conflict(f"{done.text} {_LOST}", code=done.code, lost=True)
    return Conflict(_said(done), code=done.code)
