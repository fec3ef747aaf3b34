"""What an object holds: whether it has changed, how that is sent, and how another copy of it takes it over.

An object keeps its identity when it changes: the notebook's own list gets the new items, its own array the new numbers.
Only where a type does not allow that (an array of another shape, say) is there a new object in its place.
"""

from __future__ import annotations

import collections
import contextlib
import copyreg
import datetime
import decimal
import enum
import fractions
import itertools
import operator
import re
import sys
import types
import uuid
import weakref
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

__all__ = [
    "ATOMS",
    "Shallow",
    "become",
    "children",
    "copies",
    "exchange",
    "fill",
    "has_attributes",
    "held",
    "kind_of",
    "same",
    "set_state",
    "snapshot",
]

#: nothing in them can change, and nobody minds which copy it is
ATOMS: frozenset[type] = frozenset({int, float, complex, bool, type(None), str, bytes, type(Ellipsis)})
_CELL = types.CellType
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.CodeType, types.ModuleType)
_VALUES = (
    *(tuple, frozenset, range, slice, re.Pattern, weakref.ref, PurePath, uuid.UUID),
    *(datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, decimal.Decimal, fractions.Fraction),
)
#: these are the same on both sides, or code
_SHARED = (enum.Enum, type, *_FUNCTIONS)
#: by name, since these libraries are not ours to import
_VALUES_ELSEWHERE = frozenset({("numpy", "generic"), ("numpy", "dtype"), ("torch", "Size"), ("torch", "dtype")})
_HEAP = 1 << 9  # CPython's Py_TPFLAGS_HEAPTYPE: a class that is not built into a library
_OF_C = (types.MethodDescriptorType, types.WrapperDescriptorType, types.BuiltinFunctionType)


def kind_of(kind: type) -> str:
    """``fixed``, ``list``, ``dict``, ``set``, ``cell``, ``state``, ``own`` or ``whole``.

    ``state``: a plain object of a Python class. ``own``: one whose class says itself what its state is. ``whole``: all
    others, which are told from their pickle.
    """
    found = _PLAIN.get(kind) or _KINDS.get(kind)
    if found is None:
        found = _KINDS[kind] = _kind(kind)
    return found


_PLAIN: dict[type, str] = {list: "list", dict: "dict", set: "set", tuple: "fixed", str: "fixed", _CELL: "cell"}
#: a class of the notebook may be gone tomorrow
_KINDS: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()


def _kind(kind: type) -> str:
    if kind in ATOMS or issubclass(kind, _SHARED):
        return "fixed"
    names = {(one.__module__.partition(".")[0], one.__name__) for one in kind.__mro__}
    value = issubclass(kind, _VALUES) or (bool(names & _VALUES_ELSEWHERE) and ("numpy", "void") not in names)
    # a person's own kind of tuple may have attributes
    if value and kind.__dictoffset__ == 0:
        return "fixed"
    standard = kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__
    if not standard or kind in copyreg.dispatch_table or not all(_in_python(one) for one in kind.__mro__):
        return "whole"
    asked = [getattr(kind, name, None) for name in ("__getstate__", "__setstate__")]
    default = (None, getattr(object, "__getstate__", None))
    return "state" if asked[0] in default and asked[1] is None else "own"


def _in_python(kind: type) -> bool:
    """Whether all that its objects hold can be seen from Python."""
    if kind is object:
        return True
    return bool(kind.__flags__ & _HEAP) and not any(isinstance(one, _OF_C) for one in vars(kind).values())


def copies(kind: type) -> bool:
    """Whether a class of Python makes its objects anew in its own way: it may then hold copies of what it was given."""
    written = ("__reduce__", "__reduce_ex__", "__setstate__")
    return any(name in vars(one) for one in kind.__mro__ if one is not object and _in_python(one) for name in written)


def has_attributes(kind: type) -> bool:
    """Whether there may be a ``__dict__``; of the plainest, which are the most, there is none."""
    return kind not in _PLAIN and kind not in ATOMS


# -- what was there -----------------------------------------------------------------------------------


class Shallow:
    """What an object held directly, by identity. It keeps that alive, so that no new object can have an old id.

    Attributes
    ----------
    children : list
        All of it, in order.
    below : list
        That which may hold something itself.
    """

    __slots__ = ("below", "children", "keys")

    def __init__(self, keys: Any, children: list[Any]) -> None:
        self.keys = keys
        self.children = children
        self.below = [one for one in children if type(one) not in ATOMS]


def snapshot(kind: str, thing: Any) -> Shallow:
    """What an object of a kind other than ``own`` and ``whole`` holds now."""
    if kind == "list":
        return Shallow(None, list(thing))
    if kind == "dict":
        return Shallow(None, list(itertools.chain.from_iterable(list(thing.items()))))
    if kind == "set":
        return Shallow(frozenset(map(id, thing)), list(thing))
    if kind == "cell":
        return Shallow(None, _contents(thing))
    attributes = list(getattr(thing, "__dict__", {}).items())
    attributes += [(name, getattr(thing, name)) for name in _slots(type(thing)) if hasattr(thing, name)]
    return Shallow([name for name, _ in attributes], [value for _, value in attributes])


def same(kind: str, thing: Any, before: Shallow) -> bool:
    """Whether nothing of what an object holds was exchanged."""
    mine = before.children
    if kind == "list":
        return len(thing) == len(mine) and all(map(operator.is_, thing, mine))
    if kind == "dict":
        return 2 * len(thing) == len(mine) and all(
            map(operator.is_, itertools.chain.from_iterable(thing.items()), mine)
        )
    if kind == "set":
        return bool(before.keys == frozenset(map(id, thing)))
    now = snapshot(kind, thing)
    return (
        bool(before.keys == now.keys) and len(now.children) == len(mine) and all(map(operator.is_, now.children, mine))
    )


def _contents(cell: Any) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:
        return []


def _slots(kind: type) -> list[str]:
    names: list[str] = []
    for one in kind.__mro__:
        found = vars(one).get("__slots__", ())
        for name in (found,) if isinstance(found, str) else found:
            if name in ("__dict__", "__weakref__"):
                continue
            hidden = name.startswith("__") and not name.endswith("__")
            names.append(f"_{one.__name__.lstrip('_')}{name}" if hidden else name)
    return names


def children(thing: Any) -> Iterable[Any]:
    """What belongs to something that can't change itself: a tuple's items, what a function or a class needs."""
    if isinstance(thing, (tuple, frozenset)):
        yield from thing
    elif isinstance(thing, types.FunctionType):
        yield from thing.__closure__ or ()
        yield from thing.__defaults__ or ()
        yield from (thing.__kwdefaults__ or {}).values()
    elif isinstance(thing, types.MethodType):
        yield thing.__self__
        yield thing.__func__
    elif isinstance(thing, type) and thing.__module__ == "__main__":
        yield from thing.__bases__
        for one in list(vars(thing).values()):
            if isinstance(one, property):
                yield from (one.fget, one.fset, one.fdel)
            else:
                yield getattr(one, "__func__", one)


# -- taking it over -----------------------------------------------------------------------------------


def held(kind: str, thing: Any) -> Any:
    """What a plain container, or a cell of a function, holds: for `fill`."""
    return _contents(thing) if kind == "cell" else type(thing)(thing)


def fill(thing: Any, kind: str, content: Any) -> None:
    """Give a plain container, or a cell of a function, what it holds from now on."""
    if kind == "list":
        thing[:] = content
    elif kind == "cell":
        if content:
            thing.cell_contents = content[0]
        else:
            with contextlib.suppress(ValueError):
                del thing.cell_contents
    else:
        thing.clear()
        thing.update(content)


def set_state(thing: Any, state: Any) -> None:
    """Give an object its state, as unpickling does, and take away what it no longer has."""
    own = kind_of(type(thing)) == "own"
    setter = getattr(type(thing), "__setstate__", None)
    if setter is not None:
        setter(thing, state)
        return
    attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    held = getattr(thing, "__dict__", None)
    if held is not None:
        if not own:  # a class with a `__getstate__` leaves things out on purpose
            for name in [name for name in held if name not in (attributes or {})]:
                del held[name]
        held.update(attributes or {})
    for name, value in (slots or {}).items():
        setattr(thing, name, value)
    if not own:
        for name in _slots(type(thing)):
            if hasattr(thing, name) and name not in (slots or {}):
                delattr(thing, name)


def become(thing: Any, twin: Any) -> bool:
    """Make an object what another of its type is; False where that can't be done, and ``twin`` is to stand for it."""
    if type(thing) is not type(twin):
        return False
    try:
        return any(way(thing, twin) for way in (_numbers, _random, _items, _attributes))
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError):
        return False


def _numbers(thing: Any, twin: Any) -> bool:
    """An array in place: who looks at the same memory sees it too."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and type(thing) is getattr(numpy, "ndarray", None):
        if thing.shape != twin.shape or thing.dtype != twin.dtype or not thing.flags.writeable:
            return False
        thing[...] = twin
        return True
    torch: Any = sys.modules.get("torch")
    tensor: Any = getattr(torch, "Tensor", None)
    if tensor is not None and isinstance(thing, tensor):
        if thing.shape != twin.shape or thing.dtype != twin.dtype:
            return False
        with torch.no_grad():
            thing.copy_(twin)
        return True
    if isinstance(thing, bytearray) or type(thing).__module__ == "array":
        thing[:] = twin
        return True
    return False


def _random(thing: Any, twin: Any) -> bool:
    """What numpy draws from: a generator holds it where Python can't exchange it, and would go on with the old one."""
    names = (("bit_generator", "BitGenerator"), ("bit_generator", "SeedSequence"), ("mtrand", "RandomState"))
    found: list[Any] = [getattr(sys.modules.get(f"numpy.random.{module}"), name, None) for module, name in names]
    if not any(kind is not None and isinstance(thing, kind) for kind in found):
        return False
    thing.__setstate__(twin.__reduce__()[2])
    return True


def _items(thing: Any, twin: Any) -> bool:
    bases = (list, dict, set, collections.deque)
    if not isinstance(thing, bases):
        return False
    # the methods of the library: those of a class on top of it may do more
    base: Any = next(one for one in type(thing).__mro__ if not _in_python(one) or one in bases)
    items = list(base.items(twin)) if issubclass(base, dict) else list(base.__iter__(twin))
    base.clear(thing)
    (base.extend if issubclass(base, (list, collections.deque)) else base.update)(thing, items)
    return _attributes(thing, twin) or True


def _attributes(thing: Any, twin: Any) -> bool:
    builtin = [one for one in type(thing).__mro__ if not _in_python(one)]
    # of these all is told otherwise, or is in `__dict__`
    plain = (types.SimpleNamespace, list, dict, set, collections.deque)
    if not hasattr(thing, "__dict__") or not all(issubclass(one, plain) for one in builtin):
        return False
    vars(thing).clear()
    vars(thing).update(vars(twin))
    for name in _slots(type(thing)):
        if hasattr(twin, name):
            setattr(thing, name, getattr(twin, name))
    return True


def exchange(thing: Any, kind: str, replaced: Mapping[int, tuple[Any, Any]]) -> bool:
    """Let a container or a plain object hold new objects instead of old ones, by the old ones' ids."""

    def new(one: Any) -> Any:
        return replaced.get(id(one), (None, one))[1]

    if kind in ("list", "set", "dict", "cell"):
        items = thing.values() if kind == "dict" else _contents(thing) if kind == "cell" else thing
        if not any(id(one) in replaced for one in items):
            return False
        if kind == "dict":
            for key in [key for key, one in thing.items() if id(one) in replaced]:
                thing[key] = new(thing[key])
        else:
            fill(thing, kind, [new(one) for one in items])
        return True
    if kind == "fixed":
        return False
    found = exchange(vars(thing), "dict", replaced) if hasattr(thing, "__dict__") else False
    if isinstance(thing, dict):
        found = exchange(thing, "dict", replaced) or found
    elif isinstance(thing, (list, collections.deque)):
        for place, one in enumerate(thing):
            if id(one) in replaced:
                thing[place] = new(one)
                found = True
    for name in _slots(type(thing)):
        if id(getattr(thing, name, None)) in replaced:
            setattr(thing, name, new(getattr(thing, name)))
            found = True
    return found
