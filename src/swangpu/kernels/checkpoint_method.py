"""`Checkpointer` as one of the ways to put a kernel aside: for kernels in any language, on whole devices and slices."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ..domain.sessions import ComesBack, Reason
from ..errors import Conflict
from .checkpoint import Checkpointer, Held, Outcome
from .methods import IMPORT, Aside, Remember, Saved, Subject, tree_of
from .variables import ask_kernel, is_python

__all__ = ["Checkpoint"]

log = logging.getLogger(__name__)

#: what is set for a share of MPS and for no other
_MPS = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT")

_LOST = (
    "What was only on the GPU is lost. The kernel restarts without a GPU, with its other variables as far as they can "
    "still be read."
)

_FOLLOW = f"{IMPORT}('swangpu_kernel.cuda').follow(%r)"
#: how long a kernel may take to say that it has heard where it is, in seconds
FOLLOW_TIMEOUT_S = 10.0
NOT_FOLLOWED = Reason(
    "not_followed",
    "It goes on with another GPU, and its kernel did not answer when it was told which: what it starts from now on "
    "would look for the GPU of before, which may be somebody else's. Restart the kernel before it starts other "
    "processes.",
)

#: what became of it, what is kept of it in host memory, and whether that may come back on another device
_Done = tuple[Outcome, tuple[Held, ...], bool]


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
                return done, (), False
            # of what was suspended already, only the one who did it knows how much it was
            kept = known if known and all(one.memory_bytes is None for one in done.saved) else done.saved
            kept = _named(kept, _devices(subject.env))
            # at once: who comes after a crash must know how much it is
            await remember([asdict(one) for one in kept])
            moves = await self._may_move(subject, pids, kept)
            if moves:
                await remember([{**asdict(one), "moves": True} for one in kept])
            return done, kept, moves

        done, kept, moves = await self._to_its_end(work())
        if done.kind == "lost":
            raise _refusal(done)
        if done.kind.endswith("suspended"):
            sizes = [one.memory_bytes for one in kept]
            measured = sum(size or 0 for size in sizes)
            # of what nobody measured it is only known that it was not more than was allowed
            size = max(measured, budget_bytes or 0) if None in sizes else measured
            return Aside(True, size, ComesBack.FLAVOR if moves else ComesBack.DEVICE)
        if done.code == "nothing_there":
            return Aside(True)
        return Aside(False, code=done.code, text=_said(done), doubtful=done.kind == "undone")

    async def back(self, subject: Subject, saved: Saved) -> Reason | None:
        held = tuple(_held(saved))
        # which it was may not have been remembered: then all are looked at
        pids = [one.pid for one in held] or await asyncio.to_thread(tree_of, subject.pid)
        goal = _devices(subject.env)
        moves = {one.device_uuid: goal[0] for one in held if goal} if all(one.get("moves") for one in saved) else {}
        done = await self._checkpointer.resume(pids, moves, saved=held)
        if done.kind != "resumed" and done.code != "nothing_there":
            raise _refusal(done)
        if any(old != new for old, new in moves.items()):
            # what it starts from now on must not find what is somebody else's
            told = await ask_kernel(subject.kernel, _FOLLOW % dict(subject.env), FOLLOW_TIMEOUT_S)
            if not isinstance(told, dict) or not told.get("ok"):
                log.warning("A kernel is on another GPU, and its environment still names the one before: %s", told)
                return NOT_FOLLOWED
        return None

    async def _may_move(self, subject: Subject, pids: Sequence[int], kept: Sequence[Held]) -> bool:
        """Whether another device of that model would do: only where all who name the device can be told of it."""
        devices = {one.device_uuid for one in kept}
        if len(devices) != 1 or devices != set(_devices(subject.env)):
            return False
        alone = is_python(subject.kernel) and list(pids) == [subject.pid]
        return alone and await self._checkpointer.may_move(devices.pop())

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


def _named(kept: Sequence[Held], devices: Sequence[str]) -> tuple[Held, ...]:
    """What was saved by somebody who could not say of which device was saved of the kernel's own."""
    only = devices[0] if len(devices) == 1 else ""
    return tuple(replace(one, device_uuid=one.device_uuid or only) for one in kept)


def _said(done: Outcome) -> str:
    return f"{done.text} {done.hint}".strip()


def _refusal(done: Outcome) -> Conflict:
    if done.kind == "lost":
        return Conflict(f"{done.text} {_LOST}", code=done.code, lost=True)
    if done.code in ("no_map", "map_refused"):
        # nothing was done to it, and what is in the way is the other device
        return Conflict(_said(done), code=done.code, own_device=True)
    return Conflict(_said(done), code=done.code)
