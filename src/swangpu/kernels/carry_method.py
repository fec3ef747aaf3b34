"""Carrying as one of the ways to put a kernel aside: its variables go to a file, and its process goes with all that it
had on a device. Another process waits in its place, and takes them back wherever there is a GPU for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..domain.sessions import ComesBack
from ..errors import Conflict, SwanGpuError
from . import carried, registry
from .bindings import BINDINGS
from .carried import Kept
from .door import ask
from .methods import IMPORT, MOVE, Aside, Left, Remember, Saved, Subject, tree_of, why
from .variables import CARRY_TIMEOUT_S, READY_TIMEOUT_S, ask_kernel, is_python

__all__ = ["NOT_CARRIED", "Carry", "waiting_env"]

log = logging.getLogger(__name__)

#: something of it would not come back as it was
NOT_CARRIED = "not_carried"
#: what is left free on the disk, whoever needs it
LEAVE_BYTES = 256 * 2**20
#: how long a process may take to be gone from its device, in seconds, and how often it is looked at
GONE_S = 60.0
LOOK_S = 0.05
#: so many are named
NAMED = 5
_OUT = f"{IMPORT}('swangpu_kernel.aside').out(%r, %d)"


class Carry:
    """Has a Python kernel write its variables to a file, and its agent start another kernel in its place.

    Nothing is done unless all of it can be saved. The process is not ended before the file was read back.

    Parameters
    ----------
    folder : Path
        Where the files go: on a disk, not in memory.
    leave_bytes : int
        How much room is left there.
    """

    name = "carry"

    def __init__(self, folder: Path, leave_bytes: int = LEAVE_BYTES) -> None:
        self._folder = folder
        self._leave_bytes = leave_bytes

    def fits(self, kernel: Any, env: Mapping[str, str | None]) -> bool:
        return is_python(kernel)

    def tidy(self, kernel_ids: Collection[str]) -> None:
        """Remove what is old and no kernel's."""
        carried.tidy(self._folder, kernel_ids)

    async def out(
        self, subject: Subject, saved: Saved, remember: Remember, *, begun: bool, budget_bytes: int | None = None
    ) -> Aside:
        """As `Method.out` has it. What is saved is on a disk: ``budget_bytes`` of host memory says nothing of it."""
        kept = carried.kept_of(saved)
        if kept is not None and (kept.loaded or (kept.process_lives and not await self._is_whole(kept))):
            # the kernel has them: it has had them back, or what was begun was given up
            self._forget(subject, kept)
            kept = None
        if kept is None:
            self._forget_begun(saved)
            try:
                path = await asyncio.to_thread(carried.new_place, self._folder, subject.kernel_id)
            except OSError as error:
                return _not_saved(f"The variables can't be kept: {error.strerror or 'the disk does not answer'}.")
            try:
                # who comes after a crash must not leave it lying about
                await remember([{"path": str(path)}])
                found = await self._save(subject, path)
                if isinstance(found, Kept):
                    await remember(found.as_saved())
            except BaseException:
                # it has all of them still
                carried.discard(path)
                raise
            if isinstance(found, Aside):
                carried.discard(path)
                return found
            kept = found
        BINDINGS.carried[subject.kernel_id] = kept.as_saved()
        if kept.process_lives and not await self._replace(subject, kept.pid, waiting_env(subject.env)):
            self._forget(subject, kept)
            return _not_saved("Its kernel could not be started anew.")
        return Aside(True, kept.size_bytes, ComesBack.ANYWHERE)

    async def back(self, subject: Subject, saved: Saved) -> Left | None:
        kept = carried.kept_of(saved)
        if kept is None:
            # nothing was ended
            self._forget_begun(saved)
            return None
        pid = await self._settled(subject)
        if kept.loaded or (pid == kept.pid and kept.process_lives):
            self._forget(subject, kept)
            return None
        left = await self._load(subject, kept, pid)
        kept = replace(kept, loaded=True, left=bool(left))
        await asyncio.to_thread(ask, subject.socket, {"do": "aside", "method": self.name, "saved": kept.as_saved()})
        self._forget(subject, kept)
        return Left(left, f"They are kept in {kept.path}.") if left else None

    # -- inside -----------------------------------------------------------------------------------

    async def _save(self, subject: Subject, path: Path) -> Kept | Aside:
        """Have all of it written; why not, where that can't be done."""
        state = await asyncio.to_thread(ask, subject.socket, {"do": "status"})
        if "replacing" not in state:
            return _not_saved("It was started by an earlier version of swangpu. Restart the kernel.")
        if await asyncio.to_thread(tree_of, subject.pid) != [subject.pid]:
            return _left([{"name": "processes that it has started", "why": "they would end"}])
        start = registry.process_start(subject.pid)
        answer = await ask_kernel(subject.kernel, _OUT % (str(path), self._leave_bytes), CARRY_TIMEOUT_S)
        if not isinstance(answer, dict) or start is None:
            return _not_saved("The kernel did not save its variables in time.")
        if not answer.get("ok"):
            left = [one for one in answer.get("left") or () if isinstance(one, dict)]
            return _left(left) if left else _not_saved(why(answer))
        kept = Kept(str(path), int(answer["size_bytes"]), str(answer["sha256"]), subject.pid, start)
        return kept if await self._is_whole(kept) else _not_saved("What was written could not be read back.")

    async def _load(self, subject: Subject, kept: Kept, pid: int) -> tuple[str, ...]:
        """Put the kernel on its shares and have it read the file; the names of what it could not read.

        Raises
        ------
        Conflict
        """
        if not await asyncio.to_thread(Path(kept.path).exists):
            raise Conflict(f"The file with its variables is gone: {kept.path}.", code="carried_gone", lost=True)
        moved = await ask_kernel(subject.kernel, MOVE % dict(subject.env), READY_TIMEOUT_S)
        if not isinstance(moved, dict) or not moved.get("ok"):
            # what starts with every kernel here has asked for a device
            log.info("A kernel is started anew on its share: %s", why(moved))
            if not await self._replace(subject, pid, dict(subject.env)):
                raise _not_back(kept, "Its kernel could not be started anew.")
        answer = await ask_kernel(
            subject.kernel, f"{IMPORT}('swangpu_kernel.aside').back({kept.path!r})", CARRY_TIMEOUT_S
        )
        if not isinstance(answer, dict) or answer.get("error"):
            # what it has of them on the device is of no use, and the device may be somebody else's in a moment
            await self._replace(subject, await self._settled(subject), waiting_env(subject.env))
            raise _not_back(kept, why(answer))
        return tuple(str(one.get("name")) for one in answer.get("left") or () if isinstance(one, dict))

    async def _replace(self, subject: Subject, pid: int, env: Mapping[str, str | None]) -> bool:
        """Another process in the place of this one, once this one is gone; False when nothing was done.

        Raises
        ------
        Conflict
            It does not go away.
        """
        request = {"do": "replace", "pid": pid, "env": dict(env)}
        try:
            await asyncio.to_thread(ask, subject.socket, request)
        except SwanGpuError:
            # done or not, the agent knows
            state = await asyncio.to_thread(ask, subject.socket, {"do": "status"})
            if state.get("kernel_pid") == pid and not state.get("replacing"):
                return False
        await self._settled(subject)
        return True

    async def _settled(self, subject: Subject) -> int:
        """The kernel's process, once none is on its way.

        Raises
        ------
        Conflict
        """
        for _ in range(round(GONE_S / LOOK_S)):
            state = await asyncio.to_thread(ask, subject.socket, {"do": "status"})
            if not state.get("replacing"):
                return int(state["kernel_pid"])
            await asyncio.sleep(LOOK_S)
        raise Conflict(
            "Its kernel does not end, and may have something on its GPU still.",
            hint="Its variables are saved; it is tried again.",
            code="not_saved",
        )

    def _forget_begun(self, saved: Saved) -> None:
        if (path := carried.begun_at(saved)) is not None:
            carried.discard(path)

    async def _is_whole(self, kept: Kept) -> bool:
        return await asyncio.to_thread(carried.is_whole, kept)

    def _forget(self, subject: Subject, kept: Kept) -> None:
        BINDINGS.carried.pop(subject.kernel_id, None)
        if not kept.left:
            carried.discard(kept.path)


def waiting_env(env: Mapping[str, str | None]) -> dict[str, str | None]:
    """The changes with which a kernel waits for a share: it sees no device, and nothing of the share that it had."""
    return {**{name: None for name in env if not name.startswith("SWANGPU_")}, "CUDA_VISIBLE_DEVICES": ""}


def _left(left: Sequence[Mapping[str, Any]]) -> Aside:
    named = ", ".join(f"{one.get('name')} ({one.get('why')})" for one in left[:NAMED])
    more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
    return Aside(False, code=NOT_CARRIED, text=f"These would not come back as they are: {named}{more}.")


def _not_saved(text: str) -> Aside:
    return Aside(False, code="not_saved", text=text)


def _not_back(kept: Kept, text: str) -> Conflict:
    return Conflict(
        f"Its variables could not be brought back. {text} They are kept in {kept.path}.",
        hint="It is tried again.",
        code="not_restored",
    )
