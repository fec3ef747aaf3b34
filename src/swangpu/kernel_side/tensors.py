"""Carrying torch's tensors as what they are: what shares memory shares it again, and what was on a GPU goes to one.

Torch's own way through pickle gives each tensor a copy of its memory, keeps it in the pickle, and fails where there
is no GPU any more.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from typing import Any

from .buffers import Shelf, Taken
from .offload_torch import copy_of

__all__ = ["Loading", "loading", "made_typed", "made_untyped", "reducer"]

#: how much of a device's memory is in the host's at one time
PART_BYTES = 64 << 20
NO_GRAPH = "its gradient function was left behind"
HERE = "it was on a GPU, and there is none here: it is in host memory now"

Reduced = Any
Note = Callable[[str], None]


class Loading:
    """What is being loaded: where data is found, and what there is to say."""

    def __init__(self, taken: Taken, note: Note) -> None:
        self.taken, self.note = taken, note


_loading: list[Loading] = []


def loading(one: Loading | None) -> None:
    """Set what is being loaded; None when that is over."""
    _loading[:] = [one] if one is not None else []


def reducer(shelf: Shelf, note: Note) -> Callable[[Any], Reduced] | None:
    """For a pickler's ``reducer_override``; None where there is no torch.

    Parameters
    ----------
    shelf : Shelf
    note : callable
        Is told what of the variable being saved will not be as it was.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "UntypedStorage"):
        return None
    untyped, typed, tensor = torch.UntypedStorage, torch.storage.TypedStorage, torch.Tensor

    def reduce(obj: Any) -> Reduced:
        kind = type(obj)
        if kind is typed:
            return made_typed, (obj._untyped_storage, obj.dtype)
        if kind is untyped and _device(obj).partition(":")[0] in ("cpu", "cuda"):
            # of a paused notebook the copy, which says nothing of the device
            source = copy_of(obj)
            size = int(source.nbytes())
            return made_untyped, (shelf.put(size, lambda: _parts(torch, source)), size, _device(obj))
        if issubclass(kind, tensor) and obj.grad_fn is not None:
            note(NO_GRAPH)
        return NotImplemented

    return reduce


def made_typed(untyped: Any, dtype: Any) -> Any:
    """The storage that a tensor's pickle names."""
    return sys.modules["torch"].storage.TypedStorage(wrap_storage=untyped, dtype=dtype, _internal=True)


def made_untyped(place: int, size_bytes: int, device: str) -> Any:
    """Memory filled with what was saved, on the device where it was, else on one that is there."""
    import importlib

    torch: Any = importlib.import_module("torch")
    now = _loading[0]
    to = _where(torch, device, now.note)
    storage = torch.UntypedStorage(size_bytes, device=to)
    if not size_bytes:
        return storage
    if to == "cpu":
        for _ in now.taken.parts(place, _view(storage)):
            pass
        return storage
    part = torch.UntypedStorage(min(PART_BYTES, size_bytes), device="cpu")
    target, source = _bytes(torch, storage), _bytes(torch, part)
    for start, end in now.taken.parts(place, _view(part)):
        target[start:end].copy_(source[: end - start])
    return storage


def _device(storage: Any) -> str:
    return str(storage.device)


def _where(torch: Any, device: str, note: Note) -> str:
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return device
    count = int(torch.cuda.device_count()) if torch.cuda.is_available() else 0
    if not count:
        note(HERE)
        return "cpu"
    # a new share can have fewer devices
    return device if int(number or 0) < count else "cuda:0"


def _parts(torch: Any, storage: Any) -> Iterator[Any]:
    size = int(storage.nbytes())
    if not size:
        return
    if _device(storage) == "cpu":
        yield _view(storage)
        return
    host = torch.UntypedStorage(min(PART_BYTES, size), device="cpu")
    target, source = _bytes(torch, host), _bytes(torch, storage)
    for start in range(0, size, PART_BYTES):
        end = min(start + PART_BYTES, size)
        target[: end - start].copy_(source[start:end])
        yield _view(host)[: end - start]


def _bytes(torch: Any, storage: Any) -> Any:
    """A storage as a tensor of bytes that shares its memory."""
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


def _view(storage: Any) -> memoryview:
    """A storage in host memory as Python sees memory."""
    size = int(storage.nbytes())
    return memoryview((ctypes.c_char * size).from_address(storage.data_ptr())).cast("B")
