"""Putting a kernel aside and bringing it back: gate first, then what it has on the device, and in reverse.

The kernel is asked past its own gate. Nothing is moved before it is certain that no cell runs, and the gate opens again
if nothing could be moved: a failure leaves the kernel as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..domain.sessions import Reason
from ..errors import Conflict
from ..kernel_side import words
from ..ports import Resumption, Suspension
from .carry_method import Carry
from .checkpoint_method import Checkpoint
from .door import ask
from .gate import WAITING
from .methods import Aside, Left, Method, Offload, Saved, Subject

__all__ = ["WAITING", "Suspender"]

#: how it is called that what a paused kernel has on its device has stayed there
RESIDENT = "resident"
#: where so much stays on the device, another way is tried before
STAYS_BYTES = 256 * 2**20
#: and is told of where there is none
PARTLY = "paused_partly"


class Suspender:
    """Puts kernels aside and brings them back.

    Parameters
    ----------
    checkpoint : Checkpoint, optional
        Without it only what kernels can do themselves.
    carry : Carry, optional
        Without it no variables go to a disk.
    """

    def __init__(self, checkpoint: Checkpoint | None = None, carry: Carry | None = None) -> None:
        self._checkpoint = checkpoint
        self._carry = carry
        known: list[Method | None] = [Offload(), checkpoint, carry]
        self._methods = {method.name: method for method in known if method is not None}

    async def learn(self) -> None:
        """Find out anew what can be done here; `methods_of` answers from what was found last."""
        if self._checkpoint is not None:
            await self._checkpoint.learn()

    def tidy(self, kernel_ids: Collection[str]) -> None:
        """Remove what was kept for kernels that have ended long ago. Not for the event loop.

        Parameters
        ----------
        kernel_ids : collection of str
            The kernels that there are.
        """
        if self._carry is not None:
            self._carry.tidy(kernel_ids)

    def methods_of(self, kernel: Any, env: Mapping[str, str | None]) -> tuple[str, ...]:
        """How a kernel with a gate can be put aside, as far as that is known without asking it."""
        return tuple(name for name, method in self._methods.items() if method.fits(kernel, env))

    async def suspend(
        self, subject: Subject, methods: Sequence[str], budget_bytes: int | None = None, stays_bytes: int = 0
    ) -> Suspension:
        """Close the gate and move what is on the device, in the first way that works.

        Parameters
        ----------
        budget_bytes : int, optional
            How much host memory may be taken for it at most, beside what the system leaves.
        stays_bytes : int
            What would be offloaded stays on the device, where that is no more than so much.

        Raises
        ------
        Conflict
            A cell runs, and the gate is as it was before. Or the kernel was touched by the attempt: with the parameter
            ``doubtful`` it goes on, with ``lost`` it does not.
        """
        socket = subject.socket
        before = await asyncio.to_thread(ask, socket, {"do": "status"})
        state = await asyncio.to_thread(ask, socket, {"do": "close", "message": WAITING})
        if state.get("running"):
            if not before.get("closed"):
                await asyncio.to_thread(ask, socket, {"do": "open"})
            raise Conflict(
                "A cell runs.", hint="Pause it when the cell has ended, or stop the cell.", code="kernel_busy"
            )
        # A way that was begun is gone on with: a kernel that is suspended already can't move its arrays.
        begun = str(state.get("aside") or "")
        names = [name for name in dict.fromkeys([begun, *methods]) if name == begun or self._fits(name, subject)]
        found = [self._methods[name] for name in names if name in self._methods]
        if stays_bytes > 0 and begun in ("", RESIDENT) and found and isinstance(found[0], Offload):
            resident = await found[0].stays(subject, stays_bytes)
            if resident > 0:
                await _remember(socket, RESIDENT, [])
                return Suspension(RESIDENT, resident_bytes=resident)
        failed, second_best = Aside(False), None
        for method in found:
            done = await self._try(method, subject, state if method.name == begun else {}, budget_bytes)
            if done.moved and (done.stays_bytes <= STAYS_BYTES or method is found[-1]):
                return _suspension(method, done)
            if done.moved:
                # Another way may take all of it.
                await method.back(subject, [])
                second_best = second_best or method
            await _remember(socket, "", [])
            failed = done if done.doubtful or not failed.doubtful else failed
        if failed.doubtful:
            raise Conflict(failed.text, code=failed.code, doubtful=True)
        if second_best is not None:
            done = await self._try(second_best, subject, {}, budget_bytes)
            if done.moved:
                return _suspension(second_best, done)
        return Suspension("gate", code=failed.code, text=failed.text)

    def _fits(self, name: str, subject: Subject) -> bool:
        return name in self._methods and self._methods[name].fits(subject.kernel, subject.env)

    async def _try(self, method: Method, subject: Subject, begun: Mapping[str, Any], budget_bytes: int | None) -> Aside:
        """One way; ``begun``: what the agent says of it, if it had been begun before."""
        saved, remember = _saved(begun), partial(_remember, subject.socket, method.name)
        # Said before it is done: whoever comes after a crash brings back more than there is, and not less.
        await remember(saved)
        return await method.out(subject, saved, remember, begun=bool(begun), budget_bytes=budget_bytes)

    async def resume(self, subject: Subject, tell: Callable[[Left], None] = lambda left: None) -> Resumption:
        """Move back what was moved, and open the gate.

        Parameters
        ----------
        tell : callable
            Called with what did not come back, though all else did.

        Raises
        ------
        Conflict
            It could not be moved back. The gate stays closed.
        """
        socket = subject.socket
        state = await asyncio.to_thread(ask, socket, {"do": "status"})
        if not state.get("closed"):
            return Resumption(bool(state.get("running")))
        amiss = Reason("", "")
        name = state.get("aside")
        # What has stayed is there still: the agent ends with its kernel, and would not have answered.
        if name and name != RESIDENT:
            method = self._methods.get(name)
            if method is None:
                raise Conflict(
                    "It was put aside in a way that this server does not know.",
                    hint="Restart it with the version and settings that it had.",
                    code="not_restored",
                )
            told = await method.back(subject, _saved(state))
            if isinstance(told, Left):
                tell(told)
            elif told is not None:
                amiss = told
        state = await asyncio.to_thread(ask, socket, {"do": "open"})
        return Resumption(bool(state.get("running")), amiss.code, amiss.text)

    async def close(self) -> None:
        """Wait for what must not be left half-done."""
        if self._checkpoint is not None:
            await self._checkpoint.close()


def _suspension(method: Method, done: Aside) -> Suspension:
    if done.stays_bytes <= STAYS_BYTES:
        return Suspension(method.name, done.saved_bytes, done.comes_back)
    text = f"{words.memory(done.stays_bytes)} of it stay on the GPU"
    text = f"{text}: {done.text}." if done.text else f"{text}."
    return Suspension(method.name, done.saved_bytes, done.comes_back, code=PARTLY, text=text)


async def _remember(socket: Path, name: str, saved: Saved) -> None:
    await asyncio.to_thread(ask, socket, {"do": "aside", "method": name, "saved": [dict(one) for one in saved]})


def _saved(state: Mapping[str, Any]) -> Saved:
    saved = state.get("saved")
    return [one for one in saved if isinstance(one, dict)] if isinstance(saved, list) else []
