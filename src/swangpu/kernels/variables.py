"""Carrying a kernel's variables over a restart, seen from the server: asked of the kernel, unseen by its notebook."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Conflict
from ..tasks import within
from . import registry
from .messages import OURS

__all__ = [
    "CARRY_TIMEOUT_S",
    "PREVIEW_TIMEOUT_S",
    "READY_TIMEOUT_S",
    "Saved",
    "ask_kernel",
    "is_python",
    "load",
    "preview",
    "ready",
    "save",
]

log = logging.getLogger(__name__)

#: how long a kernel may take to answer what it could carry, and to carry it, in seconds
PREVIEW_TIMEOUT_S = 15.0
CARRY_TIMEOUT_S = 120.0
#: how long a restarted kernel may take to answer
READY_TIMEOUT_S = 60.0
#: how long a cell is let end before it is said to be running, in seconds: what a server asks a kernel makes it look
#: busy for a moment, too
BUSY_PATIENCE_S = 1.0
BUSY_PAUSE_S = 0.05
#: between two cells that wait in a kernel it is idle for a moment, too: so many looks in a row must find it idle
IDLE_LOOKS = 3
#: how often, and how long apart, an interrupted kernel is asked again: it throws away what was queued behind the cell
STOP_TRIES = 10
STOP_PAUSE_S = 0.5
STOP_TIMEOUT_S = 10.0
#: evaluates one of our expressions and leaves no name behind in the person's namespace
ASK = (
    "(lambda load: (load('swangpu_kernel.carry'), load('swangpu_kernel.stack'), load('swangpu_kernel.offload'), "
    "load('json').dumps((lambda swangpu_kernel: %s)(load('swangpu_kernel'))))[-1])"
    "(__import__('importlib').import_module)"
)


@dataclass(frozen=True)
class Saved:
    """Where a kernel has put its variables, and the names of those that it could not put there."""

    path: Path
    left: tuple[str, ...]


def is_python(kernel: Any) -> bool:
    spec = getattr(kernel, "kernel_spec", None)
    return str(getattr(spec, "language", "")).lower() == "python"


async def ask_kernel(kernel: Any, expression: str, timeout_s: float) -> Any:
    """Evaluate one of our own expressions in a kernel; None when it does not answer."""
    # past the agent: a closed gate is for people's cells
    client = _client(kernel, **_inner(kernel))
    client.start_channels(iopub=False, stdin=False, hb=False, control=False)
    try:
        question: dict[str, Any] = {"code": "", "silent": True, "store_history": False, "allow_stdin": False}
        question["user_expressions"] = {"answer": ASK % expression}
        message = client.session.msg("execute_request", {**question, "stop_on_error": True})
        # its agent tells nobody that the kernel is busy with this while it is put aside
        message["header"]["username"] = OURS
        client.shell_channel.send(message)
        message_id = message["header"]["msg_id"]
        while True:
            reply = await within(client.get_shell_msg(), timeout_s)
            if reply["parent_header"].get("msg_id") == message_id:
                break
        found = reply["content"].get("user_expressions", {}).get("answer", {})
        if found.get("status") != "ok":
            log.info("A kernel could not say: %s", found.get("evalue"))
            return None
        return json.loads(ast.literal_eval(found["data"]["text/plain"]))
    except (TimeoutError, asyncio.TimeoutError, ValueError, SyntaxError, KeyError):
        return None
    finally:
        client.stop_channels()


async def preview(kernel: Any) -> dict[str, Any]:
    """What a restart would do to a kernel's variables, and whether its libraries can use a GPU."""
    out: dict[str, Any] = {
        "restart_needed": True,
        "carry_supported": False,
        "carried": [],
        "left": [],
        "stack": [],
        "warning": None,
    }
    if not is_python(kernel):
        return out
    if await _stays_busy(kernel):
        out["warning"] = {
            "code": "kernel_busy",
            "params": {},
            "text": "A cell is running. It would be stopped, and all variables lost. Wait for it to keep them.",
        }
        return out
    found = await ask_kernel(kernel, "swangpu_kernel.carry.preview()", PREVIEW_TIMEOUT_S)
    stack = await ask_kernel(kernel, "swangpu_kernel.stack.check()", PREVIEW_TIMEOUT_S)
    if isinstance(found, dict):
        out.update(carry_supported=True, carried=found.get("carried", []), left=found.get("left", []))
    if isinstance(stack, dict):
        out.update(stack=stack.get("stack", []), warning=stack.get("warning"))
    return out


async def _stays_busy(kernel: Any) -> bool:
    """Whether a cell runs that does not end at once."""
    if getattr(kernel, "execution_state", "") != "busy":
        return False
    end, idle = time.monotonic() + BUSY_PATIENCE_S, 0
    while time.monotonic() < end:
        await asyncio.sleep(BUSY_PAUSE_S)
        idle = idle + 1 if getattr(kernel, "execution_state", "") != "busy" else 0
        if idle == IDLE_LOOKS:
            return False
    return True


async def save(kernel: Any, folder: Path, interrupt: Callable[[], Awaitable[None]] | None = None) -> Saved:
    """Have a kernel write its variables into a folder.

    Parameters
    ----------
    interrupt : callable, optional
        Interrupts the kernel. Given where its GPU goes back whatever runs: a running cell is stopped then.

    Raises
    ------
    Conflict
        They can't be carried (another language), a cell runs, or the kernel could not write them; nothing is lost.
    """
    if not is_python(kernel):
        raise Conflict(
            "The variables of this kernel's language can't be carried.",
            hint="Choose to drop them.",
            code="carry_unsupported",
        )
    if await _stays_busy(kernel):
        if interrupt is None:
            raise Conflict("A cell is running.", hint="Wait for it, or interrupt it.", code="kernel_busy")
        await _stop_cell(kernel, interrupt)
    path = folder / "variables"
    answer = await ask_kernel(kernel, f"swangpu_kernel.carry.save({str(path)!r})", CARRY_TIMEOUT_S)
    if not isinstance(answer, dict):
        raise Conflict("The kernel did not save its variables.", hint="Choose to drop them.", code="carry_failed")
    if answer.get("error"):
        raise Conflict(str(answer["error"]), hint="Make room, or choose to drop them.", code="carry_failed")
    return Saved(path, _names(answer))


async def load(kernel: Any, saved: Saved, *, keep: bool = False) -> tuple[list[str], str]:
    """Have a restarted kernel read them.

    Parameters
    ----------
    keep : bool
        They were put aside for a pause: the file stays whatever comes of it.

    Returns
    -------
    names : list of str
        Of the variables that it does not have now.
    why : str
        A sentence, when it has none of them; the file is left where it is then.
    """
    read = f"load('swangpu_kernel.aside').back({str(saved.path)!r})"
    expression = read if keep else f"swangpu_kernel.carry.load({str(saved.path)!r})"
    answer = await ask_kernel(kernel, expression, CARRY_TIMEOUT_S)
    if not isinstance(answer, dict):
        return [], "The restarted kernel did not answer."
    return sorted(_names(answer)), str(answer.get("error") or "")


async def ready(kernel: Any) -> None:
    """Wait until a kernel answers.

    Its answer's status also reaches the notebook: without any request a kernel that we restarted would be shown
    as "starting" until the person runs something.
    """
    client = _client(kernel)
    client.start_channels(iopub=False, stdin=False, hb=False, control=False)
    try:
        client.kernel_info()
        await within(client.get_shell_msg(), READY_TIMEOUT_S)
    except (TimeoutError, asyncio.TimeoutError):
        log.warning("A kernel did not answer within %s s of its restart", READY_TIMEOUT_S)
    finally:
        client.stop_channels()


async def _stop_cell(kernel: Any, interrupt: Callable[[], Awaitable[None]]) -> None:
    """Interrupt a kernel, and wait until it answers again.

    Raises
    ------
    Conflict
        It goes on: code that does not listen.
    """
    await interrupt()
    for _ in range(STOP_TRIES):
        if await ask_kernel(kernel, "True", STOP_TIMEOUT_S) is True:
            return
        await asyncio.sleep(STOP_PAUSE_S)
    raise Conflict("The running cell does not stop.", hint="Choose to drop the variables.", code="kernel_busy")


def _names(answer: dict[str, Any]) -> tuple[str, ...]:
    left = answer.get("left")
    return tuple(str(one.get("name")) for one in left if isinstance(one, dict)) if isinstance(left, list) else ()


def _client(kernel: Any, **ports: Any) -> Any:
    """A client with a name of its own: a manager's have one for all, and what two ask at a time is answered to one."""
    client = kernel.client(**ports)
    client.session = client.session.clone()
    client.session.session = uuid.uuid4().hex
    return client


def _inner(kernel: Any) -> dict[str, Any]:
    """Where a kernel itself listens, when that is not where its clients connect."""
    path = getattr(kernel.provisioner, "record_path", None)
    record = registry.read(path) if path is not None else None
    names = ("transport", "ip", "shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
    return {name: record["inner"][name] for name in names} if record is not None else {}
