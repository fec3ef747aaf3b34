"""Moving what is on the GPU to host memory while a notebook is paused, and back before its next cell.

The kernel stays where it is, with all its variables: arrays of torch and cupy, and of jax where it gives memory back,
are moved in place, so that every reference, view and optimizer goes on as if nothing had happened. What can't be moved
soundly stays on the device and is named. Each framework's part is in a file of its own beside this one.

First everything is copied, then everything is freed: until all copies are there nothing has changed, and they are
forgotten only when all is back. So a failure on either way ends where it began. Threads of the person that use
arrays meanwhile get an error where torch can give one, and may end the kernel otherwise: see the users' guide.
"""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from . import cuda, offload_cupy, offload_jax, offload_memory, offload_others, offload_torch, words
from .offload_parts import Found, Framework, Piece, Stay, grouped, in_doubt, settle

__all__ = ["back", "out", "preview", "state", "stays"]

Report = dict[str, Any]

#: a framework that is not loaded, or has not used a device, answers None; none is woken up
FRAMEWORKS: list[Callable[[], Framework | None]] = [
    offload_torch.loaded,
    offload_cupy.loaded,
    offload_jax.loaded,
    offload_others.tensorflow_loaded,
    offload_others.numba_loaded,
]
#: pinned memory is faster and can't be used for anything else: this part of what is free at most, rounding included
PINNED_PART = 4
#: what an allocation may take beyond what was asked for
ROUNDING_BYTES = 512
#: what a process has on its device before anything is allocated there: none of the frameworks counts it
CONTEXT_BYTES = 512 << 20
#: what can't be moved and is no more than this does not matter
LEFT_BYTES = 256 << 20
#: what is set aside for paused sessions in host memory is used up
NO_ROOM = "no_room"
COMPILED = "only compiled code, or an autograd graph, holds it"
CACHED = "a cache that can't be given back"


class _Moved:
    """What is in host memory now; not ``whole`` when a failure left only a part of it there."""

    def __init__(
        self, frameworks: list[Framework], pieces: list[Piece], stays: list[dict[str, Any]], whole: bool = True
    ) -> None:
        self.frameworks, self.pieces, self.stays, self.whole = frameworks, pieces, stays, whole


_lock = threading.Lock()
_moved: _Moved | None = None


def preview() -> Report:
    """What `out` would do; ``error`` is why it would refuse, by the host's memory alone. Nothing is moved."""
    return _told(_preview)


def out(budget_bytes: int | None = None, pinned_bytes: int | None = None) -> Report:
    """Move what can be moved to host memory. Done already, it answers the same again.

    Parameters
    ----------
    budget_bytes : int, optional
        How much of the host's memory may be used for it. More is needed: refused, and nothing has changed.
    pinned_bytes : int, optional
        How much of it may be pinned, which makes the way back several times as fast; by default a quarter of what
        the host has free.

    Returns
    -------
    dict
        ``{"ok", "moved_bytes", "host_bytes", "stays_bytes", "stays": [{"what", "bytes", "why"}],
        "frameworks": {name: moved bytes}, "seconds", "error", "untouched"}``; ``error`` is a sentence, or None.
        ``host_bytes``: what the copies take in host memory, where pinned memory is rounded up. ``untouched``: there was
        nothing, and CUDA has not been initialised here, so that another device will do as well. With ``error`` there
        can be a ``code``: ``no_room`` where ``budget_bytes`` is too small. Never raises.
    """
    report = _told(lambda: _out(budget_bytes, pinned_bytes))
    nothing = report["ok"] and not report["moved_bytes"] and not report["stays"]
    host = sum(piece.host_bytes for piece in _moved.pieces) if _moved is not None else 0
    return {**report, "host_bytes": host, "untouched": nothing and not cuda.touched()}


def back() -> Report:
    """Move everything back to the device it came from. If it does not fit, all of it stays where it is. Never raises.

    Returns
    -------
    dict
        As `out` has it: ``moved_bytes`` is what came back.
    """
    return _told(_back)


def state() -> Report:
    """``{"state": "in" or "out", "moved_bytes", "stays_bytes", "stays"}``, by what was done last. Never raises."""
    moved = _moved
    if moved is None:
        return {"state": "in", "moved_bytes": 0, "stays_bytes": 0, "stays": []}
    told = _report(moved.pieces, moved.stays)
    return {"state": "out", **{name: told[name] for name in ("moved_bytes", "stays_bytes", "stays")}}


def stays(most_bytes: int) -> Report:
    """Whether all that is on the device may stay there while somebody else computes: it is no more than so much.

    Nothing is moved. What could not be moved later, or can't be counted, does not stay. Never raises.

    Returns
    -------
    dict
        ``{"ok", "resident_bytes", "error", …}``; ``error`` is why it does not stay.
    """
    return _told(lambda: _stays(most_bytes))


def _told(work: Callable[[], Report]) -> Report:
    started = time.monotonic()
    try:
        with _lock, _undisturbed():
            report = work()
    except BaseException as error:  # an interrupt too: the server must hear what became of it
        report = _report([], [], _sentence(error))
    return {**report, "seconds": round(time.monotonic() - started, 3)}


def _preview() -> Report:
    if _moved is not None:
        return _report(_moved.pieces, _moved.stays)
    frameworks = _loaded()
    found = _look(frameworks)
    stays = found.stays + _unseen(frameworks, [*found.stays, *found.pieces])
    refused = in_doubt(found, sys.modules) or offload_memory.refusal(_size(found.pieces), None, offload_memory.room())
    return _report(found.pieces, grouped(stays), refused)


def _stays(most_bytes: int) -> Report:
    frameworks = _loaded()
    if _moved is not None or not frameworks:
        return _report([], [], "There is nothing on the device.")
    silent = [framework.name for framework in frameworks if framework.held_bytes() is None]
    if silent:
        return _report([], [], f"{' and '.join(silent)} can't say how much memory it has on the device.")
    found = _look(frameworks)
    doubt = in_doubt(found, sys.modules)
    if doubt is not None or sum(stay.size_bytes for stay in found.stays) > LEFT_BYTES:
        return _report([], [], doubt or "Not all of it could be moved later.")
    _give_back(frameworks)
    size = CONTEXT_BYTES + sum(_held(framework) + _cached(framework) for framework in frameworks)
    if size > most_bytes:
        return _report([], [], f"It has {words.memory(size)} on the device, and {words.memory(most_bytes)} may stay.")
    return {**_report([], []), "resident_bytes": size}


def _out(budget_bytes: int | None, pinned_bytes: int | None) -> Report:
    global _moved
    if _moved is not None and not _moved.whole:
        # begin anew, from where an earlier failure should have ended
        again = _back()
        if not again["ok"]:
            return again
    if _moved is not None:
        return _report(_moved.pieces, _moved.stays)
    frameworks = _loaded()
    found = _look(frameworks)
    free = offload_memory.room()
    doubt = in_doubt(found, sys.modules)
    refused = doubt or offload_memory.refusal(_size(found.pieces), budget_bytes, free)
    if refused is not None:
        over = doubt is None and offload_memory.over_budget(_size(found.pieces), budget_bytes)
        return {**_report([], grouped(_all_stay(found)), refused), "code": NO_ROOM if over else ""}
    most = pinned_bytes if pinned_bytes is not None else (free.free_bytes or 0) // PINNED_PART
    sizes = [(piece.size_bytes, piece.pinned_bytes()) for piece in found.pieces]
    which = offload_memory.which_pinned(sizes, most, budget_bytes, free)
    freed: list[Piece] = []
    try:
        # a cell that has ended may have left work to the device
        _wait(frameworks)
        for piece, pinned in zip(found.pieces, which):  # noqa: B905 - Python 3.9 has no strict
            piece.copy(pinned)
        _wait(frameworks)
        for piece in found.pieces:
            freed.append(piece)
            piece.free()
    except BaseException as error:  # an interrupt too: half of it moved helps nobody
        lost = _undo(freed)
        for piece in found.pieces:
            if piece not in lost:
                piece.drop()
        _give_back(frameworks)
        why = _sentence(error)
        if lost:
            # their copies are all there is of them
            _moved = _Moved(frameworks, lost, [], whole=False)
            why += f" {_count(lost)} could not be put back yet and is in host memory: {_list(lost)}."
        return _report(lost, grouped(_all_stay(Found([p for p in found.pieces if p not in lost], found.stays))), why)
    _give_back(frameworks)
    _moved = _Moved(
        frameworks, found.pieces, grouped(found.stays + _unseen(frameworks, found.stays) + _caches(frameworks))
    )
    return _report(_moved.pieces, _moved.stays)


def _back() -> Report:
    global _moved
    if _moved is None:
        return _report([], [])
    pieces, frameworks = _moved.pieces, _moved.frameworks
    tried: list[Piece] = []
    try:
        for piece in pieces:
            tried.append(piece)
            piece.back()
        _wait(frameworks)
    except BaseException as error:  # an interrupt too: see `_out`
        for piece in tried:
            try:
                piece.free()
            except BaseException:  # an interrupt too; it is on the device then, and its copy is the same
                _moved.whole = False
        _give_back(frameworks)
        why = f"{_sentence(error)} All {words.memory(_size(pieces))} stay in host memory."
        return _report([], _moved.stays, why)
    _moved = None
    for piece in pieces:
        piece.drop()
    _give_back(frameworks)
    return _report(pieces, [])


def _undo(freed: list[Piece]) -> list[Piece]:
    """Put back what was freed already; those that could not be."""
    lost = []
    for piece in freed:
        try:
            piece.back()
        except BaseException:  # whatever it is: the others are to be tried too
            lost.append(piece)
    return lost


def _loaded() -> list[Framework]:
    out = []
    for find in FRAMEWORKS:
        # one that is half imported, or of a version that we do not know, has nothing that we could move
        with contextlib.suppress(Exception):
            framework = find()
            if framework is not None:
                out.append(framework)
    return out


def _look(frameworks: list[Framework]) -> Found:
    if not frameworks:
        return Found()
    # cycles that nobody refers to any more would be moved there and back
    gc.collect()
    namespace = _namespace()
    names = {id(value): name for name, value in list(namespace.items()) if not name.startswith("_")}
    objects = [*gc.get_objects(), *namespace.values()]
    found = []
    for framework in frameworks:
        try:
            found.append(framework.find(objects, names))
        except Exception:
            why = "this version of it is not known well enough"
            found.append(Found([], [Stay(framework.name, "all arrays", _held(framework), why)]))
    return settle(found)


def _unseen(frameworks: list[Framework], known: Sequence[Piece | Stay]) -> list[Stay]:
    """What frameworks have on the device by their own count beyond what is known of."""
    out = []
    for framework in frameworks:
        of_it = [one.size_bytes for one in known if one.framework == framework.name]
        rest = _held(framework) - sum(of_it)
        # each allocation is rounded up: some bytes more are none that we have not seen
        if rest > ROUNDING_BYTES * (1 + len(of_it)):
            out.append(Stay(framework.name, "arrays that Python does not see", rest, COMPILED))
    return out


def _caches(frameworks: list[Framework]) -> list[Stay]:
    found = [(framework.name, _cached(framework)) for framework in frameworks]
    return [Stay(name, "free memory", size, CACHED) for name, size in found if size > 0]


def _held(framework: Framework) -> int:
    with contextlib.suppress(Exception):  # a count that can't be had is not a reason to fail
        return framework.held_bytes() or 0
    return 0


def _cached(framework: Framework) -> int:
    with contextlib.suppress(Exception):  # as above
        return framework.cached_bytes()
    return 0


def _wait(frameworks: list[Framework]) -> None:
    for framework in frameworks:
        framework.wait()


def _give_back(frameworks: list[Framework]) -> None:
    for framework in frameworks:
        with contextlib.suppress(Exception):  # then it stays, and is measured
            framework.give_back()


def _all_stay(found: Found) -> list[Stay]:
    why = "it was not moved"
    return found.stays + [Stay(p.framework, p.what, p.size_bytes, why, p.address) for p in found.pieces]


def _report(moved: Iterable[Piece], stays: list[dict[str, Any]], error: str | None = None) -> Report:
    by_framework: dict[str, int] = {}
    for piece in moved:
        by_framework[piece.framework] = by_framework.get(piece.framework, 0) + piece.size_bytes
    return {
        "ok": error is None,
        "moved_bytes": sum(by_framework.values()),
        "stays_bytes": sum(line["bytes"] for line in stays),
        "stays": stays,
        "frameworks": by_framework,
        "error": error,
    }


def _size(pieces: Iterable[Piece]) -> int:
    return sum(piece.size_bytes for piece in pieces)


def _count(pieces: list[Piece]) -> str:
    return f"{words.memory(_size(pieces))} of {len(pieces)} {'array' if len(pieces) == 1 else 'arrays'}"


def _list(pieces: list[Piece]) -> str:
    named = ", ".join(piece.what for piece in pieces[:3])
    return f"{named} and {len(pieces) - 3} more" if len(pieces) > 3 else named


def _namespace() -> dict[str, Any]:
    module: Any = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell.user_ns if shell is not None else sys.modules["__main__"].__dict__


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """An interrupt is meant for a cell, and none runs now: one that comes meanwhile is not for us."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        # None: it was set by something else than Python, and can't be set again
        signal.signal(signal.SIGINT, before if before is not None else signal.default_int_handler)


def _sentence(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "It was interrupted."
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "There is not enough memory for it."
    return f"It failed with {type(error).__name__}: {words.clean(error, 200)}"
