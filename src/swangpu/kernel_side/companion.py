"""The notebook's end of its companion: start it, have it run a cell, show what that shows, end it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from .beside import LAST, start_code
from .channel import Channel, Closed
from .mirror import Mirror, Unreadable
from .packing import Parcel
from .screen import Relay

__all__ = ["Companion", "Lost", "Order", "Outcome"]

Json = dict[str, Any]

#: who presses Stop so often means it: the companion is then killed
STOPS = 3
#: how long a process that says nothing any more may take to end, in seconds
END_S = 5.0


class Lost(Exception):
    """The companion has ended in the middle of a cell: one sentence, and what helps."""

    def __init__(self, detail: str, hint: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint


@dataclass(frozen=True)
class Order:
    """A cell to run.

    Attributes
    ----------
    name : str
        Of its code, in tracebacks.
    deletes : list of str
        Names that it deletes without reading them.
    outputs : list of str or None
        What is to come back; None for all that it sets or changes.
    warm : bool
        Another cell may follow there.
    sources : mapping of str to tuple of int and str
        Numbers and texts of the notebook's cells, by the names of their code.
    """

    code: str
    name: str
    count: int
    deletes: list[str]
    outputs: list[str] | None = None
    profile: bool = False
    warm: bool = False
    sources: Mapping[str, tuple[int, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a cell has ended.

    Attributes
    ----------
    last : object
        The value of its last line.
    left : dict of str to str
        What did not come back, and why.
    error : dict or None
        ``ename``, ``evalue`` and ``traceback``.
    peaks : list
        What frameworks say of the memory that they needed.
    """

    last: Any
    left: dict[str, str]
    error: Json | None
    peaks: list[Any]


class Companion:
    """A process of this kernel, waiting for its share at first.

    Parameters
    ----------
    namespace : dict
        The notebook's variables.

    Attributes
    ----------
    pid : int
        Of the process that will compute.
    mirror : Mirror
        What it has of the notebook's objects.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.mirror = Mirror(namespace, leads=True)
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", start_code("become"), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                # what stops the kernel's cell must reach it through us only
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._channel = Channel(ours)
        self.pid = self._process.pid
        self._told: dict[str, int] = {}
        self._stops: _Stops | None = None

    @property
    def sent_bytes(self) -> int:
        return self._channel.sent_bytes

    def begin(self, environment: Mapping[str, str | None], settings: Json, guard_fd: int | None) -> None:
        """Let it start on its share.

        Parameters
        ----------
        environment : mapping of str to str
            Of the share.
        settings : dict
            How the notebook's IPython is set.
        guard_fd : int or None
            The share counts as held for as long as the companion has this open.

        Raises
        ------
        Lost
        """
        try:
            socket.send_fds(self._channel.socket, [b"g"], [] if guard_fd is None else [guard_fd])
            self._channel.send({"environment": dict(environment), "cwd": _cwd()})
            self._channel.send({"path": [one for one in sys.path if isinstance(one, str)], "shell": settings})
        except (Closed, OSError):
            raise self._lost() from None

    def alive(self) -> bool:
        return self._process.returncode is None and not _has_ended(self._process)

    def run(self, order: Order, parcel: Parcel, relay: Relay) -> Outcome:
        """Run a cell. All that it has changed is here when this returns, and nothing of it when this raises.

        Raises
        ------
        Lost
        Unreadable
            A variable can't be made there; the cell did not run.
        """
        head: Json = {"op": "cell", "parcel": parcel.head, "code": order.code, "name": order.name}
        new = {name: source for name, source in order.sources.items() if self._told.get(name) != source[0]}
        self._told.update((name, count) for name, (count, _) in new.items())
        head.update(count=order.count, deletes=order.deletes, outputs=order.outputs, profile=order.profile, sources=new)
        head["warm"] = order.warm
        with _Stops(self) as stops:
            self._stops = stops
            try:
                self._channel.send(head, parcel.parts)
                return self._follow(parcel, relay, stops)
            except Closed:
                raise self._lost(stops.count >= STOPS) from None
            finally:
                self._stops = None

    def stop(self) -> None:
        """Stop the cell that runs, as the button does; from any thread. What it has computed may take time to come."""
        stops = self._stops
        if stops is not None and not stops.over:
            stops.press()

    def end(self) -> None:
        """End it, and all that it has started: the notebook has what it needs of it."""
        self._channel.close()
        self._kill()

    # -- inside -----------------------------------------------------------------------------------

    def _follow(self, parcel: Parcel, relay: Relay, stops: _Stops) -> Outcome:
        unread: dict[str, str] = {}
        while True:
            message, parts = self._channel.receive(self.alive)
            what = message["op"]
            if what == "taken":
                parcel.agree()
                stops.reach(self.pid)
            elif what == "ended":
                stops.over = True
                stops.reach(None)
            elif what == "unreadable":
                raise Unreadable(message["name"], message["why"])
            elif what != "done":
                relay.show(message)
            else:
                try:
                    arrival = self.mirror.unpack(message["parcel"], parts)
                except Unreadable as problem:
                    unread[problem.name] = problem.why
                    self._channel.send({"op": "without", "name": problem.name, "why": problem.why})
                    continue
                values = arrival.apply()
                last = values.pop(LAST, None)
                for name in message["deleted"]:
                    self.mirror.namespace.pop(name, None)
                self.mirror.namespace.update(values)
                with contextlib.suppress(Closed):  # it has done its part
                    self._channel.send({"op": "agreed"})
                unread.pop(LAST, None)
                left = {**unread, **arrival.lost, **message["left"]}
                return Outcome(last, left, message["error"], message["peaks"])

    def _kill(self) -> None:
        # its group is its own; not after it was waited for: the number may then be somebody else's
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()

    def _lost(self, stopped: bool = False) -> Lost:
        until = time.monotonic() + END_S
        while self.alive() and time.monotonic() < until:
            time.sleep(0.01)
        alive = self.alive()
        self.end()
        code = None if alive else self._process.returncode
        safe = "The notebook's variables are as they were before the cell."
        if stopped:
            return Lost(f"The process beside the GPU did not stop, so it was ended. {safe}", "Run the cell again.")
        if code == -signal.SIGKILL:
            how, hint = "was killed", "Perhaps it needed more memory than there is. Less data at a time needs less."
        elif code is not None and code < 0:
            how, hint = (
                f"ended by signal {-code}",
                "That is mostly a fault in a library. Its own messages may be above.",
            )
        else:
            how, hint = (
                "has ended",
                "Does it end its process, with `os._exit` for example? Its own messages may be above.",
            )
        return Lost(f"The process beside the GPU {how} in the middle of the cell. {safe}", hint)


class _Stops:
    """Meanwhile Stop reaches the cell, and never our own bookkeeping."""

    def __init__(self, companion: Companion) -> None:
        self._companion = companion
        self._pid: int | None = None
        self._before: Any = None
        self._ours = threading.current_thread() is threading.main_thread()
        self.count = 0
        #: the cell has ended, and what it has changed is on its way
        self.over = False

    def __enter__(self) -> _Stops:
        if self._ours:
            self._before = signal.signal(signal.SIGINT, self._pressed)
        return self

    def __exit__(self, *error: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, self._before if self._before is not None else signal.default_int_handler)

    def reach(self, pid: int | None) -> None:
        """Who is stopped; what was pressed before it ran is not forgotten."""
        self._pid = pid
        if pid is not None and self.count:
            self._send(signal.SIGINT)

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        self.press()

    def press(self) -> None:
        self.count += 1
        self._send(signal.SIGKILL if self.count >= STOPS else signal.SIGINT)

    def _send(self, number: int) -> None:
        if self._companion.alive() and (self._pid is not None or number == signal.SIGKILL):
            os.kill(self._companion.pid, number)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has, without waiting for it where that can be: what it has started is found by its number."""
    if not hasattr(os, "waitid"):
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return process.poll() is not None


def _cwd() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - as text
    except OSError:
        return "/"
