"""The ways in which what a kernel has on its device is put aside and brought back. Its gate is closed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..domain.sessions import ComesBack, Reason
from ..errors import Conflict
from .variables import ask_kernel, is_python

__all__ = [
    "IMPORT",
    "MOVE",
    "MOVE_TIMEOUT_S",
    "Aside",
    "Left",
    "Method",
    "Offload",
    "Remember",
    "Saved",
    "Subject",
    "tree_of",
    "why",
]

log = logging.getLogger(__name__)

#: moving what is on a device to host memory and back, in seconds: 80 GB at the slowest rate that was measured
MOVE_TIMEOUT_S = 90.0
#: in front of a module's name in quotes and brackets: an expression that leaves no name in the kernel
IMPORT = "__import__('importlib').import_module"
_OFFLOAD = f"{IMPORT}('swangpu_kernel.offload').%s(%s)"
#: puts a kernel that has not used a device on another share
MOVE = f"{IMPORT}('swangpu_kernel.cuda').move(%r)"

#: what a method wants to have back at the resume, as JSON
Saved = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Subject:
    """A kernel that is put aside or brought back.

    Attributes
    ----------
    kernel : KernelManager
    socket : Path
        Of its agent.
    pid : int
        The kernel's own process.
    env : mapping
        The environment of the shares that it is on, or is to come back to; None unsets a variable.
    """

    kernel: Any
    socket: Path
    pid: int
    env: Mapping[str, str | None]
    kernel_id: str = ""


@dataclass(frozen=True)
class Left:
    """What did not come back, though all else did: its names, and a sentence that says where it is."""

    names: tuple[str, ...]
    where: str


@dataclass(frozen=True)
class Aside:
    """What became of an attempt; where nothing was moved, ``code`` and ``text`` say why, else ``text`` what stays.

    Attributes
    ----------
    stays_bytes : int
        What is on the device still.
    doubtful : bool
        Something was begun and taken back, and nobody promises that the kernel is as it was.
    """

    moved: bool
    saved_bytes: int = 0
    comes_back: ComesBack = ComesBack.DEVICE
    stays_bytes: int = 0
    code: str = ""
    text: str = ""
    doubtful: bool = False


class Remember(Protocol):
    """Has the kernel's agent keep what a method has saved."""

    async def __call__(self, saved: Saved) -> None: ...


class Method(Protocol):
    """One of the ways."""

    name: str

    def fits(self, kernel: Any, env: Mapping[str, str | None]) -> bool:
        """Whether it may work with this kernel on these shares, as far as that is known without asking anybody."""
        ...

    async def out(
        self, subject: Subject, saved: Saved, remember: Remember, *, begun: bool, budget_bytes: int | None = None
    ) -> Aside:
        """Put aside what the kernel has on its device. Idempotent.

        Parameters
        ----------
        saved : sequence of mapping
            What was remembered of an earlier attempt.
        remember : Remember
        begun : bool
            This way had been begun before: by a server that has died meanwhile, or whose answer got lost.
        budget_bytes : int, optional
            How much host memory it may take. More is needed: nothing is moved, and the code is ``no_room``.

        Raises
        ------
        Conflict
            With the parameter ``lost``: the kernel did not survive it.
        """
        ...

    async def back(self, subject: Subject, saved: Saved) -> Reason | Left | None:
        """Bring it back. Safe where nothing was put aside.

        Returns
        -------
        Reason, Left or None
            What its person should know all the same: what is amiss, or what did not come back.

        Raises
        ------
        Conflict
            It could not be brought back; with the parameter ``lost`` it never will be, with ``own_device`` it can be
            on the device that it was on.
        """
        ...


class Offload:
    """The kernel itself moves its arrays: Python only, and nothing is asked of the driver."""

    name = "offload"

    def fits(self, kernel: Any, env: Mapping[str, str | None]) -> bool:
        return is_python(kernel)

    async def out(
        self, subject: Subject, saved: Saved, remember: Remember, *, begun: bool, budget_bytes: int | None = None
    ) -> Aside:
        words = f"budget_bytes={int(budget_bytes)}" if budget_bytes is not None else ""
        answer = await ask_kernel(subject.kernel, _OFFLOAD % ("out", words), MOVE_TIMEOUT_S)
        if not isinstance(answer, dict) or (not answer.get("ok") and answer.get("moved_bytes")):
            # It may do it yet, or has done a part of it: its gate stays closed until all is known to be back.
            raise Conflict(
                f"What it has on the device could not be moved. {why(answer)}".strip(),
                hint="It goes on as soon as everything is back on its device.",
                code="not_saved",
            )
        if not answer.get("ok"):
            said = why(answer)
            if answer.get("code") == "no_room":
                log.info("What a kernel has on its device was not moved: %s", said)
                return Aside(False, code="no_room", text=said)
            log.info("What a kernel has on its device could not be moved: %s", said)
            return Aside(False, code="not_saved", text=f"What it has on the device could not be moved. {said}".strip())
        # Its children have the environment that they were started with.
        free = bool(answer.get("untouched")) and await asyncio.to_thread(tree_of, subject.pid) == [subject.pid]
        if free:
            await remember([{"untouched": True}])
        # what it takes in host memory, which a kernel of before an update does not tell apart
        moved = int(answer.get("host_bytes") or answer.get("moved_bytes") or 0)
        stays = int(answer.get("stays_bytes") or 0)
        where = ComesBack.ANYWHERE if free else ComesBack.DEVICE
        return Aside(True, moved, where, stays_bytes=stays, text=_most(answer.get("stays")))

    async def stays(self, subject: Subject, most_bytes: int) -> int:
        """How much it has on the device, where that is no more than so much and may stay; else 0. Nothing is moved."""
        answer = await ask_kernel(subject.kernel, _OFFLOAD % ("stays", f"{int(most_bytes)}"), MOVE_TIMEOUT_S)
        if not isinstance(answer, dict) or not answer.get("ok"):
            log.info("What a kernel has on its device does not stay there. %s", why(answer))
            return 0
        return int(answer.get("resident_bytes") or 0)

    async def back(self, subject: Subject, saved: Saved) -> None:
        if any(one.get("untouched") for one in saved):
            moved = await ask_kernel(subject.kernel, MOVE % dict(subject.env), MOVE_TIMEOUT_S)
            if not isinstance(moved, dict) or not moved.get("ok"):
                raise Conflict(
                    f"It could not be put on its GPU. {why(moved)}".strip(),
                    hint="It is tried again.",
                    code="not_restored",
                )
        answer = await ask_kernel(subject.kernel, _OFFLOAD % ("back", ""), MOVE_TIMEOUT_S)
        if not isinstance(answer, dict) or not answer.get("ok"):
            raise Conflict(
                f"What was on the GPU could not be brought back. {why(answer)}".strip(),
                hint="It is kept in host memory; it is tried again.",
                code="not_restored",
            )


def why(answer: Any) -> str:
    """What a kernel says of why it did not do something."""
    return str(answer.get("error") or "") if isinstance(answer, dict) else "The kernel did not answer."


def _most(stays: Any) -> str:
    """What most of that which stays on the device is, and why it does."""
    first = stays[0] if isinstance(stays, list) and stays and isinstance(stays[0], dict) else {}
    what, why = str(first.get("what") or ""), str(first.get("why") or "")
    return f"{what} ({why})" if what and why else what


def tree_of(pid: int) -> list[int]:
    """A process and all its children."""
    import psutil

    pids = [pid]
    with contextlib.suppress(psutil.Error):
        pids += [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return pids
