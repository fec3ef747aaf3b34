"""NVIDIA's ``cuda-checkpoint`` program: what is said to it, what it answers, and running it for a limited time.

Of its interface (drivers 570 and later): ``--action lock | checkpoint | restore | unlock --pid PID``, for ``lock`` with
``--timeout MS``, for ``restore`` (drivers 580 and later) with ``--device-map OLD=NEW,...``; ``--get-state``,
``--get-restore-tid``. It ends with 0 when it worked, and says else in words why not. The program is thin: what it can
do is in the driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ..tasks import within

__all__ = [
    "NAME",
    "Answer",
    "Phase",
    "State",
    "action",
    "failure",
    "find",
    "get_restore_tid",
    "get_state",
    "restore_tid_of",
    "run",
    "state_of",
]

NAME = "cuda-checkpoint"
#: where it lies beside what PATH names
ELSEWHERE = ("/usr/local/cuda/bin",)

Phase = Literal["lock", "checkpoint", "restore", "unlock"]

#: ``moving``: between two of the others, as newest drivers tell while they save and restore
State = Literal["running", "locked", "checkpointed", "failed", "moving"]
_MOVING = ("checkpointing", "restoring")

#: what the program says when something fails, and what we call it; the first that fits counts
_FAILURES = (
    ("out of memory", "out_of_memory"),
    ("not permitted", "no_permission"),
    ("permission denied", "no_permission"),
    ("insufficient driver", "driver_too_old"),
    ("invalid argument", "invalid_argument"),
    ("os call failed", "os_call_failed"),
    ("not supported", "not_supported"),
    ("not ready", "time_is_up"),
    ("timed out", "time_is_up"),
    ("timeout", "time_is_up"),
    ("illegal state", "illegal_state"),
    ("initialization error", "no_cuda_there"),
)

#: how long a killed program may take to be gone; one that hangs in the driver never is
_GONE_S = 5.0


@dataclass(frozen=True)
class Answer:
    """How a run of the program ended. ``code`` is None when it could not be started or was killed for its time."""

    code: int | None
    text: str = ""
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        return self.code == 0


def find(configured: str = "", path: str | None = None) -> Path | None:
    """The program; where one is configured, that one or none."""
    if configured:
        found = shutil.which(configured)
    else:
        folders = [os.environ.get("PATH", os.defpath) if path is None else path, *ELSEWHERE]
        found = shutil.which(NAME, path=os.pathsep.join(folders))
    return Path(found).resolve() if found else None


def action(
    program: Path,
    phase: Phase,
    pid: int,
    *,
    timeout_s: float | None = None,
    device_map: Mapping[str, str] | None = None,
) -> list[str]:
    """The command of one phase.

    Parameters
    ----------
    timeout_s : float, optional
        How long ``lock`` may wait for work that is under way; of the other phases none has a limit of its own.
    device_map : mapping of str to str, optional
        For ``restore``: on which device each is to come back, by UUID.
    """
    if phase not in get_args(Phase):
        raise ValueError("not a phase")
    argv = [str(program), "--action", phase, "--pid", _id(pid)]
    if phase == "lock" and timeout_s is not None:
        # 0 would be no limit at all
        argv += ["--timeout", str(max(1, round(timeout_s * 1000)))]
    if phase == "restore" and device_map:
        argv += ["--device-map", ",".join(f"{_uuid(old)}={_uuid(new)}" for old, new in device_map.items())]
    return argv


def get_state(program: Path, pid: int) -> list[str]:
    return [str(program), "--get-state", "--pid", _id(pid)]


def get_restore_tid(program: Path, pid: int) -> list[str]:
    return [str(program), "--get-restore-tid", "--pid", _id(pid)]


def _id(pid: int) -> str:
    if pid <= 0:
        raise ValueError("not a process id")
    return str(int(pid))


def _uuid(text: str) -> str:
    if not re.fullmatch(r"GPU-[0-9A-Fa-f-]{36}", text):
        raise ValueError("not the UUID of a device")
    return text


def state_of(answer: Answer) -> State | None:
    """The state of a process, of the answer to `get_state`; None where it was not told."""
    lines = answer.text.split() if answer.ok else []
    word = lines[0].lower() if lines else ""
    if word in _MOVING:
        return "moving"
    known: tuple[State, ...] = get_args(State)
    return next((state for state in known if state == word and state != "moving"), None)


def restore_tid_of(answer: Answer) -> int | None:
    """The thread that CUDA is restored on; None for a process that does not use CUDA."""
    text = answer.text.strip()
    return int(text) if answer.ok and re.fullmatch(r"[0-9]{1,10}", text) and int(text) else None


def failure(answer: Answer) -> str:
    """A stable code for why the program did not do what it was asked for."""
    if answer.timed_out:
        return "time_is_up"
    if answer.code is None:
        return "not_started"
    if answer.code < 0:
        return "killed"
    said = answer.text.lower()
    return next((code for words, code in _FAILURES if words in said), "failed")


async def run(argv: Sequence[str], limit_s: float) -> Answer:
    """Run the program, and kill it when its time is up."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env=_environment(),
        )
    except OSError as error:
        return Answer(None, error.strerror or "cannot be started")
    try:
        said, _ = await within(process.communicate(), limit_s)
    except asyncio.TimeoutError:
        return Answer(None, f"did not end in {limit_s:g} s", timed_out=True)
    finally:
        await _end(process)
    return Answer(process.returncode, said.decode(errors="replace").strip())


def _environment() -> dict[str, str]:
    # it acts on another process, whatever devices ours may see
    return {**{k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}, "LC_ALL": "C"}


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(asyncio.TimeoutError):
        await within(process.wait(), _GONE_S)
