"""Whether processes can be suspended on this machine, and what is in the way. `look` reads, `judge` decides."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import checkpoint_program, checkpoint_record
from .checkpoint_record import Passed

__all__ = [
    "LIMITS",
    "RIGHT_HINT",
    "Capabilities",
    "Capability",
    "DeviceFacts",
    "Machine",
    "driver_version",
    "full_map",
    "here",
    "judge",
    "look",
    "major",
]

#: from which driver on each phase can be done by itself, by architecture (550 to 565 can only do all at once, which
#: can't be undone half-way)
OLDEST_DRIVER = {"x86_64": 570, "aarch64": 595}
#: from which driver on a process can come back on another device
OLDEST_REMAP = 580

_CAP_SYS_PTRACE = 19

#: what can't be seen of a process from outside, and must be known before this is switched on
LIMITS = (
    "A process that uses NCCL can hang when it is suspended.",
    "Managed memory (cudaMallocManaged), and with drivers before 610 memory shared between processes, is not "
    "supported: where it is used, suspending fails and the process may be lost.",
    "What is saved counts as the process's host memory.",
)


@dataclass(frozen=True)
class DeviceFacts:
    """What is to be known of a device here; None is not known."""

    uuid: str
    model: str
    mig: bool = False
    used_bytes: int | None = None
    free_bytes: int | None = None


@dataclass(frozen=True)
class Capability:
    """Yes, or no with a stable code, a sentence and what helps."""

    able: bool
    code: str = "ok"
    text: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Capabilities:
    """``suspend``: GPU state can be saved and brought back. ``remap``: also on another device of the same model."""

    suspend: Capability
    remap: Capability


@dataclass(frozen=True)
class Machine:
    """What was found. ``may_trace``: whether the system lets us act on other processes of this account."""

    system: str
    architecture: str
    boot_id: str
    user_id: int
    driver_version: str
    program: Path | None
    program_digest: str
    may_trace: bool
    ptrace_scope: int | None = None


def look(configured: str = "", driver: str = "") -> Machine:
    """Read what there is. Reads files: not for an event loop.

    Parameters
    ----------
    configured : str, optional
        The program, where it is not to be looked for.
    driver : str, optional
        The driver's version, where it is known already.
    """
    program = checkpoint_program.find(configured)
    scope = _ptrace_scope()
    architecture = platform.machine()
    return Machine(
        system=sys.platform,
        architecture="x86_64" if architecture == "AMD64" else architecture,
        boot_id=_text(Path("/proc/sys/kernel/random/boot_id")),
        user_id=os.getuid(),
        driver_version=driver or driver_version(_text(Path("/proc/driver/nvidia/version"))),
        program=program,
        program_digest=checkpoint_record.digest(program) if program else "",
        may_trace=_may_trace(scope, program),
        ptrace_scope=scope,
    )


def driver_version(text: str) -> str:
    """Of the driver's own ``/proc/driver/nvidia/version``; empty where there is none."""
    found = re.search(r"NVRM version:.*?\s(\d{3,}\.\d+(?:\.\d+)?)", text)
    return found.group(1) if found else ""


def major(version: str) -> int:
    """575 of ``575.57.08``; 0 where it is not known."""
    head = version.partition(".")[0]
    return int(head) if head.isdigit() else 0


def judge(
    machine: Machine, devices: Sequence[DeviceFacts], passed: Passed | None, *, trying: bool = False
) -> Capabilities:
    """What can be done on these devices.

    Parameters
    ----------
    devices : sequence of DeviceFacts
        Those of the machine.
    passed : Passed or None
        What was recorded of the suspend test.
    trying : bool, optional
        This is the test, so it need not have passed before. The system's rights are tried then, not guessed.
    """
    suspend = _first_obstacle(machine, devices, passed, trying)
    return Capabilities(suspend, _remap(machine, devices, passed, suspend, trying))


def _first_obstacle(
    machine: Machine, devices: Sequence[DeviceFacts], passed: Passed | None, trying: bool
) -> Capability:
    if machine.system != "linux":
        return _no("not_linux", "GPU state can be suspended on Linux only.")
    oldest = OLDEST_DRIVER.get(machine.architecture)
    if oldest is None:
        return _no("architecture", f"NVIDIA's driver can't suspend on {machine.architecture or 'this architecture'}.")
    if not machine.driver_version:
        return _no("no_driver", "No NVIDIA driver is loaded on this machine.")
    if major(machine.driver_version) < oldest:
        return _no(
            "driver_too_old",
            f"Suspending needs driver {oldest} or later on {machine.architecture}; here is {machine.driver_version}.",
            "Ask for a newer driver.",
        )
    if machine.program is None:
        return _no(
            "program_not_found",
            f"The program {checkpoint_program.NAME} was not found.",
            "Install it from github.com/NVIDIA/cuda-checkpoint in a folder of PATH.",
        )
    if not devices:
        return _no("no_device", "The driver shows no device.")
    if all(device.mig for device in devices):
        return _no(
            "mig", "The driver can't suspend on a device that is cut into MIG devices.", "Move the arrays instead."
        )
    if trying:
        return Capability(True)
    if passed is None or not here(passed, machine):
        if not machine.may_trace:
            return _no("no_ptrace_right", _no_right(machine), RIGHT_HINT)
        return _not_tested(passed)
    if not any(device.model in passed.remaps for device in devices if not device.mig):
        return _not_tested(None)
    return Capability(True)


def _remap(
    machine: Machine, devices: Sequence[DeviceFacts], passed: Passed | None, suspend: Capability, trying: bool
) -> Capability:
    if not suspend.able:
        return suspend
    if major(machine.driver_version) < OLDEST_REMAP:
        return _no(
            "driver_too_old_for_remap",
            f"Coming back on another device needs driver {OLDEST_REMAP} or later; here is {machine.driver_version}.",
        )
    models = [device.model for device in devices if not device.mig]
    twice = {model for model in models if models.count(model) > 1}
    if not twice:
        return _no("no_equal_device", "There are no two devices of one model here.")
    if not trying and (passed is None or not any(passed.remaps.get(model) for model in twice)):
        return _no(
            "remap_not_passed",
            "Coming back on another device did not pass the suspend test here, so a process comes back on its own.",
        )
    return Capability(True)


def here(passed: Passed, machine: Machine) -> bool:
    """Whether what was tried then says anything of this machine as it is."""
    return checkpoint_record.same_place(
        passed, machine.boot_id, machine.driver_version, machine.program_digest, machine.user_id
    )


def _not_tested(passed: Passed | None) -> Capability:
    text = (
        "Suspending is off: it was not tried on this machine yet."
        if passed is None
        else "Suspending is off: the machine's boot, driver, program or account is another than when it was tried."
    )
    return _no("not_tested", text, "Run `swangpu doctor --suspend-test`.")


#: what helps where the system does not let us act on other processes
RIGHT_HINT = "Set the sysctl kernel.yama.ptrace_scope to 0, or give the server the capability CAP_SYS_PTRACE."


def _no_right(machine: Machine) -> str:
    if machine.ptrace_scope:
        return f"This system lets no process act on another (kernel.yama.ptrace_scope is {machine.ptrace_scope})."
    return "This system lets no process act on another."


def _no(code: str, text: str, hint: str = "") -> Capability:
    return Capability(False, code, text, hint)


def full_map(moves: Mapping[str, str], devices: Sequence[DeviceFacts]) -> dict[str, str] | str:
    """The map for ``--device-map``, or why there is none.

    The driver wants every device of the machine in it, each exactly once on both sides, whatever the process sees or
    uses. So what goes to a device sends the one that would have stayed there the other way.

    Parameters
    ----------
    moves : mapping of str to str
        From which device to which, by UUID.
    """
    models = {device.uuid: device.model for device in devices}
    if any(device.mig for device in devices):
        return "a device is cut into MIG devices"
    if not set(moves) | set(moves.values()) <= set(models):
        return "a device is not there"
    if len(set(moves.values())) < len(moves):
        return "two would come back on one device"
    if any(models[old] != models[new] for old, new in moves.items()):
        return "the devices are not of one model"
    left = [uuid for uuid in models if uuid not in set(moves.values())]
    full = {uuid: moves.get(uuid, "") for uuid in models}
    for uuid in [uuid for uuid, goes in full.items() if not goes and uuid in left]:
        full[uuid] = uuid
        left.remove(uuid)
    for uuid in [uuid for uuid, goes in full.items() if not goes]:
        same = next((other for other in left if models[other] == models[uuid]), None)
        if same is None:
            return "the devices are not of one model"
        full[uuid] = same
        left.remove(same)
    return full


def _may_trace(scope: int | None, program: Path | None) -> bool:
    """Whether the program, started by us, may act on another process of this account.

    A capability of ours gets into a program that we start only when we are root, or when it is ambient.
    """
    status = _text(Path("/proc/self/status"))
    held = "CapEff" if os.geteuid() == 0 else "CapAmb"
    found = re.search(rf"^{held}:\s*([0-9a-f]+)", status, flags=re.MULTILINE)
    capable = bool(found and int(found.group(1), 16) >> _CAP_SYS_PTRACE & 1)
    if scope == 3:  # nobody, until the next boot
        return False
    return capable or not scope or _has_own_rights(program)


def _has_own_rights(program: Path | None) -> bool:
    if program is None:
        return False
    try:
        found = program.stat()
        return bool(found.st_mode & 0o4000 and found.st_uid == 0) or bool(os.getxattr(program, "security.capability"))
    except (OSError, AttributeError):
        return False


def _ptrace_scope() -> int | None:
    text = _text(Path("/proc/sys/kernel/yama/ptrace_scope"))
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
