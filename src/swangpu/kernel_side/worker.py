"""How the companion runs a cell: as IPython does, with all that it shows on its way to the notebook."""

from __future__ import annotations

import builtins
import getpass
import linecache
import os
import signal
import sys
import types
from typing import Any

import traitlets
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from . import allocators, reading
from .beside import LAST, Outlet, Stream
from .channel import Channel
from .mirror import Mirror, Unreadable

__all__ = ["Worker"]

Json = dict[str, Any]

_INLINE = "module://matplotlib_inline.backend_inline"
#: stands for a variable that a cell only deletes: it is not sent for that
_UNREAD = object()


class Refused(RuntimeError):
    """What the notebook can do and its companion can't."""


class Publisher(DisplayPublisher):
    """Sends what is displayed."""

    outlet: Any = None

    def publish(
        self, data: Any, metadata: Any = None, *ignored: Any, transient: Any = None, update: bool = False, **more: Any
    ) -> None:
        if not isinstance(data, dict):
            raise TypeError(f"data must be a dict, got: {data!r}")
        head = {"data": data, "metadata": metadata or {}, "transient": transient or {}, "update": update}
        self.outlet.say({"op": "display", **head})

    def clear_output(self, wait: bool = False) -> None:
        self.outlet.say({"op": "clear", "wait": wait})


class Hook(DisplayHook):
    """Sends the value of a cell's last line as it is shown."""

    outlet: Any = None

    def write_output_prompt(self) -> None:
        pass

    def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
        self.outlet.say({"op": "result", "data": format_dict, "metadata": md_dict or {}})

    def finish_displayhook(self) -> None:
        self._is_active = False


class Shell(InteractiveShell):
    """IPython without a terminal, a history or a profile of its own."""

    displayhook_class = traitlets.Type(Hook)
    display_pub_class = traitlets.Type(Publisher)
    failure: Json | None = None

    def _showtraceback(self, etype: Any, evalue: Any, stb: list[str]) -> None:
        self.failure = {"ename": str(etype.__name__), "evalue": str(evalue), "traceback": stb}


def _make_shell(outlet: Outlet, begin: Json) -> Shell:
    Publisher.outlet = Hook.outlet = outlet
    config = Config()
    config.HistoryManager.enabled = False
    for name, value in begin["shell"].items():
        config.InteractiveShell[name] = value
    module = types.ModuleType("__main__")
    shell: Shell = Shell.instance(config=config, user_module=module, user_ns=module.__dict__)
    shell.autoawait = False
    return shell


def _refuse(what: str, hint: str) -> Any:
    def refuse(*args: Any, **more: Any) -> Any:
        raise Refused(f"A cell beside a GPU {what}. {hint}")

    return refuse


def _set_limits() -> None:
    """What needs the notebook's page says that it can't be had, instead of waiting for it."""
    ask = _refuse("can't ask with `input()`", "Ask in a cell before it, into a variable.")
    builtins.input = getpass.getpass = ask
    try:
        import comm
    except ImportError:
        return
    comm.create_comm = _refuse(
        "can't make widgets: they live in the notebook's page", "Make them in a cell of the notebook."
    )


class Worker:
    """Runs cells as they come.

    Parameters
    ----------
    channel : Channel
    inbox : queue
        Messages, as another thread receives them.
    begin : dict
        How the notebook's own IPython is set.
    """

    def __init__(self, channel: Channel, inbox: Any, begin: Json) -> None:
        self._channel = channel
        self._inbox = inbox
        self._outlet = Outlet(channel)
        sys.stdout, sys.stderr = Stream(self._outlet, "stdout", 1), Stream(self._outlet, "stderr", 2)
        os.environ.setdefault("MPLBACKEND", _INLINE)
        _set_limits()
        self._shell = _make_shell(self._outlet, begin)
        self._mirror = Mirror(self._shell.user_ns, leads=False)
        self._run_bytes: dict[str, int] = {}
        self._running = self._stopped = False
        signal.signal(signal.SIGINT, self._stop)

    def _stop(self, number: int, frame: types.FrameType | None) -> None:
        """Stop the cell; one that is just about to run stops when it does. Nothing else is ever stopped."""
        if self._running and self._outlet.shield.depth:
            self._outlet.shield.pending = True
        elif self._running:
            raise KeyboardInterrupt
        else:
            self._stopped = True

    def run(self) -> None:
        while True:
            order, parts = self._inbox.get()
            self._stopped = False
            try:
                values = self._read(order["parcel"], parts)
            except Unreadable as problem:
                self._channel.send({"op": "unreadable", "name": problem.name, "why": problem.why})
                continue
            before = self._set(values, order["deletes"])
            for name, (count, text) in order["sources"].items():
                linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
                getattr(self._shell.compile, "_filename_map", {})[name] = count
            self._channel.send({"op": "taken"})
            told = self._execute(order)
            value = told.pop("value")
            self._channel.send({"op": "ended"})
            self._answer(order, before, {} if value is None else {LAST: value}, told)

    def _read(self, head: Json, parts: list[Any]) -> Json:
        arrival = self._mirror.unpack(head, parts)
        values = arrival.apply()
        if arrival.lost:
            raise Unreadable(*next(iter(arrival.lost.items())))
        return values

    def _theirs(self) -> Json:
        return {name: value for name, value in self._shell.user_ns.items() if reading.is_theirs(name)}

    def _set(self, values: Json, deletes: list[str]) -> Json:
        """The notebook's variables that this cell gets, and no others."""
        namespace = self._shell.user_ns
        for name in self._theirs():
            del namespace[name]
        namespace.update(values)
        for name in deletes:
            namespace.setdefault(name, _UNREAD)
        return self._theirs()

    def _execute(self, order: Json) -> Json:
        shell: Any = self._shell
        peaks = allocators.begin(self._run_bytes) if order["profile"] else None
        shell.execution_count, shell.failure = order["count"], None
        self._outlet.shield.reset()
        shell.compile.get_code_name = lambda *code: order["name"]
        result: Any = None
        self._outlet.open = True
        try:
            self._running = True
            if self._stopped:
                raise KeyboardInterrupt  # noqa: TRY301 - as if it had come now
            result = shell.run_cell(order["code"], store_history=True)
            self._running = False
        except KeyboardInterrupt:
            # just before or after the cell itself
            self._running = False
            shell.showtraceback()
        self._outlet.close()
        failed = result is None or not result.success
        return {
            "value": None if failed else result.result,
            "error": (shell.failure or {"ename": "Error", "evalue": "", "traceback": []}) if failed else None,
            "peaks": [[one.name, one.cell_bytes, one.run_bytes, one.exact] for one in peaks.end()] if peaks else [],
        }

    def _answer(self, order: Json, before: Json, last: Json, told: Json) -> None:
        """Send what the cell has set and changed, until the notebook could read it."""
        outputs, now, lost = order["outputs"], self._theirs(), {}
        if outputs is None:
            roots = {n: v for n, v in now.items() if n not in before or before[n] is not v} | last
            deleted, also = [name for name in before if name not in now], before
        else:
            roots = {name: now[name] for name in outputs if name in now and now[name] is not _UNREAD}
            deleted, also = [name for name in outputs if name in before and name not in now], {}
            lost = {name: "the cell did not set it" for name in outputs if name not in roots and name not in deleted}
        while True:
            # what does not come back must not be what the next cell is given
            parcel = self._mirror.pack(roots, also, apart=before if order["warm"] else {})
            left = {**lost, **{name: why for name, why in parcel.left.items() if name != LAST}}
            self._channel.send(
                {"op": "done", "parcel": parcel.head, "deleted": deleted, "left": left, **told}, parcel.parts
            )
            answer, _ = self._inbox.get()
            if answer["op"] == "agreed":
                parcel.agree()
                return
            # the notebook has noted why
            roots.pop(answer["name"], None)
            also = {name: thing for name, thing in also.items() if name != answer["name"]}
