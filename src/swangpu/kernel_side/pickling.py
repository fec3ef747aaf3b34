"""How one variable after the other is pickled and read back, and plain words for what can't be.

With cloudpickle, functions and classes of the notebook come along, and find the notebook's variables again as before;
without it they are named as left.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from . import tensors
from .buffers import Shelf, Taken
from .overlap import Spans

__all__ = [
    "Plain",
    "Sink",
    "make_pickler",
    "mark",
    "notebook_globals",
    "read_all",
    "why_lost",
    "why_not",
    "with_cloudpickle",
]

#: a variable's name, where its pickle begins, how many objects are remembered behind it, and the first of its buffers
Entry = Sequence[Any]

PROTOCOL = 5
WITHOUT_CLOUDPICKLE = " (install cloudpickle to carry it)"
MAPPED = "it was a file mapped to memory, and is in memory only now"
_FILES = (io.TextIOWrapper, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.FileIO)
#: the namespace that is being loaded into; see `notebook_globals`
_loading: dict[str, Any] = {}


class Sink:
    """Where a pickler writes to: a file, or nowhere for a preview.

    ``failed`` tells an error of the disk from one of a variable. ``notes`` has what of a variable will not be as it
    was, by its name. ``spans``, where there are any, are told of each array.
    """

    def __init__(self, file: Any, spans: Spans | None = None) -> None:
        self._file = file
        self.spans = spans
        self.shelf = Shelf(file is None)
        self.name = ""
        self.notes: dict[str, str] = {}
        self.position = 0
        self.failed = False
        self.recent = b""
        if file is not None:
            file.seek(0)
            file.truncate()

    def note(self, what: str) -> None:
        self.notes.setdefault(self.name, what)

    def write_large(self) -> list[Any]:
        """Write what was kept out of the pickles, behind them all; where it lies."""
        try:
            return list(self.shelf.write(self._file))
        except Exception:
            self.failed = True
            raise

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self._file is not None:
            try:
                self._file.write(data)
            except Exception:
                self.failed = True
                raise
        self.recent = bytes(data) if size < 1000 else b""
        self.position += size
        return size


def make_pickler(sink: Sink, namespace: dict[str, Any]) -> pickle.Pickler:
    """A pickler whose ``dump`` can be called again and again, all sharing what they have written.

    Parameters
    ----------
    sink : Sink
    namespace : dict
        The notebook's variables: functions defined there have it as their globals.
    """
    try:
        import cloudpickle

        pickler: pickle.Pickler = with_cloudpickle(cloudpickle)(sink, namespace, sink.shelf.take, _reducer(sink))
    except ImportError:
        pickler = Plain(sink, namespace, sink.shelf.take, _reducer(sink))
    return pickler


def _reducer(sink: Sink) -> Callable[[Any], Any]:
    """What both picklers do otherwise than pickle would."""
    tensor = tensors.reducer(sink.shelf, sink.note)
    memmap: Any = getattr(sys.modules.get("numpy"), "memmap", None)

    def reduce(obj: Any) -> Any:
        if memmap is not None and isinstance(obj, memmap) and obj._mmap is not None:
            sink.note(MAPPED)
        if sink.spans is not None:
            sink.spans.look(sink.name, obj)
        # cloudpickle would make a text in memory of a file that is open for reading
        if isinstance(obj, _FILES) and obj not in (sys.stdin, sys.stdout, sys.stderr):
            raise pickle.PicklingError(f"cannot pickle '{type(obj).__name__}' object")
        return tensor(obj) if tensor is not None else NotImplemented

    return reduce


def _as_pickle_does(obj: Any) -> Any:
    return NotImplemented


class Plain(pickle.Pickler):
    """Standard pickle, without the trap that it stores the notebook's own classes by name only.

    ``reduce`` says how some objects are taken apart otherwise.
    """

    def __init__(
        self, sink: Any, namespace: dict[str, Any], callback: Any, reduce: Callable[[Any], Any] = _as_pickle_does
    ) -> None:
        super().__init__(sink, protocol=PROTOCOL, buffer_callback=callback)
        self._reduce = reduce

    def reducer_override(self, obj: Any) -> Any:
        reduced = self._reduce(obj)
        if reduced is not NotImplemented:
            return reduced
        if isinstance(obj, (type, types.FunctionType)) and getattr(obj, "__module__", None) == "__main__":
            what = "class" if isinstance(obj, type) else "function"
            raise pickle.PicklingError(
                f"needs the {what} {obj.__name__} of this notebook (install cloudpickle to carry it)"
            )
        return NotImplemented


class _Notebook:
    """Stands for the notebook's namespace in a pickle, so that functions share it afterwards as before."""

    def __reduce__(self) -> Any:
        return notebook_globals, ()


def notebook_globals() -> dict[str, Any]:
    """The namespace that is being loaded into."""
    return _loading


def with_cloudpickle(cloudpickle: Any) -> Any:
    """The class of a pickler that takes functions and classes of the notebook along."""

    class Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
        def __init__(
            self, sink: Any, namespace: dict[str, Any], callback: Any, reduce: Callable[[Any], Any] = _as_pickle_does
        ) -> None:
            super().__init__(sink, protocol=PROTOCOL, buffer_callback=callback)
            self._namespace = namespace
            self._reduce = reduce
            # otherwise each function would get a copy of the variables it uses, and no longer see new values
            globals_of = getattr(self, "globals_ref", None)
            if isinstance(globals_of, dict):
                globals_of[id(namespace)] = _Notebook()

        def reducer_override(self, obj: Any) -> Any:
            reduced = self._reduce(obj)
            return super().reducer_override(obj) if reduced is NotImplemented else reduced

        def _dynamic_function_reduce(self, function: Any) -> Any:
            reduced = super()._dynamic_function_reduce(function)
            if function.__globals__ is self._namespace:
                slots = reduced[2][1]
                used = slots.get("__globals__", {})
                # the others are carried, or left, by their own names
                slots["__globals__"] = {k: v for k, v in used.items() if k.startswith("_") and not k.startswith("__")}
            return reduced

    return Pickler


def mark(pickler: pickle.Pickler, sink: Sink) -> int:
    """Write a mark after a variable.

    Returns
    -------
    int
        How many objects the pickler remembers now. A reader that lost a variable goes on with its own count there.
    """
    one: list[Any] = []
    pickler.dump((one, one))
    for opcode, argument, _ in pickletools.genops(sink.recent):
        if opcode.name in ("BINGET", "LONG_BINGET"):
            # the list itself, and the pair
            return int(argument or 0) + 2
    raise pickle.PicklingError("the pickler does not tell its place")


def read_all(
    file: Any, order: Sequence[Entry], namespace: dict[str, Any], taken: Taken
) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """The variables, why some could not be read back, and what of others is not as it was.

    Parameters
    ----------
    file : file
    order : sequence of Entry
    namespace : dict
        That of the notebook: its functions have it as their globals.
    taken : Taken
        What lies beside the pickles.
    """
    global _loading
    _loading = namespace
    builtins = namespace.get("__builtins__")
    try:
        notes: dict[str, str] = {}
        try:
            unpickler, found = pickle.Unpickler(file, buffers=taken.in_order(0)), {}  # noqa: S301 - our own file, readable by its owner only
            for name, *_ in order:
                tensors.loading(tensors.Loading(taken, _noting(notes, name)))
                found[name] = unpickler.load()
                unpickler.load()
            return found, {}, notes
        except Exception:
            return _read_patiently(file, order, taken)
    finally:
        _loading = {}
        tensors.loading(None)
        # cloudpickle sets it in the globals of each function it makes
        if builtins is not None:
            namespace["__builtins__"] = builtins


def _noting(notes: dict[str, str], name: str) -> Callable[[str], None]:
    def note(what: str) -> None:
        notes.setdefault(name, what)

    return note


def _read_patiently(
    file: Any, order: Sequence[Entry], taken: Taken
) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """One that can't be read does not take the others with it, except those that share something with it."""
    unpickler = _Patient(file, buffers=())
    memo = unpickler.memo = _Memo()
    found: dict[str, Any] = {}
    lost: dict[str, str] = {}
    notes: dict[str, str] = {}
    for name, start, remembered, first in order:
        before = len(memo)
        file.seek(start)
        unpickler.problem = None
        # one that failed half-way has not asked for all of its own
        unpickler._buffers = taken.in_order(first)
        tensors.loading(tensors.Loading(taken, _noting(notes, name)))
        try:
            found[name] = unpickler.load()
        except Exception as error:
            unpickler.problem = unpickler.problem or error
        if unpickler.problem is not None:
            found.pop(name, None)
            lost[name] = why_lost(unpickler.problem)
            memo.forget(before)
        memo.jump(remembered)
    return found, lost, {name: what for name, what in notes.items() if name in found}


class _Lost:
    """Stands where something could not be made, until the variable that holds it is dropped."""


#: the standard library's own, in Python: its steps can be replaced
_PythonUnpickler: Any = pickle._Unpickler


class _Patient(_PythonUnpickler):  # type: ignore[misc]
    """Goes on behind what fails: the names and classes that come there are needed by the variables that follow."""

    problem: BaseException | None = None
    dispatch = dict(_PythonUnpickler.dispatch)  # noqa: RUF012


def _forgiving(code: bytes, after: str) -> None:
    strict = _Patient.dispatch[code[0]]

    def load(self: _Patient) -> None:
        try:
            strict(self)
        except Exception as error:
            self.problem = self.problem or error
            if after == "replace":
                self.stack[-1] = _Lost()
            elif after == "append":
                self.stack.append(_Lost())

    _Patient.dispatch[code[0]] = load


for _code in (pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.STACK_GLOBAL):
    _forgiving(_code, "append")
for _code in (pickle.BUILD, pickle.APPEND, pickle.APPENDS, pickle.SETITEM, pickle.SETITEMS, pickle.ADDITEMS):
    _forgiving(_code, "nothing")
_forgiving(pickle.REDUCE, "replace")


class _Memo(dict):  # type: ignore[type-arg]
    """An unpickler's memory that can leave out what was lost and still count on."""

    _next = 0

    def __len__(self) -> int:
        return self._next

    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, value)
        self._next = max(self._next, key + 1)

    def forget(self, first: int) -> None:
        """Leave out what may be half-made; words, classes, functions and kinds of numbers are not a variable's own."""
        whole: tuple[Any, ...] = (str, bytes, type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)
        numpy: Any = sys.modules.get("numpy")
        whole += (numpy.dtype,) if numpy is not None else ()
        for key in [key for key, value in self.items() if key >= first and not isinstance(value, whole)]:
            del self[key]

    def jump(self, to: int) -> None:
        self._next = to


_PLAIN_WORDS = (
    (r"generator|coroutine", "a generator in the middle of its work can't be saved"),
    (r"TextIOWrapper|Buffered(Reader|Writer|Random)|FileIO", "an open file can't be saved"),
    (r"socket|[Cc]onnection|[Cc]ursor|SSLContext|Context\b", "a live connection can't be saved"),
    (r"lock|Lock|[Tt]hread|Condition|Event\b", "a lock or a running thread can't be saved"),
    (r"module", "a module that can't be imported can't be saved"),
    (r"frame|traceback|code\b", "a part of running code can't be saved"),
)


def why_not(value: Any, error: BaseException) -> str:
    """In plain words why a variable can't be pickled."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "there is not enough memory to save it"
    try:
        said = str(error)
    except Exception:
        said = ""
    if "excessively deep recursion" in said:
        return "it is nested too deeply"
    if said.startswith("needs the "):
        return said
    culprit = re.search(r"'([\w.]+)' object", said)
    name = culprit.group(1) if culprit else type(value).__name__
    for pattern, words in _PLAIN_WORDS:
        if re.search(pattern, name):
            return words if name.endswith(type(value).__name__) else f"it holds something: {words}"
    return f"a {name.rpartition('.')[2]} can't be saved"


def why_lost(error: BaseException) -> str:
    """In plain words why a variable can't be read back."""
    if isinstance(error, ImportError):
        return "what it needs can't be imported here"
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    return "it can't be brought back here"
