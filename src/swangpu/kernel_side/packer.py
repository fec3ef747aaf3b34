"""How objects are written for the other process, and read there: by their numbers where both sides have them."""

from __future__ import annotations

import functools
import hashlib
import importlib
import io
import os
import pickle
import sys
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from . import content, pickling, reading

__all__ = ["Hash", "Known", "Unpacker", "Unsendable", "new", "worth_a_number"]

#: shorter texts are not worth a number
SHORT = 1000
#: buffers are hashed in such pieces, several at the same time
PIECE_BYTES = 1 << 25
_NAMESPACE = "namespace"


class Known(Protocol):
    """What both sides have: objects by number, and numbers by the objects' ids."""

    namespace: dict[str, Any]
    objects: dict[int, Any]
    numbers: dict[int, int]


class Unsendable(pickle.PicklingError):
    """Says in plain words why something must not be pickled."""


def worth_a_number(thing: Any) -> bool:
    kind = type(thing)
    return kind not in content.ATOMS or (kind in (str, bytes) and len(thing) >= SHORT)


@dataclass
class Hash:
    """A hash of what an object is, and the objects that both sides know which it holds."""

    digest: bytes
    below: list[Any]

    @staticmethod
    def of(known: Known, thing: Any) -> Hash:
        hasher = _Hasher()
        held: list[Any] = []

        def name(one: Any) -> int | None:
            number = known.numbers.get(id(one))
            if number is not None:
                held.append(one)
            return number

        try:
            new(hasher, known, name, hasher.buffer, set()).dump_own(thing)
        except Exception:
            # what can't be told is taken as changed, always
            return Hash(os.urandom(16), held)
        return Hash(hasher.digest(), held)


class _Hasher:
    """Takes what a pickler writes."""

    def __init__(self) -> None:
        # processors have instructions for this one
        self._hash = hashlib.sha256()

    def write(self, data: Any) -> None:
        view = memoryview(data)
        if view.nbytes < PIECE_BYTES:
            self._hash.update(view)
        else:
            self._pieces(view.cast("B"))

    def buffer(self, buffer: Any) -> None:
        self.write(buffer.raw())

    def digest(self) -> bytes:
        return self._hash.digest()

    def _pieces(self, view: memoryview) -> None:
        pieces = [view[at : at + PIECE_BYTES] for at in range(0, view.nbytes, PIECE_BYTES)]
        # hashing lets go of the interpreter's lock
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            for digest in pool.map(lambda piece: hashlib.sha256(piece).digest(), pieces):
                self._hash.update(digest)


class Unpacker(pickle.Unpickler):
    def __init__(self, known: Known, stream: Any, buffers: list[Any]) -> None:
        super().__init__(io.BytesIO(stream), buffers=buffers)  # from our own process, by a pipe of ours
        self._known = known

    def persistent_load(self, name: Any) -> Any:
        if name == _NAMESPACE:
            return self._known.namespace
        if isinstance(name, str):
            return importlib.import_module(name.partition(":")[2])
        return self._known.objects[name]


def new(
    sink: Any, known: Known, number: Callable[[Any], int | None], buffer: Callable[[Any], Any], needs: set[str]
) -> Any:
    """A pickler that writes numbers for what both sides know, and notes what the notebook's functions need."""
    try:
        import cloudpickle
    except ImportError:
        return _kind(None)(sink, known, number, buffer, needs)
    return _kind(cloudpickle)(sink, known, number, buffer, needs)


@functools.cache
def _kind(cloudpickle: Any) -> Any:
    base: Any = pickling.Plain if cloudpickle is None else pickling.with_cloudpickle(cloudpickle)

    class Packer(base):  # type: ignore[misc]
        def __init__(self, sink: Any, known: Known, number: Any, buffer: Any, needs: set[str]) -> None:
            super().__init__(sink, known.namespace, buffer)
            self._known = known
            self._number = number
            self._needs = needs
            self._own: Any = None
            #: whether code of the notebook will make objects of this
            self.makes = False
            # a function's globals are the variables of the side it is on
            if cloudpickle is not None:
                self.globals_ref[id(known.namespace)] = known.namespace

        def dump_own(self, thing: Any) -> None:
            """Write an object itself, although it has a number."""
            self._own = thing
            self.dump(thing)

        def persistent_id(self, thing: Any) -> Any:
            kind = type(thing)
            if kind in content.ATOMS and not worth_a_number(thing):
                return None
            if thing is self._known.namespace:
                return _NAMESPACE
            if kind is types.ModuleType and _can_be_imported(thing):
                return f"module:{thing.__name__}"
            if thing is self._own:
                self._own = None
                return None
            return self._number(thing)

        def reducer_override(self, thing: Any) -> Any:
            why = _why_never(thing)
            if why is not None:
                raise Unsendable(why)
            if isinstance(thing, types.CodeType) and cloudpickle is not None:
                return _with_name(thing, self.dispatch_table[types.CodeType](thing))
            if isinstance(thing, types.CellType) and cloudpickle is not None:
                held = content.held("cell", thing)
                return cloudpickle.cloudpickle._make_empty_cell, (), (None, {"cell_contents": held[0]} if held else {})
            if type(thing).__module__ == "__main__" and content.copies(type(thing)):
                self.makes = True
            reduced = _from_device(thing) or super().reducer_override(thing)
            return _with_slots(thing, reduced) if isinstance(thing, type) and isinstance(reduced, tuple) else reduced

        def _dynamic_function_reduce(self, function: Any) -> Any:
            reduced = super()._dynamic_function_reduce(function)
            made, arguments, (state, slots) = reduced[0], reduced[1], reduced[2]
            if function.__closure__ is not None and len(arguments) == 5:
                # the cells themselves: the other side's are then known to be the same
                arguments = (*arguments[:4], function.__closure__)
                slots["__closure__"] = None
            if function.__globals__ is self._known.namespace:
                self._needs.update(reading.globals_of(function.__code__))
                # they are sent by their own names
                slots["__globals__"] = {}
            return (made, arguments, (state, slots), *reduced[3:])

    return Packer


def _can_be_imported(module: types.ModuleType) -> bool:
    return sys.modules.get(module.__name__) is module and module.__name__ != "__main__"


def _why_never(thing: Any) -> str | None:
    """Some can be pickled and must not be: their other half is in the page."""
    widgets: Any = sys.modules.get("ipywidgets")
    if widgets is not None and isinstance(thing, getattr(widgets, "Widget", ())):
        return "a widget lives in this notebook's page"
    return None


def _with_slots(kind: type, reduced: Any) -> Any:
    """A class with slots is one there too: cloudpickle says so after the class is made, which is too late."""
    arguments = reduced[1]
    if "__slots__" not in vars(kind) or len(arguments) < 4 or not isinstance(arguments[3], dict):
        return reduced
    made_with = {**arguments[3], "__slots__": vars(kind)["__slots__"]}
    return (reduced[0], (*arguments[:3], made_with, *arguments[4:]), *reduced[2:])


def _with_name(code: types.CodeType, reduced: Any) -> Any:
    """Code keeps the name of its cell, which cloudpickle takes away: tracebacks show its lines by that."""
    named = tuple(code.co_filename if one == "<dynamic-code>" else one for one in reduced[1])
    return (reduced[0], named, *reduced[2:])


def _from_device(thing: Any) -> Any:
    """A tensor on a GPU goes as one in the computer's memory: the notebook has no GPU."""
    torch: Any = sys.modules.get("torch")
    tensor: Any = getattr(torch, "Tensor", None)
    if tensor is None or not isinstance(thing, tensor) or thing.device.type in ("cpu", "meta"):
        return None
    host = thing.detach().cpu()
    if isinstance(thing, torch.nn.Parameter):
        host = torch.nn.Parameter(host, thing.requires_grad)
    return host.__reduce_ex__(pickling.PROTOCOL)
