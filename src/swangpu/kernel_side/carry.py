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
import re
import sys
import types
from pathlib import Path
from typing import Any

from . import pickling
from .buffers import Taken
from .overlap import Spans

__all__ = ["header_of", "load", "preview", "save", "sentence", "tell_next_cell", "write_whole"]

Report = dict[str, Any]

FORMAT = 2
#: names that IPython puts there, and those that start with an underscore, are not the person's
_NOT_THEIRS = frozenset({"In", "Out", "exit", "quit", "open", "get_ipython"})
#: and of those: results and inputs of earlier cells, what the history has, and Python's own
_IPYTHONS = re.compile(r"_{1,3}|_i{1,3}|_i?\d+|_[dio]h|_exit_code|__\w+__")
_LARGE = 1 << 20


def preview(namespace: dict[str, Any] | None = None) -> Report:
    """What `save` would do: ``{"carried": [names], "left": [{"name", "why"}]}``. Never raises."""
    try:
        variables, _ = _theirs(namespace)
        carried, left, _, _ = _dump_all(variables, None, _namespace(namespace))
    except Exception as error:
        return {"carried": [], "left": [], "error": sentence(error)}
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
            _finish(file, sink, {"names": order, "modules": modules, "left": left})
            file.flush()
    except Exception as error:
        with contextlib.suppress(OSError):
            target.unlink()
        why = sentence(error)
        return {"carried": [], "left": [{"name": name, "why": why} for name in sorted(variables)], "error": why}
    return {"carried": carried, "left": left}


def write_whole(file: Any, namespace: dict[str, Any] | None, more: Report) -> tuple[list[str], list[dict[str, str]]]:
    """Write all of the person's variables, also those whose names start with an underscore, or as good as none.

    Parameters
    ----------
    file : file
    namespace : dict, optional
    more : dict
        Beside them, for the header.

    Returns
    -------
    carried : list of str
    left : list of dict
        What can't be carried, or would not come back as it was: if there is any, what was written is of no use.
    """
    variables, modules = _theirs(namespace, private=True)
    carried, left, order, sink = _dump_all(variables, file, _namespace(namespace), whole=True)
    left += [{"name": name, "why": what} for name, what in sorted(sink.notes.items())]
    left += sink.spans.shared() if sink.spans is not None else []
    made = [name for name, module in modules.items() if module != "__main__" and sys.modules[module].__spec__ is None]
    left += [{"name": name, "why": "a module that can't be imported can't be saved"} for name in made]
    if not left:
        _finish(file, sink, {"names": order, "modules": modules, "left": [], **more})
    return carried, left


def _finish(file: Any, sink: pickling.Sink, header: Report) -> None:
    table = sink.write_large()
    surroundings = {"cwd": _cwd(), "path": [p for p in sys.path if isinstance(p, str)]}
    # at the end, since only then it is known; its length comes last
    encoded = json.dumps({"format": FORMAT, **header, **surroundings, "large": table, "notes": sink.notes}).encode()
    file.write(encoded + len(encoded).to_bytes(8, "little"))


def header_of(file: Any) -> Report:
    """What a file of variables says of itself.

    Raises
    ------
    ValueError, OSError
        It is none, or another version's.
    """
    file.seek(-8, os.SEEK_END)
    end = file.tell() - int.from_bytes(file.read(8), "little")
    file.seek(end)
    header: Report = json.loads(file.read()[:-8])
    if header["format"] != FORMAT:
        raise AnotherVersion
    return header


class AnotherVersion(ValueError):
    """The file is of another version of swangpu."""


def load(path: str | Path, namespace: dict[str, Any] | None = None, *, keep: bool = False) -> Report:
    """Bring the variables back, and remove the file. What can't be read any more is named. Never raises.

    Parameters
    ----------
    path : str or Path
    namespace : dict, optional
    keep : bool
        Leave the file where it is.

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
        return {"carried": [], "left": [], "error": sentence(error)}
    try:
        with content as file, target.open("rb", buffering=0) as beside:
            header = header_of(file)
            _surround(header)
            left = _modules(header["modules"], into)
            file.seek(0)
            taken = Taken(beside, header["large"])
            found, lost, notes = pickling.read_all(file, header["names"], into, taken)
    except Exception as error:
        return {"carried": [], "left": [], "error": sentence(error)}
    into.update(found)
    if not keep:
        with contextlib.suppress(OSError):
            target.unlink()
    left += [{"name": name, "why": why} for name, why in lost.items()] + list(header["left"])
    notes = {**{name: what for name, what in header["notes"].items() if name in found}, **notes}
    changed = [{"name": name, "what": what} for name, what in sorted(notes.items())]
    tell_next_cell(_sentences(changed))
    return {"carried": sorted(found), "left": left, "changed": changed}


def _namespace(given: dict[str, Any] | None) -> dict[str, Any]:
    if given is not None:
        return given
    ip = _shell()
    return ip.user_ns if ip is not None else sys.modules["__main__"].__dict__


def _shell() -> Any:
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None


def _theirs(given: dict[str, Any] | None, *, private: bool = False) -> tuple[dict[str, Any], dict[str, str]]:
    """The person's variables, and apart from them the modules they imported: those are imported again.

    ``private``: also those whose names start with an underscore, but for IPython's own.
    """
    namespace = _namespace(given)
    hidden = dict(getattr(_shell(), "user_ns_hidden", {})) if given is None else {}
    variables: dict[str, Any] = {}
    modules: dict[str, str] = {}
    for name, value in list(namespace.items()):
        not_theirs = _IPYTHONS.fullmatch(name) if private else name.startswith("_")
        if not_theirs or name in _NOT_THEIRS or (name in hidden and hidden[name] is value):
            continue
        if isinstance(value, types.ModuleType) and sys.modules.get(value.__name__) is value:
            # ours is there because the server asked for it
            if value.__name__ != "swangpu_kernel":
                modules[name] = value.__name__
        else:
            variables[name] = value
    return variables, modules


def _dump_all(
    variables: dict[str, Any], file: Any, namespace: dict[str, Any], *, whole: bool = False
) -> tuple[list[str], list[dict[str, str]], list[Any], pickling.Sink]:
    """Pickle one after the other; what fails is named, and the rest begun anew without it.

    A failed variable leaves half of itself in the pickler's memory, so that nothing after it could be trusted.
    ``whole``: it is also looked which of them share memory.
    """
    names = sorted(variables, key=lambda name: (_size(variables[name]) > _LARGE, _size(variables[name]), name))
    left: list[dict[str, str]] = []
    while True:
        sink = pickling.Sink(file, Spans() if whole else None)
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


def _sentences(changed: list[dict[str, str]]) -> list[str]:
    by_what: dict[str, list[str]] = {}
    for one in changed:
        by_what.setdefault(one["what"], []).append(one["name"])
    return [f"{', '.join(names)}: {what}" for what, names in by_what.items()]


def tell_next_cell(sentences: list[str]) -> None:
    """Say it above the output of the next cell: that is where the person looks, and loading itself is not seen."""
    shell = _shell()
    if not sentences or shell is None:
        return

    def tell(*args: Any) -> None:
        shell.events.unregister("pre_run_cell", tell)
        for one in sentences:
            print(f"swangpu: {one}.")

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


def sentence(error: BaseException) -> str:
    """What went wrong with the file, for a person."""
    if isinstance(error, OSError):
        return f"The variables can't be kept: {error.strerror or 'the disk does not answer'}."
    if isinstance(error, MemoryError):
        return "The variables can't be kept: there is not enough memory."
    if isinstance(error, AnotherVersion):
        return "Another version of swangpu kept these variables."
    return (
        "The variables can't be read." if isinstance(error, (ValueError, EOFError)) else "The variables can't be kept."
    )
