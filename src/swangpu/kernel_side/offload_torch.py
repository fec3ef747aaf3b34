"""Moving what torch has on a device: storages are emptied and filled again, tensors are never touched.

All tensors that share memory share one *storage*, and so do autograd graphs, optimizers and compiled code that use it.
An emptied storage keeps its identity; so after it was filled again every alias, view, gradient and version counter is
as it was, and nothing has to be found and replaced. The price is that addresses change. Whatever knows memory by its
address must therefore be recognised, and makes it stay: captured CUDA graphs, memory shared with other processes or
libraries, and storages that have more users than can be accounted for.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .offload_parts import Found, Framework, Piece, Stay

__all__ = ["Cuda", "Torch", "copy_of", "loaded"]

AWAY = "This array is in host memory: its notebook is paused. It is back before the next cell."
GRAPH = "a captured CUDA graph knows arrays by their address"
FOREIGN = "its memory belongs to another library or process"
SHARED = "another process uses the same memory"
UNKNOWN = "something outside of Python uses it too"
SPARSE = "it is not laid out as one plain array"
OLD = "this version of torch does not tell who uses its memory"
#: what is in host memory now, by the storage that is empty meanwhile
_away: dict[int, _Storage] = {}


class Cuda:
    """The part of torch that knows devices.

    Parameters
    ----------
    torch : module
    """

    def __init__(self, torch: Any) -> None:
        self._torch = torch

    def has(self, place: Any) -> bool:
        """Whether a tensor or storage is on a device."""
        return bool(place.device.type == "cuda")

    def wait(self) -> None:
        for n in self._each():
            # a device that was not used would be taken into use by asking
            if self._torch.cuda.memory_reserved(n):
                self._torch.cuda.synchronize(n)

    def give_back(self) -> None:
        # neither is promised by every version: without them some memory stays cached, which is measured
        for name in ("_cuda_clearCublasWorkspaces", "_host_emptyCache"):
            with contextlib.suppress(AttributeError, RuntimeError):
                getattr(self._torch._C, name)()
        self._torch.cuda.empty_cache()

    def held_bytes(self) -> int | None:
        return sum(int(self._torch.cuda.memory_allocated(n)) for n in self._each())

    def cached_bytes(self) -> int:
        reserved = sum(int(self._torch.cuda.memory_reserved(n)) for n in self._each())
        return reserved - (self.held_bytes() or 0)

    def _each(self) -> range:
        return range(self._torch.cuda.device_count())


def loaded() -> Torch | None:
    """None unless the person has imported torch and used CUDA with it."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return Torch(torch, Cuda(torch))


def copy_of(storage: Any) -> Any:
    """A storage's copy in host memory while it is moved there, else the storage itself: what can be read now."""
    piece = _away.get(storage._cdata)
    return storage if piece is None else piece.host


class Torch(Framework):
    """Torch in this process.

    Parameters
    ----------
    torch : module
    device : Cuda
        What is on a device, and how to wait for it.
    """

    name = "torch"

    def __init__(self, torch: Any, device: Cuda) -> None:
        self._torch, self._device = torch, device

    def find(self, objects: Sequence[Any], names: dict[int, str]) -> Found:
        with self._torch._C.DisableTorchFunction():
            return self._find(objects, names)

    def wait(self) -> None:
        self._device.wait()

    def give_back(self) -> None:
        self._device.give_back()

    def held_bytes(self) -> int | None:
        return self._device.held_bytes()

    def cached_bytes(self) -> int:
        return self._device.cached_bytes()

    def _find(self, objects: Sequence[Any], names: dict[int, str]) -> Found:
        torch, found = self._torch, Found()
        users = _Users(torch)
        for tensor in _instances(objects, torch.Tensor):
            users.add(tensor)
        for storage in _instances(objects, torch.UntypedStorage):
            users.group(storage)
        graphs = any(True for _ in _instances(objects, getattr(torch.cuda, "CUDAGraph", ())))
        users.walk(objects)
        for tensor in users.odd:
            if self._device.has(tensor):
                found.stays.append(Stay(self.name, _describe(tensor, names), _odd_bytes(tensor), SPARSE))
        elsewhere = _in_other_processes()
        for group in users.groups.values():
            storage, size = group.storage, _size(group.storage)
            if not size or not self._device.has(storage):
                continue
            what = group.describe(names)
            if graphs:
                why: str | None = GRAPH
            elif not storage.resizable():
                why = FOREIGN
            elif storage._cdata in elsewhere:
                why = SHARED
            else:
                why = users.why_not(group)
            if why is not None:
                found.stays.append(Stay(self.name, what, size, why, storage.data_ptr()))
            else:
                found.pieces.append(_Storage(torch, storage, what, size))
        return found


@dataclass
class _Group:
    """One storage, and who uses it."""

    storage: Any
    tensors: list[Any] = field(default_factory=list)
    #: copies of a tensor's head that graphs keep for the backward pass
    saved: int = 0

    def describe(self, names: dict[int, str]) -> str:
        if not self.tensors:
            return "memory without a tensor"
        named = [tensor for tensor in self.tensors if id(tensor) in names]
        return _describe((named or self.tensors)[0], names)


class _Users:
    """Who uses which storage, as far as Python can see."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._seen: set[int] = set()
        self._count = getattr(torch._C, "_storage_Use_Count", None)
        self.groups: dict[int, _Group] = {}
        #: tensors that have no storage
        self.odd: list[Any] = []
        self._keep: list[Any] = []
        if self._count is not None:
            alone = torch.UntypedStorage(8, device="cpu")
            # what Python's own handle of a storage counts
            self._own = int(self._count(alone._cdata))

    def add(self, tensor: Any) -> None:
        """Count a tensor, its gradient and what it is a view of, each once."""
        pending = [tensor]
        while pending:
            one = pending.pop()
            if id(one) in self._seen:
                continue
            self._seen.add(id(one))
            # an id is only good as long as its object lives
            self._keep.append(one)
            try:
                self.group(one.untyped_storage()).tensors.append(one)
            except (RuntimeError, NotImplementedError):
                self.odd.append(one)
            # both may live in C++ alone; asking other tensors for a gradient warns
            beside = [one._base, one.grad if one.is_leaf or one.retains_grad else None]
            pending += [other for other in beside if other is not None]

    def group(self, storage: Any) -> _Group:
        return self.groups.setdefault(storage._cdata, _Group(storage))

    def walk(self, objects: Sequence[Any]) -> None:
        """Count what autograd graphs have saved for the backward pass."""
        checkpoint: Any = sys.modules.get("torch.utils.checkpoint")
        if any(True for _ in _instances(objects, getattr(checkpoint, "_CheckpointFrame", ()))):
            # looking at what they saved would compute it again, with the person's code
            return
        nodes = [tensor.grad_fn for tensor in self._keep if tensor.grad_fn is not None]
        seen = set(nodes)
        attributes: dict[type, list[str]] = {}
        while nodes:
            node = nodes.pop()
            for attribute in attributes.setdefault(type(node), _saved_names(node)):
                self._look(node, attribute)
            following = {after for after, _ in node.next_functions if after is not None} - seen
            seen |= following
            nodes += following

    def _look(self, node: Any, attribute: str) -> None:
        try:
            first, second = getattr(node, attribute), getattr(node, attribute)
        except RuntimeError:
            # freed by a backward pass, or changed since: what it holds is then not accounted for, and stays
            return
        if not isinstance(first, (tuple, list)):
            first, second = [first], [second]
        for one, other in zip(first, second):  # noqa: B905 - Python 3.9 has no strict
            if not issubclass(type(one), self._torch.Tensor):
                continue
            if one is other:
                # the very tensor: it may live in C++ alone
                self.add(one)
                continue
            with contextlib.suppress(RuntimeError, NotImplementedError):
                self.group(one.untyped_storage()).saved += 1

    def why_not(self, group: _Group) -> str | None:
        """Why a storage may have users that were not seen."""
        if self._count is None:
            return OLD
        expected = self._own + len(group.tensors) + group.saved
        return None if int(self._count(group.storage._cdata)) == expected else UNKNOWN


class _Storage(Piece):
    framework = "torch"

    def __init__(self, torch: Any, storage: Any, what: str, size_bytes: int) -> None:
        self._torch, self._storage = torch, storage
        self.what, self.size_bytes, self.address = what, size_bytes, int(storage.data_ptr())
        self.host: Any = None
        self._pinned = False

    def copy(self, pinned: bool) -> None:
        self.host, self._pinned = self._room(pinned)
        self.host_bytes = self.pinned_bytes() if self._pinned else self.size_bytes
        self.host.copy_(self._storage, non_blocking=self._pinned)

    def free(self) -> None:
        if not self._is_away():
            _away[self._storage._cdata] = self
            self._storage.resize_(0)
            self._forbid(AWAY)

    def back(self) -> None:
        if not self._is_away():
            return
        self._forbid(None)
        try:
            self._storage.resize_(self.size_bytes)
            self._storage.copy_(self.host, non_blocking=self._pinned)
        except BaseException:
            # an interrupt too: an array that is there and holds nothing must not be taken for one that is back
            self._storage.resize_(0)
            self._forbid(AWAY)
            raise
        del _away[self._storage._cdata]

    def drop(self) -> None:
        self.host = None

    def _is_away(self) -> bool:
        return self._storage._cdata in _away

    def _room(self, pinned: bool) -> tuple[Any, bool]:
        torch = self._torch
        if pinned:
            # no more of it, or no device that could use it
            with contextlib.suppress(RuntimeError):
                taken = torch.empty(self.size_bytes, dtype=torch.uint8, device="cpu", pin_memory=True)
                return taken.untyped_storage(), True
        return torch.UntypedStorage(self.size_bytes, device="cpu"), False

    def _forbid(self, why: str | None) -> None:
        """Let whoever looks at the array meanwhile have an error that says why: builds with CUDA can do that."""
        torch = self._torch
        with contextlib.suppress(AttributeError, RuntimeError):
            if why is None:
                torch._C._clear_storage_data_ptr_access_error_msg(self._storage._cdata)
            else:
                torch._C._set_storage_data_ptr_access_error_msg(self._storage._cdata, why)


def _instances(objects: Sequence[Any], kind: Any) -> Iterator[Any]:
    """Those of a type; the objects themselves are not asked, since some run code when they are."""
    kinds = {each for each in set(map(type, objects)) if issubclass(each, kind)}
    return (one for one in objects if type(one) in kinds) if kinds else iter(())


def _saved_names(node: Any) -> list[str]:
    names = [name for name in dir(node) if name.startswith("_saved_")]
    # functions written in Python
    return [*names, "saved_tensors"] if hasattr(type(node), "saved_tensors") else names


def _size(storage: Any) -> int:
    """Its bytes; 0 for one that has none, as those of tensors that only pretend to have data."""
    try:
        return int(storage.nbytes()) if storage.data_ptr() else 0
    except RuntimeError:
        return 0


def _odd_bytes(tensor: Any) -> int:
    with contextlib.suppress(Exception):  # each layout has parts of its own, and this is for a sentence only
        parts = [getattr(tensor, name)() for name in ("_values", "_indices")]
        return sum(int(part.nbytes) for part in parts)
    return 0


def _describe(tensor: Any, names: dict[int, str]) -> str:
    kind = str(tensor.dtype).rpartition(".")[2]
    shape = "×".join(str(int(n)) for n in tensor.shape) or "1"
    name = names.get(id(tensor))
    return f"{name} ({kind}, {shape})" if name else f"a tensor ({kind}, {shape})"


def _in_other_processes() -> set[int]:
    """Storages that were sent to other processes or came from there."""
    reductions: Any = sys.modules.get("torch.multiprocessing.reductions")
    cache = getattr(reductions, "shared_cache", None)
    return {reference.cdata for reference in list(cache.values())} if cache is not None else set()
