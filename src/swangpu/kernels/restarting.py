"""A kernel restarts with or without shares, its variables carried where that was asked for.

They are looked for where they are: in the kernel, or, of one that is put aside that way, in a file.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from ..domain.sessions import Carry
from . import carried, variables
from .bindings import BINDINGS, Binding
from .carried import Kept

__all__ = ["RESTART_S", "restart"]

log = logging.getLogger(__name__)

#: longer than a restart takes, in seconds
RESTART_S = 30.0

#: is told the names of variables that unexpectedly did not come along, and a sentence when none did
Tell = Callable[[Sequence[str], str], None]


async def restart(
    manager: Any,
    kernel_id: str,
    binding: Binding | None,
    carry: Carry,
    tell: Tell,
    interrupt: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Restart a kernel on shares, or, without a binding, off them.

    Of one that was put aside with its variables in a file they come back whatever ``carry`` says: there is nothing to
    save that could fail, and nobody was asked whether they may be lost.

    Parameters
    ----------
    manager : MappingKernelManager
    kernel_id : str
    binding : Binding or None
    carry : Carry
    tell : callable
    interrupt : callable, optional
        Where a running cell is to be stopped for it.

    Raises
    ------
    Conflict
        The variables can't be saved; the kernel is as before.
    """
    kernel = manager.get_kernel(kernel_id)
    kept = _kept(kernel_id)
    folder = Path(tempfile.mkdtemp(prefix="swangpu-carry-"))
    place: str | Path = folder if kept is None else kept.path
    keep = False
    try:
        if kept is not None:
            saved: variables.Saved | None = variables.Saved(Path(kept.path), ())
        else:
            saved = await variables.save(kernel, folder, interrupt) if carry is Carry.ALL else None
        await _restart_as(manager, kernel_id, binding, in_file=kept is not None)
        # from here on its variables are in that file only
        keep = saved is not None
        await variables.ready(kernel)
        if saved is not None:
            keep = await _load(kernel, saved, tell, told=binding is not None, aside=kept is not None)
            if kept is not None and not keep:
                carried.discard(kept.path)
    except asyncio.CancelledError:
        if keep:
            tell([], f"Its variables are kept in {place}.")
        raise
    finally:
        if kept is not None or not keep:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _kept(kernel_id: str) -> Kept | None:
    """Where its variables are, if they are not in the kernel."""
    kept = carried.kept_of(BINDINGS.carried.get(kernel_id, []))
    return kept if kept is not None and not kept.loaded and not kept.process_lives else None


async def _restart_as(manager: Any, kernel_id: str, binding: Binding | None, *, in_file: bool) -> None:
    before, closed = BINDINGS.of_kernel.get(kernel_id), kernel_id in BINDINGS.gated
    aside = BINDINGS.carried.pop(kernel_id, None)
    BINDINGS.gated.discard(kernel_id)
    try:
        _bind(kernel_id, binding)
        await _to_its_end(manager.restart_kernel(kernel_id, now=True))
    except Exception:
        _bind(kernel_id, before)
        if closed:
            BINDINGS.gated.add(kernel_id)
        if aside is not None:
            BINDINGS.carried[kernel_id] = aside
        raise
    stale = carried.kept_of(aside or [])
    if stale is not None and not in_file:
        # they were in the kernel, too
        carried.discard(stale.path)


async def _to_its_end(restarting: Awaitable[None]) -> None:
    """A restart that was begun is not cut off: Jupyter would wait for it for ever, and not end when it is asked to."""
    task = asyncio.ensure_future(restarting)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=RESTART_S)
        raise


def _bind(kernel_id: str, binding: Binding | None) -> None:
    if binding is None:
        BINDINGS.of_kernel.pop(kernel_id, None)
    else:
        BINDINGS.of_kernel[kernel_id] = binding


async def _load(kernel: Any, saved: variables.Saved, tell: Tell, *, told: bool, aside: bool) -> bool:
    """Bring the variables back; whether their file is to be kept, since some are nowhere else.

    ``told``: the person knows already what could not be saved. ``aside``: all could, for a pause.
    """
    names, why = await variables.load(kernel, saved, keep=aside)
    if why:
        log.warning("Kernel %s could not take its variables back: %s They are in %s", kernel, why, saved.path)
        tell([], f"{why} They are kept in {saved.path}.")
        return True
    lost = [name for name in names if not told or name not in saved.left]
    if lost:
        tell(lost, f"They are kept in {saved.path}." if aside else "")
    return bool(lost) and aside
