"""``swangpu.offers()`` and ``swangpu.session()``: GPUs for scripts and notebooks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from . import client, errors, wire
from .kernel_side import cuda, grammar, hold, words
from .kernel_side.api import Api, ApiError

__all__ = ["Progress", "held", "last_profile", "offers", "seconds", "session", "wanted"]


def offers(
    memory: str | float | None = None, *, flavor: str | None = None, count: int = 1, duration: str | float | None = None
) -> list[wire.Offer]:
    """Where a GPU can be had, the best first.

    Parameters
    ----------
    memory : str or float, optional
        At least this much: ``"10GB"``, or bytes.
    flavor : str, optional
        This kind only, such as ``"a100-40gb/1g.5gb"``.
    count : int, optional
    duration : str or float, optional
        For how long: ``"2h"``, or seconds.

    Raises
    ------
    swangpu.errors.SwanGpuError
    """
    command = wanted(memory, flavor=flavor, count=count, duration=duration)
    with client.discover() as found:
        answer = found.offers(
            memory_bytes=command.memory_bytes,
            flavor=command.flavor,
            count=command.count,
            duration_s=command.duration_s,
        )
    return answer.items


def last_profile(timeout: str | float | None = "5s") -> dict[str, Any] | None:
    """What the last profiled cell of this kernel did: the line below the cell, as a dict.

    Parameters
    ----------
    timeout : str or float, optional
        How long to wait for what the server has read: ``"5s"``, or seconds.

    Returns
    -------
    dict or None
        The fields of `swangpu.wire.ProfileView`, each None where ``missing`` says why; None when no cell was profiled.
    """
    # the magic may have come by the provisioner's folder, under another name
    found = [sys.modules.get(f"{package}.profile") for package in ("swangpu.kernel_side", "swangpu_kernel")]
    answers = [module.last(seconds(timeout) or 0.0) for module in found if module is not None]
    return max((one for one in answers if one is not None), key=lambda one: float(one["ended_at"]), default=None)


@contextmanager
def session(
    memory: str | float | None = None,
    *,
    flavor: str | None = None,
    duration: str | float | None = None,
    pool: str | None = None,
    purpose: str | None = None,
    timeout: str | float | None = None,
    quiet: bool = False,
) -> Iterator[wire.SessionView]:
    """Hold a GPU while the block runs; wait for it when none is free.

    The process is put on its share by its environment, so it must not have used CUDA before. The share goes back at
    the end of the block, and also when the process is killed.

    Parameters
    ----------
    memory : str or float, optional
        At least this much: ``"10GB"``, or bytes. This or `flavor`.
    flavor : str, optional
    duration : str or float, optional
        For how long at most: ``"2h"``, or seconds; the server's default otherwise.
    pool : str, optional
        Only there.
    purpose : str, optional
        What it is for, in your list of sessions.
    timeout : str or float, optional
        How long to wait in the queue; for ever otherwise.
    quiet : bool, optional
        Say nothing while waiting.

    Yields
    ------
    swangpu.wire.SessionView

    Raises
    ------
    swangpu.errors.SwanGpuError
    """
    command = wanted(memory, flavor=flavor, duration=duration, pool=pool)
    if not command.wants_something:
        raise errors.BadInput("How much memory does the GPU need?", hint='Write it like session(memory="10GB").')
    used = cuda.why_touched()
    if used is not None:
        raise errors.Conflict(
            f"{used[0].upper()}{used[1:]} before, so this process can't move to another GPU.",
            hint="Open the session first, and use CUDA inside of it.",
            code="cuda_used",
        )
    with client.discover() as found:
        place = (found.base, found.token)
    progress = Progress(quiet)
    with held(Api(*place), command, purpose=purpose, timeout_s=seconds(timeout), tell=progress.tell) as holding:
        progress.done(holding.session)
        yield msgspec.convert(holding.session, wire.SessionView)


@contextmanager
def held(
    api: Api, command: grammar.Command, *, purpose: str | None, timeout_s: float | None, tell: Any
) -> Iterator[hold.Holding]:
    """Ask, wait, claim, and give back at the end, with the errors of our tree."""
    try:
        asked = hold.request(api, hold.body(command, purpose=purpose))
        try:
            holding = hold.Holding(api, _in_time(hold.wait(api, asked, tell, timeout_s=timeout_s), timeout_s))
        except BaseException:
            hold.give_up(api, asked["id"])
            raise
    except ApiError as error:
        raise client.error_of(error.status, error.code, error.detail, error.hint, error.params) from None
    try:
        yield holding
    finally:
        holding.release()


def _in_time(session: dict[str, Any], timeout_s: float | None) -> dict[str, Any]:
    if session["state"] == "queued":
        waited = words.duration(timeout_s)
        raise errors.Unavailable(f"No GPU came free in {waited}.", hint="Wait longer, or ask for less.", code="waited")
    return session


def wanted(
    memory: str | float | None = None,
    *,
    flavor: str | None = None,
    count: int = 1,
    duration: str | float | None = None,
    pool: str | None = None,
) -> grammar.Command:
    """What is asked for, in the words of ``%gpu``.

    Raises
    ------
    BadInput
    """
    if memory is not None and flavor is not None:
        raise errors.BadInput("Either memory or a flavor, not both.", hint="A flavor has its memory.")
    try:
        size = grammar.parse_size(memory) if isinstance(memory, str) else memory
    except grammar.GrammarError as error:
        raise errors.BadInput(error.detail, hint=error.hint) from None
    return grammar.Command(
        "get",
        memory_bytes=None if size is None else int(size),
        flavor=flavor,
        count=count,
        duration_s=seconds(duration),
        pool=pool,
    )


def seconds(duration: str | float | None) -> float | None:
    """Of ``"2h"``, or of a number of seconds.

    Raises
    ------
    BadInput
    """
    try:
        return grammar.parse_duration(duration) if isinstance(duration, str) else duration
    except grammar.GrammarError as error:
        raise errors.BadInput(error.detail, hint=error.hint) from None


class Progress:
    """One line on stderr while waiting: rewritten on a terminal, a new line for each change elsewhere."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._width = 0

    def tell(self, session: dict[str, Any]) -> None:
        """Where it is in the queue."""
        self._say(f"{words.title(session)}: {words.state(session)}", end=False)

    def done(self, session: dict[str, Any]) -> None:
        """It is there."""
        self._say(f"On {words.title(session)}. {words.ending(session)}".rstrip(), end=True)

    def _say(self, text: str, *, end: bool) -> None:
        if self._quiet:
            return
        line = words.clean(f"swangpu: {text}")
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{line.ljust(self._width)}" + ("\n" if end else ""))
            self._width = len(line)
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()
