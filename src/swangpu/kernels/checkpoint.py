"""Suspends a kernel's GPU state into host memory and brings it back, whatever language the kernel speaks.

With NVIDIA's ``cuda-checkpoint``: CUDA in the process is locked, what is on the device is saved into the process's own
host memory and the device let go; later it is restored and unlocked. The process itself goes on, and waits where it
calls CUDA meanwhile.

Whatever fails, the driver's word on the state of the process counts, not the program's exit code: a program can be
killed after it worked. A process that is found locked is unlocked; one of which nothing is known is given up as lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from . import checkpoint_machine, checkpoint_program, checkpoint_record, checkpoint_room
from .checkpoint_machine import Capabilities, DeviceFacts, Machine
from .checkpoint_outcome import Held, Outcome, outcome
from .checkpoint_process import CudaProcess, Limits
from .checkpoint_record import Passed
from .checkpoint_room import Room

__all__ = ["Capabilities", "Checkpointer", "DeviceReading", "DeviceView", "Held", "Limits", "Outcome"]

log = logging.getLogger(__name__)

#: of a process's room this much is left to it: it goes on computing on the CPU
SPARE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class DeviceReading:
    """What the driver says of itself and its devices."""

    driver_version: str = ""
    devices: tuple[DeviceFacts, ...] = ()


@dataclass(frozen=True)
class _Survey:
    """What is known before anything is begun."""

    able: Capabilities
    machine: Machine
    reading: DeviceReading
    passed: Passed | None


class DeviceView(Protocol):
    """The driver, as far as it is needed here. Calls are made on a thread, and have to come back."""

    def read(self) -> DeviceReading:
        """The devices as they are now."""

    def held_by(self, pids: Collection[int]) -> Sequence[Held] | None:
        """What these processes hold of devices; None where the driver does not show processes."""


class Checkpointer:
    """Suspends and resumes process trees.

    Parameters
    ----------
    view : DeviceView
    program : str, optional
        NVIDIA's program, where it is not to be looked for.
    limits : Limits, optional
        How long each phase may take.
    record : Path, optional
        Where it is recorded that the suspend test has passed.
    trying : bool, optional
        This is the suspend test: it need not have passed before.
    look : callable, optional
        Reads the machine: the program as configured and the driver's version in, `Machine` out.
    room : callable, optional
        How much more host memory a process may use.
    """

    def __init__(
        self,
        view: DeviceView,
        *,
        program: str = "",
        limits: Limits | None = None,
        record: Path | None = None,
        trying: bool = False,
        look: Callable[[str, str], Machine] = checkpoint_machine.look,
        room: Callable[[int], Room] = checkpoint_room.room_of,
    ) -> None:
        self._view = view
        self._program = program
        self._limits = limits or Limits()
        self._record = record
        self._trying = trying
        self._look = look
        self._room = room
        # One at a time: two that look at the same room would both find it.
        self._saving = asyncio.Lock()
        self._at_work: set[int] = set()
        self._running: set[asyncio.Task[Outcome]] = set()

    def installed(self) -> bool:
        """Whether the program is there, as far as can be seen without the driver."""
        return checkpoint_program.find(self._program) is not None

    async def capabilities(self) -> Capabilities:
        """What can be done on this machine, now."""
        return (await asyncio.to_thread(self._survey)).able

    async def may_move(self, device_uuid: str) -> bool:
        """Whether what is saved of a device could come back on any other of its model on this machine, now."""
        now = await asyncio.to_thread(self._survey)
        models = {device.uuid: device.model for device in now.reading.devices}
        others = [u for u, model in models.items() if u != device_uuid and model == models.get(device_uuid)]
        return bool(others) and all(isinstance(self._map({device_uuid: other}, now), dict) for other in others)

    async def suspend(
        self, pids: Collection[int], budget_bytes: int | None = None, *, device_uuids: Collection[str] = ()
    ) -> Outcome:
        """Save what a kernel has on its device into host memory.

        Whoever cancels this does not stop it half-way: it goes on to its end behind their back.

        Parameters
        ----------
        pids : collection of int
            The kernel and its children; those that use a device are found.
        budget_bytes : int, optional
            How much may be saved at most, beside what the process's memory limit and the machine leave.
        device_uuids : collection of str, optional
            The devices that the kernel was given, for where the driver does not show processes: all that is used on
            them is then taken for the kernel's.

        Returns
        -------
        Outcome
            ``suspended``, ``unchanged``, ``undone`` or ``lost``.
        """
        return await self._to_its_end(pids, lambda: self._suspend(tuple(pids), budget_bytes, tuple(device_uuids)))

    async def resume(
        self,
        pids: Collection[int],
        device_map: Mapping[str, str] | None = None,
        *,
        saved: Sequence[Held] = (),
    ) -> Outcome:
        """Bring back what was saved. Safe on a kernel that is not suspended, and on one found locked after a crash.

        Parameters
        ----------
        pids : collection of int
            The kernel and its children.
        device_map : mapping of str to str, optional
            From which device to which, by UUID; without it everything comes back where it was.
        saved : sequence of Held, optional
            What the suspending said. With it, it is first looked whether the device has room for it.

        Returns
        -------
        Outcome
            ``resumed``, ``still_suspended``, ``lost``, or ``unchanged`` where nothing was suspended.
        """
        return await self._to_its_end(pids, lambda: self._resume(tuple(pids), dict(device_map or {}), tuple(saved)))

    async def close(self) -> None:
        """Wait for what is under way, so that no process stays locked."""
        while self._running:
            await asyncio.wait(self._running)

    async def _to_its_end(self, pids: Collection[int], work: Callable[[], Awaitable[Outcome]]) -> Outcome:
        ours = frozenset(pids)
        if self._at_work & ours:
            return outcome("unchanged", "busy")
        self._at_work |= ours
        task = asyncio.ensure_future(self._timed(ours, work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _timed(self, pids: frozenset[int], work: Callable[[], Awaitable[Outcome]]) -> Outcome:
        begun = time.monotonic()
        try:
            done = replace(await work(), took_s=time.monotonic() - begun)
        finally:
            self._at_work -= pids
        level = logging.INFO if done.kind in ("suspended", "resumed", "unchanged") else logging.WARNING
        log.log(level, "%s in %.1f s: %s (%s %s)", done.kind, done.took_s, done.text, done.code, done.said)
        return done

    # -- suspending -------------------------------------------------------------------------------

    async def _suspend(self, pids: tuple[int, ...], budget: int | None, device_uuids: tuple[str, ...]) -> Outcome:
        async with self._saving:
            now = await asyncio.to_thread(self._survey)
            if not now.able.suspend.able or now.machine.program is None:
                no = now.able.suspend
                return Outcome("unchanged", no.code, no.text, no.hint)
            held = await asyncio.to_thread(self._view.held_by, pids)
            shown = held is not None
            if held is None:
                held = await self._guessed(now, pids, device_uuids)
            users = sorted({one.pid for one in held})
            if len(users) > 1:
                return outcome("unchanged", "several_processes", count=len(users))
            if not users:
                return await self._nothing_held(now.machine.program, pids)
            done = await self._save(CudaProcess(now.machine.program, users[0], self._limits), now, tuple(held), budget)
            return done if shown else replace(done, saved=await self._measured(done.saved))

    async def _nothing_held(self, program: Path, pids: Sequence[int]) -> Outcome:
        """The driver shows none of them on a device: because there is nothing, or because all is saved already."""
        for pid in pids:
            if await CudaProcess(program, pid, self._limits).state() == "checkpointed":
                return outcome("suspended", "already_suspended", saved=(Held(pid, "", None),))
        return outcome("unchanged", "nothing_there")

    async def _save(self, process: CudaProcess, now: _Survey, held: tuple[Held, ...], budget: int | None) -> Outcome:
        size = sum(one.memory_bytes or 0 for one in held)
        state = await process.state()
        if state == "checkpointed":
            return outcome("suspended", "already_suspended", saved=held)
        if state == "failed":
            return outcome("lost", "failed_before", said=process.said)
        if state not in ("running", "locked"):
            return outcome("unchanged", "not_answering", why=process.why, said=process.said)
        refused = self._refused_device(held, now) or await self._no_room(process.pid, size, budget)
        if refused is not None and state == "running":
            return refused
        if refused is not None:
            # left behind locked by one who was killed
            unlocked = await process.unlock()
            return refused if unlocked == "running" else _lost(process, unlocked, "unlock", "", "")
        if state == "running":
            state = await process.lock()
            # To take a lock back costs nothing, so a doubtful one is not built upon.
            if state != "locked" or not process.worked:
                return await self._take_back(process, "lock", held, state)
        state = await process.act("checkpoint", size)
        if state == "checkpointed":
            return outcome("suspended", "suspended", saved=held, bytes=size)
        return await self._take_back(process, "checkpoint", held, state)

    async def _take_back(self, process: CudaProcess, phase: str, held: tuple[Held, ...], state: str | None) -> Outcome:
        """A phase failed: leave no process locked, and find out what is left of it."""
        why, said = process.why, process.said
        if state in ("failed", "ended"):
            return _lost(process, state, phase, why, said)
        if phase == "lock" and state == "running" and not process.was_killed:
            return outcome("unchanged", "lock_failed", phase=phase, why=why, said=said)
        # A program that was killed can have asked for the lock, and the driver gives it later: unlock in any case.
        state = await process.unlock()
        if state == "running":
            return outcome("undone", f"{phase}_failed", phase=phase, why=why, said=said)
        if state == "checkpointed":
            return outcome("suspended", "suspended", saved=held, bytes=sum(one.memory_bytes or 0 for one in held))
        return _lost(process, state, phase, why, said)

    # -- resuming ---------------------------------------------------------------------------------

    async def _resume(self, pids: tuple[int, ...], moves: dict[str, str], saved: tuple[Held, ...]) -> Outcome:
        now = await asyncio.to_thread(self._survey)
        if now.machine.program is None:
            return outcome("still_suspended", "no_program", saved=saved)
        done: list[Outcome] = []
        for pid in pids:
            process = CudaProcess(now.machine.program, pid, self._limits)
            state = await process.state()
            if state is not None:
                done.append(await self._resume_one(process, state, now, moves, saved))
            elif any(one.pid == pid for one in saved):
                # nothing was done to it, so what was saved is where it was
                done.append(
                    outcome("still_suspended", "not_answering", why=process.why, said=process.said, saved=saved)
                )
        return max(done, key=lambda one: _WORSE.index(one.kind), default=outcome("unchanged", "nothing_there"))

    async def _resume_one(
        self, process: CudaProcess, state: str, now: _Survey, moves: dict[str, str], saved: tuple[Held, ...]
    ) -> Outcome:
        if state == "running":
            return outcome("resumed", "already_running")
        if state == "locked":
            unlocked = await process.unlock()
            if unlocked == "running":
                return outcome("resumed", "resumed")
            return _lost(process, unlocked, "unlock", process.why, process.said)
        if state == "ended" and not any(one.pid == process.pid for one in saved):
            return outcome("unchanged", "nothing_there")
        if state != "checkpointed":
            return _lost(process, state, "", process.why, process.said)
        full: dict[str, str] | None = None
        if any(old != new for old, new in moves.items()):
            found = self._map(moves, now)
            if isinstance(found, str):
                return outcome("still_suspended", "no_map", saved=saved, why=found)
            full = found
        no_room = checkpoint_room.no_room_on_device(saved, moves, now.reading.devices)
        return no_room or await self._bring_back(process, full, saved)

    def _map(self, moves: dict[str, str], now: _Survey) -> dict[str, str] | str:
        if not now.able.remap.able:
            return now.able.remap.text.rstrip(".")
        models = {device.uuid: device.model for device in now.reading.devices}
        passed = now.passed.remaps if now.passed else {}
        if not self._trying and not all(passed.get(models.get(old, "")) for old in moves):
            return "that model of device did not pass the suspend test for it"
        return checkpoint_machine.full_map(moves, now.reading.devices)

    async def _bring_back(self, process: CudaProcess, full: dict[str, str] | None, saved: tuple[Held, ...]) -> Outcome:
        sizes = [one.memory_bytes for one in saved if one.memory_bytes is not None]
        state = await process.act("restore", sum(sizes) if sizes else None, full)
        why, said = process.why, process.said
        if state in ("locked", None):
            state = await process.unlock()
        if state == "running":
            return outcome("resumed", "resumed")
        if state == "checkpointed":
            code = "map_refused" if full else "restore_failed"
            return outcome("still_suspended", code, phase="restore", why=why, said=said, saved=saved)
        return _lost(process, state, "restore", why, said)

    # -- what is known before -----------------------------------------------------------------------

    def _survey(self) -> _Survey:
        reading = self._view.read()
        machine = self._look(self._program, reading.driver_version)
        passed = checkpoint_record.read(self._record or checkpoint_record.record_path())
        able = checkpoint_machine.judge(machine, reading.devices, passed, trying=self._trying)
        return _Survey(able, machine, reading, passed)

    async def _guessed(self, now: _Survey, pids: Sequence[int], device_uuids: Collection[str]) -> list[Held]:
        """Where the driver does not show processes: who answers as a user of CUDA, with all that is used there."""
        program = now.machine.program
        if program is None:
            return []
        used = {device.uuid: device.used_bytes for device in now.reading.devices if device.uuid in device_uuids}
        users = [pid for pid in pids if await CudaProcess(program, pid, self._limits).uses_cuda()]
        return [Held(pid, uuid, size) for pid in users for uuid, size in (used or {"": None}).items()]

    async def _measured(self, saved: Sequence[Held]) -> tuple[Held, ...]:
        """What became free: all that was used is more than can ever come back, as the driver keeps some for itself."""
        after = {device.uuid: device.used_bytes for device in (await asyncio.to_thread(self._view.read)).devices}
        measured = []
        for one in saved:
            left = after.get(one.device_uuid)
            known = one.memory_bytes is not None and left is not None and left < one.memory_bytes
            measured.append(replace(one, memory_bytes=(one.memory_bytes or 0) - (left or 0) if known else None))
        return tuple(measured)

    def _refused_device(self, held: Sequence[Held], now: _Survey) -> Outcome | None:
        devices = {device.uuid: device for device in now.reading.devices}
        tested = now.passed.remaps if now.passed else {}
        for one in held:
            device = devices.get(one.device_uuid)
            if device is None or one.memory_bytes is None:
                return outcome("unchanged", "memory_not_known")
            if device.mig or not (self._trying or device.model in tested):
                return outcome("unchanged", "not_this_device")
        return None

    async def _no_room(self, pid: int, size: int, budget: int | None) -> Outcome | None:
        if budget is not None and size > budget:
            return outcome("unchanged", "no_room", bytes=size, free=budget)
        room = await asyncio.to_thread(self._room, pid)
        if room.free_bytes is None:
            return outcome("unchanged", "room_not_known")
        free = max(0, room.free_bytes - SPARE_BYTES)
        if size > free:
            return outcome("unchanged", f"no_room_{room.limited_by}", bytes=size, free=free)
        return None


#: of several processes, the one with whom it is worst tells how it is with the kernel
_WORSE = ("unchanged", "undone", "suspended", "resumed", "still_suspended", "lost")


def _lost(process: CudaProcess, state: str | None, phase: str, why: str, said: str) -> Outcome:
    if state == "locked":
        return outcome("lost", "still_locked", phase="unlock", why=process.why, said=process.said)
    code = {"ended": "ended", "failed": "state_failed"}.get(state or "", "state_not_known")
    return outcome("lost", code, phase=phase, why=why, said=said)
