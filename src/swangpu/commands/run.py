"""``swangpu run --memory 10GB -- python train.py``: holds a share while a command runs.

The command stays in our process group, so that the terminal treats both as one job. Signals that the terminal sends
reach it by themselves; those that somebody sends to us are passed on. Should we be killed, a guard waits for the
command to end and gives the share back.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from ..errors import BadInput, SwanGpuError
from ..kernel_side import words
from ..kernel_side.api import Api, ApiError
from ..kernel_side.hold import Holding
from ..python_api import Progress, held, seconds, wanted
from .place import client_for

__all__ = ["main"]

EXIT_NOT_FOUND = 127
EXIT_NOT_RUNNABLE = 126

_FORWARDED = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGTSTP", "SIGCONT", "SIGUSR1", "SIGUSR2", "SIGWINCH")
    if hasattr(signal, name)
]
#: what a terminal sends to a whole job
_FROM_TERMINAL = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH, signal.SIGHUP}


def main(asked: argparse.Namespace) -> int:
    command = asked.command[1:] if asked.command[:1] == ["--"] else asked.command
    if not command:
        raise BadInput("What is to be run?", hint="Write it like: swangpu run --memory 10GB -- python train.py")
    with client_for(asked) as client:
        api = Api(client.base, client.token)
    wish = wanted(asked.memory, flavor=asked.flavor, duration=asked.duration, pool=asked.pool)
    progress = Progress(asked.quiet)
    # while waiting, these end us in an orderly way: what was asked for is given up
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    purpose = asked.purpose or words.clean(" ".join(command), 200)
    with held(api, wish, purpose=purpose, timeout_s=seconds(asked.wait), tell=progress.tell) as holding:
        progress.done(holding.session)
        status = Running(command, holding, Lease(api, holding, asked.quiet)).wait()
    return _pass_on(status)


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _pass_on(status: int) -> int:
    """End as the command did: with its exit code, or by the signal that ended it."""
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        sys.stdout.flush()
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(os.getpid(), number)
    return 128 + number


class Running:
    """The command, from its start to its end."""

    def __init__(self, command: list[str], holding: Holding, lease: Lease) -> None:
        self._lease = lease
        for number in (signal.SIGCHLD, signal.SIGCONT, signal.SIGWINCH):
            # what nobody handles may be thrown away even while it is blocked
            signal.signal(number, lambda _number, _frame: None)
        # blocked from here on and waited for, so that none is lost between two looks
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, [*_FORWARDED, signal.SIGCHLD])
        if holding.guard_fd is not None:
            os.set_inheritable(holding.guard_fd, True)
        environment = {**os.environ, **holding.environment}
        restored = [getattr(signal, n) for n in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, n)]
        defaults = [*restored, signal.SIGTERM, signal.SIGHUP]
        try:
            self._pid = os.posix_spawnp(command[0], command, environment, setsigmask=self._before, setsigdef=defaults)
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
            raise CannotRun(command[0], error) from None

    def wait(self) -> int:
        """Wait for the end, passing signals on.

        Returns
        -------
        int
            The wait status, as of `os.waitpid`.
        """
        self._lease.watch(self._pid)
        try:
            while True:
                pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED)
                if pid and os.WIFSTOPPED(status):
                    self._stop_too()
                elif pid:
                    return status
                else:
                    self._pass_signal()
        finally:
            self._lease.done()
            # a second Ctrl-C must not keep us from giving the share back
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def _stop_too(self) -> None:
        """The shell is to see that its job has stopped; when it goes on, so does the command."""
        os.kill(os.getpid(), signal.SIGSTOP)
        os.kill(self._pid, signal.SIGCONT)

    def _pass_signal(self) -> None:
        waited: set[Any] = {*_FORWARDED, signal.SIGCHLD}
        if hasattr(signal, "sigwaitinfo"):
            info = signal.sigwaitinfo(waited)
            # the kernel's own, on behalf of the terminal: the command has had it too
            number, from_terminal = info.si_signo, info.si_code > 0
        else:
            number = signal.sigwait(waited)
            from_terminal = number in _FROM_TERMINAL and _in_foreground()
        if number != signal.SIGCHLD and not (from_terminal and number in _FROM_TERMINAL):
            os.kill(self._pid, number)


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


class CannotRun(SwanGpuError):
    """The command does not exist or is no program; the exit codes are the shell's."""

    code = "cannot_run"

    def __init__(self, name: str, error: OSError) -> None:
        super().__init__(f"{words.clean(name)}: {(error.strerror or 'it cannot be run').lower()}.")
        self.exit_code = EXIT_NOT_FOUND if isinstance(error, FileNotFoundError) else EXIT_NOT_RUNNABLE


class Lease:
    """Keeps the lease while the command computes and nobody waits for the GPU; else ends the command with it.

    The same rule as for a notebook whose cell runs: nobody's work is ended for nothing, and nobody is kept waiting.
    """

    #: how long before its end a lease is looked at, by how much it is made longer, and how often we look, in seconds
    AHEAD_S = 120.0
    MORE_S = 1800.0
    EVERY_S = 20.0
    #: between asking the command to end and killing it, in seconds
    GRACE_S = 30.0

    def __init__(self, api: Api, holding: Holding, quiet: bool) -> None:
        self._api = api
        self._holding = holding
        self._quiet = quiet
        self._over = threading.Event()
        self._told = False

    def watch(self, pid: int) -> None:
        threading.Thread(target=self._watch, args=(pid,), daemon=True).start()

    def done(self) -> None:
        self._over.set()

    def _watch(self, pid: int) -> None:
        while not self._over.wait(self.EVERY_S):
            try:
                session = self._holding.refresh()
                if session["state"] in ("ending", "ended"):
                    self._end(pid, session)
                    return
                until = session.get("lease_until")
                if until is not None and until - time.time() < self.AHEAD_S:
                    self._extend(session)
            except ApiError:
                # the server restarts, or the session is long gone: the next look tells
                continue

    def _extend(self, session: dict[str, Any]) -> None:
        flavors = [f for pool in self._api.pools() if pool["name"] == session["pool"] for f in pool["flavors"]]
        waiting = sum(f["queued"] for f in flavors if f["name"] == session["flavor"])
        try:
            if not waiting:
                self._api.extend(session["id"], self.MORE_S)
                return
            why = "others wait for this GPU"
        except ApiError as error:
            why = error.detail.rstrip(".")
        if not self._told:
            self._told = True
            self._say(f"the lease ends soon ({why}); the command is then asked to end.")

    def _end(self, pid: int, session: dict[str, Any]) -> None:
        self._say(f"{words.state(session)}. The command is asked to end.")
        os.kill(pid, signal.SIGTERM)
        if not self._over.wait(self.GRACE_S):
            os.kill(pid, signal.SIGKILL)

    def _say(self, text: str) -> None:
        if not self._quiet:
            print(f"swangpu: {words.clean(text)}", file=sys.stderr, flush=True)
