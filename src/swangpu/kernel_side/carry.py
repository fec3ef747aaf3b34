"""Carrying variables over a restart: what can be pickled goes along, what can't is named before anything is lost.

The variables go into one file, one after the other, through one pickler, so that two names of one object are still two
names of one object afterwards. Small ones go first: what can't be carried is then found before much is written. Large
data comes behind all that, as it lies in memory.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

from . import pickling
from .buffers import Taken

__all__ = ["load", "preview", "save"]

Report = dict[str, Any]

FORMAT = 2
#: names that IPython puts there, and those that start with an underscore, are not the person's
_NOT_THEIRS = frozenset({"In", "Out", "exit", "quit", "open", "get_ipython"})
_LARGE = 1 << 20


def preview(namespace: dict[str, Any] | None = None) -> Report:
    """What `save` would do: ``{"carried": [names], "left": [{"name", "why"}]}``. Never raises."""
    try:
        variables, _ = _theirs(namespace)
        carried, left, _, _ = _dump_all(variables, None, _namespace(namespace))
    except Exception as error:
        return {"carried": [], "left": [], "error": _sentence(error)}
    return {"carried": carried, "left": left}


def save(path: str | Path, namespace: dict[str, Any] | None = None) -> Report:
    """Write the variables to a file that only its owner can read.

    Returns
    -------
    dict
        ``{"carried": [names], "left": [{"name", "why"}]}``, and ``"error"``, a sentence, when there is no file
        because nothing could be written. Never raises.
    """
    target = Path(path)
    variables: dict[str, Any] = {}
    try:
        variables, modules = _theirs(namespace)
        descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w+b") as file:
            carried, left, order, sink = _dump_all(variables, file, _namespace(namespace))
            table = sink.write_large()
            surroundings = {"cwd": _cwd(), "path": [p for p in sys.path if isinstance(p, str)]}
            header = {"format": FORMAT, "names": order, "modules": modules, "left": left, **surroundings}
            header.update(large=table, notes=sink.notes)
            # at the end, since only then it is known; its length comes last
            encoded = json.dumps(header).encode()
            file.write(encoded + len(encoded).to_bytes(8, "little"))
            file.flush()
    except Exception as error:
        with contextlib.suppress(OSError):
            target.unlink()
        why = _sentence(error)
        return {"carried": [], "left": [{"name": name, "why": why} for name in sorted(variables)], "error": why}
    return {"carried": carried, "left": left}


def load(path: str | Path, namespace: dict[str, Any] | None = None) -> Report:
    """Bring the variables back, and remove the file. What can't be read any more is named. Never raises.

    Returns
    -------
    dict
        As `save` has it, and ``"changed": [{"name", "what"}]``: what came along and is not as it was, which the
        person is told in the output of the next cell.
    """
    target = Path(path)
    into = _namespace(namespace)
    try:
        content = target.open("rb")
    except OSError as error:
        return {"carried": [], "left": [], "error": _sentence(error)}
    try:
        with content as file, target.open("rb", buffering=0) as beside:
            file.seek(-8, os.SEEK_END)
            end = file.tell() - int.from_bytes(file.read(8), "little")
            file.seek(end)
            header = json.loads(file.read()[:-8])
            if header["format"] != FORMAT:
                return {"carried": [], "left": [], "error": "Another version of swangpu kept these variables."}
            _surround(header)
            left = _modules(header["modules"], into)
            file.seek(0)
            taken = Taken(beside, header["large"])
            found, lost, notes = pickling.read_all(file, header["names"], into, taken)
    except Exception as error:
        return {"carried": [], "left": [], "error": _sentence(error)}
    into.update(found)
    with contextlib.suppress(OSError):
        target.unlink()
    left += [{"name": name, "why": why} for name, why in lost.items()] + list(header["left"])
    notes = {**{name: what for name, what in header["notes"].items() if name in found}, **notes}
    changed = [{"name": name, "what": what} for name, what in sorted(notes.items())]
    _tell_next_cell(changed)
    return {"carried": sorted(found), "left": left, "changed": changed}


def _namespace(given: dict[str, Any] | None) -> dict[str, Any]:
    if given is not None:
        return given
    ip = _shell()
    return ip.user_ns if ip is not None else sys.modules["__main__"].__dict__


def _shell() -> Any:
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None


def _theirs(given: dict[str, Any] | None) -> tuple[dict[str, Any], dict[str, str]]:
    """The person's variables, and apart from them the modules they imported: those are imported again."""
    namespace = _namespace(given)
    hidden = dict(getattr(_shell(), "user_ns_hidden", {})) if given is None else {}
    variables: dict[str, Any] = {}
    modules: dict[str, str] = {}
    for name, value in list(namespace.items()):
        if name.startswith("_") or name in _NOT_THEIRS or (name in hidden and hidden[name] is value):
            continue
        if isinstance(value, types.ModuleType) and sys.modules.get(value.__name__) is value:
            # ours is there because the server asked for it
            if value.__name__ != "swangpu_kernel":
                modules[name] = value.__name__
        else:
            variables[name] = value
    return variables, modules


def _dump_all(
    variables: dict[str, Any], file: Any, namespace: dict[str, Any]
) -> tuple[list[str], list[dict[str, str]], list[Any], pickling.Sink]:
    """Pickle one after the other; what fails is named, and the rest begun anew without it.

    A failed variable leaves half of itself in the pickler's memory, so that nothing after it could be trusted.
    """
    names = sorted(variables, key=lambda name: (_size(variables[name]) > _LARGE, _size(variables[name]), name))
    left: list[dict[str, str]] = []
    while True:
        sink = pickling.Sink(file)
        order, failed = _dump(names, variables, sink, namespace)
        if failed is None:
            return sorted(names), sorted(left, key=lambda one: one["name"]), order, sink
        names.remove(failed["name"])
        left.append(failed)


def _dump(
    names: list[str], variables: dict[str, Any], sink: pickling.Sink, namespace: dict[str, Any]
) -> tuple[list[Any], dict[str, str] | None]:
    pickler = pickling.make_pickler(sink, namespace)
    order: list[Any] = []
    for name in names:
        try:
            sink.name = name
            start, first = sink.position, sink.shelf.in_order
            pickler.dump(variables[name])
            order.append([name, start, pickling.mark(pickler, sink), first])
        except Exception as error:
            # no space left is not the variable's fault
            if sink.failed:
                raise
            return order, {"name": name, "why": pickling.why_not(variables[name], error)}
    return order, None


def _tell_next_cell(changed: list[dict[str, str]]) -> None:
    """Say it above the output of the next cell: that is where the person looks, and loading itself is not seen."""
    shell = _shell()
    if not changed or shell is None:
        return
    by_what: dict[str, list[str]] = {}
    for one in changed:
        by_what.setdefault(one["what"], []).append(one["name"])

    def tell(*args: Any) -> None:
        shell.events.unregister("pre_run_cell", tell)
        for what, names in by_what.items():
            print(f"swangpu: {', '.join(names)}: {what}.")

    shell.events.register("pre_run_cell", tell)


def _size(value: Any) -> int:
    """About how many bytes a variable has, where that costs nothing to ask."""
    with contextlib.suppress(Exception):
        size = value.nbytes if hasattr(type(value), "nbytes") else sys.getsizeof(value, 0)
        return int(size)
    return 0


def _cwd() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:
        return None


def _surround(header: dict[str, Any]) -> None:
    """The working directory, and folders added to the path: modules of the person's own are found by them."""
    for entry in header.get("path", []):
        if entry not in sys.path:
            sys.path.append(entry)
    with contextlib.suppress(OSError, TypeError):
        os.chdir(header["cwd"])


def _modules(names: dict[str, str], into: dict[str, Any]) -> list[dict[str, str]]:
    left = []
    for name, module in names.items():
        try:
            into[name] = importlib.import_module(module)
        except Exception:
            left.append({"name": name, "why": f"the module {module} can't be imported any more"})
    return left


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"The variables can't be kept: {error.strerror or 'the disk does not answer'}."
    if isinstance(error, MemoryError):
        return "The variables can't be kept: there is not enough memory."
    return (
        "The variables can't be read." if isinstance(error, (ValueError, EOFError)) else "The variables can't be kept."
    )
