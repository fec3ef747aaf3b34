"""Asking for a share, waiting for its turn, and being on it with this very process."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from . import cuda, words
from .api import Api, ApiError
from .grammar import Command
from .guard import Guard

__all__ = ["Environment", "Holding", "body", "give_up", "here", "request", "this_kernel", "wait"]

Json = dict[str, Any]

#: between two looks at the queue, in seconds
POLL_S = 1.0
FIRST_POLL_S = 0.1
#: a server that does not answer may be restarting: the place in the queue is kept meanwhile
PATIENCE_S = 60.0
_KERNEL_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def this_kernel() -> str | None:
    """The id of the kernel that this process is, as the server knows it; None outside of one."""
    told = os.environ.get("SWANGPU_KERNEL_ID")
    if told:
        return told
    connect: Any = sys.modules.get("ipykernel.connect")
    with contextlib.suppress(Exception):
        found = _KERNEL_ID.search(os.path.basename(connect.get_connection_file()))  # noqa: PTH119
        return found.group(0) if found else None
    return None


def body(command: Command, *, kind: str = "kernel", pid: int | None = None, **more: Any) -> Json:
    """The body of ``POST /sessions`` for what was written.

    The process id, of this process if no other is given, tells a server on this machine whose use of the device is this
    session's.
    """
    return {
        "kind": kind,
        "flavor": command.flavor,
        "memory_bytes": command.memory_bytes,
        "count": command.count,
        "duration_s": command.duration_s,
        "pools": [command.pool] if command.pool else [],
        "on_ready": "notify" if command.notify else "hold",
        "options": {"pid": str(pid or os.getpid())},
        **more,
    }


def request(api: Api, wanted: Json) -> Json:
    """Ask, so that asking again after a lost answer makes no second session."""
    key = secrets.token_hex(16)
    try:
        return api.create(wanted, key)
    except ApiError as error:
        if error.code != "no_answer":
            raise
        return api.create(wanted, key)


def wait(
    api: Api,
    session: Json,
    tell: Callable[[Json], None],
    sleep: Callable[[float], None] = time.sleep,
    timeout_s: float | None = None,
) -> Json:
    """Wait for a session's turn.

    Parameters
    ----------
    api : Api
    session : dict
    tell : callable
        Told about the session when what is to be said about it has changed.
    sleep : callable, optional
    timeout_s : float, optional
        How long to wait at most, in seconds.

    Returns
    -------
    dict
        The session: ready, active or paused; or still queued when the time is over.

    Raises
    ------
    ApiError
        It has ended, or the server is away.
    """
    begun, heard, said, pause_s = time.monotonic(), time.monotonic(), "", FIRST_POLL_S
    while True:
        if session["state"] in ("ready", "active", "paused"):
            return session
        if session["state"] in ("ending", "ended"):
            raise ApiError(f"{words.state(session)}.", "Ask again, or for less.", "session_ended")
        now = words.state(session)
        if now != said:
            said = now
            tell(session)
        if timeout_s is not None and time.monotonic() - begun >= timeout_s:
            return session
        sleep(pause_s)
        pause_s = min(POLL_S, pause_s * 1.5)
        try:
            session = api.session(session["id"])
            heard = time.monotonic()
        except ApiError as error:
            if error.status or time.monotonic() - heard > PATIENCE_S:
                raise


def give_up(api: Api, session_id: str) -> None:
    """Give a session back while something else is being reported."""
    with contextlib.suppress(ApiError):
        api.release(session_id, undo=False)


def here(session: Json) -> bool:
    """Whether this process can use the session's shares as it is: the devices are of this machine."""
    if session.get("simulated"):
        return True
    shares = session.get("shares") or []
    return bool(shares) and all(cuda.sees(share.get("mig_uuid") or share["device_uuid"]) for share in shares)


class Environment:
    """Variables set in this process, and what was there before."""

    def __init__(self) -> None:
        self._before: dict[str, str | None] = {}

    def apply(self, variables: Mapping[str, str]) -> None:
        for name, value in variables.items():
            self._before.setdefault(name, os.environ.get(name))
            os.environ[name] = value

    def restore(self) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before.clear()


class Holding:
    """A share that is held by this process, and given back when the process dies.

    Parameters
    ----------
    api : Api
    session : dict
        A session whose turn has come.
    in_place : bool
        Whether this process gets the share's environment; otherwise the share is for another one.

    Raises
    ------
    ApiError
        It could not be started, or its devices are not of this machine.
    """

    def __init__(self, api: Api, session: Json, in_place: bool = True) -> None:
        self._api = api
        self._environment = Environment()
        self._guard: Guard | None = None
        self.session = session
        self.held_since = time.monotonic()
        if not here(session):
            raise ApiError(
                "That GPU is on another machine.", "In a notebook, `%gpu get` takes the kernel there.", "elsewhere"
            )
        try:
            self._guard = Guard(api.base, api.token, session["id"])
            self.session = api.claim(session["id"])
            if in_place:
                self._environment.apply(self.session.get("environment") or {})
        except BaseException:
            self.release()
            raise

    def refresh(self) -> Json:
        """The session as it is now."""
        self.session = self._api.session(self.session["id"])
        return self.session

    @property
    def guard_fd(self) -> int | None:
        """A process that inherits this file descriptor counts as a holder too."""
        return self._guard.fd if self._guard is not None else None

    @property
    def environment(self) -> dict[str, str]:
        return dict(self.session.get("environment") or {})

    def release(self) -> None:
        """Give it back; a second time does nothing. What can't be said to the server now, the guard will say."""
        guard, self._guard = self._guard, None
        self._environment.restore()
        if guard is None:
            return
        given_back = False
        try:
            with contextlib.suppress(ApiError):
                self._api.release(self.session["id"], undo=False)
                guard.dismiss()
                given_back = True
        finally:
            # also when this is stopped: the traceback would keep us, and with us the share, for a long time
            if not given_back:
                guard.abandon()
