"""Putting a kernel aside and bringing it back: gate first, then what it has on the device, and in reverse.

The kernel is asked past its own gate. Nothing is moved before it is certain that no cell runs, and the gate opens again
if nothing could be moved: a failure leaves the kernel as it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import Conflict
from ..ports import Suspension
from .door import ask
from .variables import ask_kernel, is_python

__all__ = ["WAITING", "methods_of", "resume", "suspend"]

log = logging.getLogger(__name__)

#: what a cell that is held shows
WAITING = "Getting your GPU back …"
#: moving what is on a device to host memory and back, in seconds: 80 GB at the slowest rate that was measured
MOVE_TIMEOUT_S = 90.0
_OFFLOAD = "__import__('importlib').import_module('swangpu_kernel.offload').%s()"


def methods_of(kernel: Any, socket: Path | None) -> tuple[str, ...]:
    """How a kernel can be put aside, as far as that is known without asking it."""
    return ("offload",) if socket is not None and is_python(kernel) else ()


async def suspend(kernel: Any, socket: Path, methods: Sequence[str]) -> Suspension:
    """Close the gate and move what is on the device.

    Parameters
    ----------
    socket : Path
        Of the kernel's agent.

    Raises
    ------
    Conflict
        A cell runs; the gate is as it was before.
    """
    before = await asyncio.to_thread(ask, socket, {"do": "status"})
    state = await asyncio.to_thread(ask, socket, {"do": "close", "message": WAITING})
    if state.get("running"):
        if not before.get("closed"):
            await asyncio.to_thread(ask, socket, {"do": "open"})
        raise Conflict("A cell runs.", hint="Pause it when the cell has ended, or stop the cell.", code="kernel_busy")
    for method in methods:
        # Said before it is done: whoever comes after a crash brings back more than there is, and not less.
        await asyncio.to_thread(ask, socket, {"do": "aside", "method": method})
        moved = await _out(kernel, method)
        if moved is not None:
            return Suspension(method, moved)
        await asyncio.to_thread(ask, socket, {"do": "aside", "method": ""})
    return Suspension("gate")


async def resume(kernel: Any, socket: Path) -> bool:
    """Move back what was moved, and open the gate; whether a cell had waited.

    Raises
    ------
    Conflict
        It could not be moved back. The gate stays closed.
    """
    state = await asyncio.to_thread(ask, socket, {"do": "status"})
    if not state.get("closed"):
        return bool(state.get("running"))
    if state.get("aside") == "offload":
        answer = await ask_kernel(kernel, _OFFLOAD % "back", MOVE_TIMEOUT_S)
        if not isinstance(answer, dict) or not answer.get("ok"):
            why = str(answer.get("error") or "") if isinstance(answer, dict) else "The kernel did not answer."
            raise Conflict(
                f"What was on the GPU could not be brought back. {why}".strip(),
                hint="It is kept in host memory; it is tried again.",
                code="not_restored",
            )
    state = await asyncio.to_thread(ask, socket, {"do": "open"})
    return bool(state.get("running"))


async def _out(kernel: Any, method: str) -> int | None:
    """Bytes that were moved, None where this way did not work."""
    if method != "offload":
        return None
    answer = await ask_kernel(kernel, _OFFLOAD % "out", MOVE_TIMEOUT_S)
    if isinstance(answer, dict) and answer.get("ok"):
        return int(answer.get("moved_bytes") or 0)
    log.info("What a kernel has on its device could not be moved: %s", answer.get("error") if answer else "no answer")
    return None
