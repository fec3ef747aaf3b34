"""The suspend test: a process of our own is suspended and resumed on this machine's devices, and it is looked hard at.

It goes through the same `Checkpointer` as kernels do, and sees one device only, as kernels do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..tasks import within
from . import checkpoint_machine, checkpoint_record
from .checkpoint import Checkpointer, DeviceReading, DeviceView, Held, Limits, Outcome
from .checkpoint_machine import DeviceFacts, Machine
from .checkpoint_record import Passed

__all__ = ["Step", "suspend_test"]

#: what the process holds on the device
SIZE_BYTES = 128 * 2**20
#: so much of it must be seen to be free: others use the device too
FREED = 0.9
ANSWER_S = 60.0

#: as with ``-m``, but without the working directory: whoever can write there could have us run what they like
_PROGRAM = (
    "import sys; sys.path[:] = filter(None, sys.path); import runpy; "
    f"runpy.run_module('{__package__}.checkpoint_subject', run_name='__main__', alter_sys=True)"
)

Status = Literal["ok", "info", "warning", "problem"]


@dataclass(frozen=True)
class Step:
    """What was found, in words, and what to do about it. ``check``: ``suspend`` or ``remap``."""

    check: str
    status: Status
    text: str
    hint: str = ""


@dataclass
class _View:
    """The driver as given, with the process under test as the only one."""

    reading: DeviceReading
    held: tuple[Held, ...] = ()

    def read(self) -> DeviceReading:
        return self.reading

    def held_by(self, pids: Collection[int]) -> Sequence[Held] | None:
        return [one for one in self.held if one.pid in pids]


class _Silent(Exception):
    """The process under test does not say what it should; the message is for the person."""


class _Subject:
    """A process that holds a pattern on a device."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(cls, device: DeviceFacts, *words: str) -> _Subject:
        # the same that puts a kernel on its share
        env = {**os.environ, "CUDA_VISIBLE_DEVICES": device.uuid, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        argv = [sys.executable, "-c", _PROGRAM, *words]
        return cls(await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=nowhere, env=env))

    async def ask(self, word: str = "") -> dict[str, Any]:
        """Say something, and hear what it answers."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:  # both are pipes
            raise _Silent("it can't be talked to")
        try:
            if word:
                stdin.write(f"{word}\n".encode())
                await stdin.drain()
            line = await within(stdout.readline(), ANSWER_S)
            said = json.loads(line)
        except asyncio.TimeoutError:
            raise _Silent(f"it does not answer for {ANSWER_S:g} s") from None
        except (OSError, ValueError):
            raise _Silent("it has ended") from None
        if not isinstance(said, dict) or "error" in said:
            raise _Silent(str(said["error"]) if isinstance(said, dict) else "it says nothing of use")
        return said

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


async def _free_on(device: DeviceFacts) -> int:
    """What a process that has just begun sees to be free."""
    witness = await _Subject.start(device, "look")
    try:
        return int((await witness.ask())["free_bytes"])
    finally:
        await witness.end()


async def suspend_test(
    view: DeviceView,
    *,
    program: str = "",
    limits: Limits | None = None,
    record: Path | None = None,
    size_bytes: int = SIZE_BYTES,
) -> list[Step]:
    """Try it on one device of each model, and record what has passed.

    Parameters
    ----------
    view : DeviceView
    program : str, optional
        NVIDIA's program, where it is not to be looked for.
    record : Path, optional
        Where it is recorded.
    """
    reading = await asyncio.to_thread(view.read)
    ours = _View(reading)
    checkpointer = Checkpointer(ours, program=program, limits=limits, trying=True)
    able = await checkpointer.capabilities()
    place = record or checkpoint_record.record_path()
    if not able.suspend.able:
        return [Step("suspend", "warning", f"was not tried: {able.suspend.text}", able.suspend.hint)]
    machine = await asyncio.to_thread(checkpoint_machine.look, program, reading.driver_version)
    before = await asyncio.to_thread(_recorded, place, machine)
    steps, remaps = [], {}
    for device, other in _pairs(reading.devices):
        found = await _Trial(checkpointer, ours, device, size_bytes).run(other if able.remap.able else None)
        steps += found
        if found[0].status == "ok":
            remaps[device.model] = any(step.check == "remap" and step.status == "ok" for step in found)
        elif found[0].status == "warning" and device.model in before:
            # it could not be tried now, which says nothing against what was tried before
            remaps[device.model] = before[device.model]
    if not able.remap.able:
        steps.append(Step("remap", "info", f"was not tried: {able.remap.text}", able.remap.hint))
    await asyncio.to_thread(_record, place, machine, remaps)
    return steps


def _pairs(devices: Sequence[DeviceFacts]) -> list[tuple[DeviceFacts, DeviceFacts | None]]:
    """Of each model the device with the most free memory, and the next."""
    order = sorted((d for d in devices if not d.mig), key=lambda d: -(d.free_bytes or 0))
    models = dict.fromkeys(d.model for d in order)
    alike = [[d for d in order if d.model == model] for model in models]
    return [(same[0], same[1] if len(same) > 1 else None) for same in alike]


def _recorded(place: Path, machine: Machine) -> Mapping[str, bool]:
    """What has passed before and still counts."""
    passed = checkpoint_record.read(place)
    return passed.remaps if passed is not None and checkpoint_machine.here(passed, machine) else {}


def _record(place: Path, machine: Machine, remaps: dict[str, bool]) -> None:
    if remaps:
        passed = Passed(machine.boot_id, machine.driver_version, machine.program_digest, machine.user_id, remaps)
        checkpoint_record.write(place, passed)
    else:
        # it may have passed before
        place.unlink(missing_ok=True)


class _Trial:
    """One device's test, with a process of its own."""

    def __init__(self, checkpointer: Checkpointer, view: _View, device: DeviceFacts, size_bytes: int) -> None:
        self._checkpointer = checkpointer
        self._view = view
        self._device = device
        self._size = size_bytes
        self._took_s = (0.0, 0.0)

    async def run(self, other: DeviceFacts | None) -> list[Step]:
        name = self._device.model
        subject = await _Subject.start(self._device, "hold", str(self._size))
        try:
            try:
                await subject.ask()
                before = await _free_on(self._device)
            except _Silent as error:
                return [Step("suspend", "warning", f"{name}: was not tried, since {error}", _BEFORE)]
            failed = await self._round(subject, before)
            if failed is not None:
                return [failed]
            out, back = self._took_s
            text = f"{name}: works. Memory was free meanwhile and came back as it was ({out:.1f} s and {back:.1f} s)"
            steps = [Step("suspend", "ok", text)]
            return steps if other is None else [*steps, await self._remap(subject, other)]
        except _Silent as error:
            return [Step("suspend", "problem", f"{name}: of the suspended process: {error}", _HINT)]
        finally:
            await subject.end()

    async def _round(self, subject: _Subject, before: int, other: DeviceFacts | None = None) -> Step | None:
        """Out and in again; None when all is well."""
        check, name = "remap" if other else "suspend", self._device.model
        held = (Held(subject.pid, self._device.uuid, self._size),)
        self._view.held = held
        before_there = await _free_on(other) if other else 0
        out = await self._checkpointer.suspend([subject.pid])
        if out.kind != "suspended":
            return Step(check, "problem", f"{name}: {_told(out)}", _helps(out))
        freed = await _free_on(self._device) - before
        if freed < FREED * self._size:
            return Step(check, "problem", f"{name}: GPU memory was not free while the process was suspended.", _OTHERS)
        moves = {self._device.uuid: other.uuid} if other else None
        back = await self._checkpointer.resume([subject.pid], moves, saved=held)
        if back.kind != "resumed":
            status: Status = "info" if back.kind == "still_suspended" and other else "problem"
            return Step(check, status, f"{name}: {_told(back)}", _helps(back))
        if not (await subject.ask("compare")).get("same"):
            return Step(check, "problem", f"{name}: what came back to the GPU is not what was saved.", _HINT)
        if other and before_there - await _free_on(other) < FREED * self._size:
            return Step(check, "problem", f"{name}: it did not come back on the other device.", _OTHERS)
        self._took_s = (out.took_s, back.took_s)
        return None

    async def _remap(self, subject: _Subject, other: DeviceFacts) -> Step:
        try:
            failed = await self._round(subject, await _free_on(self._device), other)
        except _Silent as error:
            return Step("remap", "problem", f"{self._device.model}: of the process there: {error}", _HINT)
        if failed is None:
            return Step("remap", "ok", f"{self._device.model}: works. It came back on another device as it was")
        if failed.status == "info":
            return Step("remap", "info", failed.text, "A suspended session waits for its own device.")
        return failed


_BEFORE = "Try again when 1 GB of this GPU is free, and its driver's libraries are complete."
_HINT = "Leave suspending off on this machine."
_OTHERS = "If others use this GPU, try again when nobody does; else leave suspending off on this machine."


def _told(out: Outcome) -> str:
    return f"{out.text} The program says: {out.said}" if out.said else out.text


def _helps(out: Outcome) -> str:
    """What helps an operator; the outcome's own hint is for somebody whose kernel it was."""
    if out.phase == "restore":
        return "Switch the driver's persistence mode on (nvidia-smi -pm 1) and try again."
    if out.params.get("why") == "no_permission":
        return checkpoint_machine.RIGHT_HINT
    return out.hint if out.code.startswith("no_room") else _HINT
