"""A real kernel in which `%%gpu` cells run, with a share that is given without a server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jupyter_client import KernelManager

import swangpu
from readiness import wait_until_ready

#: in the kernel: a share that is there at once, and notes of what became of it
SETUP = """
import os as _os
from swangpu.kernel_side import hold as _hold, magics as _magics

_log = []

class _Held:
    guard_fd = None
    held_since = 0.0
    environment = {"CUDA_VISIBLE_DEVICES": "GPU-made-up", "GONE": None}

    def __init__(self, api, session, in_place=True):
        self.session = session
        _log.append("held")

    def refresh(self):
        if _os.path.exists("taken"):
            self.session = {**self.session, "state": "ended", "end_reason": "expired"}
        return self.session

    def release(self):
        _log.append("released")

class _Api:
    def sessions(self):
        return []

def _request(api, wanted):
    _log.append(wanted)
    return {"id": "s1", "state": "active", "title": "T4", "memory_bytes": 1e12, "flavor": "t4", "pool": "local"}

_hold.Holding, _hold.request, _hold.wait = _Held, _request, lambda api, session, tell: session
_magics.find = _Api
_magics.load_ipython_extension(get_ipython())
_cells = get_ipython().magics_manager.registry["GpuMagics"].cells
"""


@dataclass
class Ran:
    """One cell: its messages as they came, and what they come to."""

    status: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [one["content"] for one in self.messages if one["msg_type"] == kind]

    @property
    def text(self) -> str:
        return "".join(one["text"] for one in self.of("stream"))

    @property
    def error(self) -> str:
        return "".join(f"{one['ename']}: {one['evalue']}" for one in self.of("error"))

    @property
    def shown(self) -> list[str]:
        return [one["data"]["text/plain"] for one in self.of("display_data")]


class Kernel:
    def __init__(self, folder: Path, **more: str) -> None:
        self.manager = KernelManager(kernel_name="python3")
        # an empty entry would be the working directory
        path = os.pathsep.join(filter(None, [str(Path(swangpu.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
        self.manager.start_kernel(env={**os.environ, "PYTHONPATH": path, "GONE": "no", **more}, cwd=str(folder))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        wait_until_ready(self.client, 60)
        assert self.run(SETUP).status == "ok"

    def run(self, code: str, at: str = "", then: Any = None) -> Ran:
        """Run a cell; once it has printed ``at``, do something."""
        ran = Ran()

        def hook(message: dict[str, Any]) -> None:
            nonlocal then
            ran.messages.append(message)
            if then is not None and at in ran.text:
                todo, then = then, None
                todo()

        reply = self.client.execute_interactive(code, timeout=60, output_hook=hook, allow_stdin=False)
        ran.status = reply["content"]["status"]
        return ran

    def value(self, expression: str) -> str:
        ran = self.run(f"print(({expression}))")
        assert ran.status == "ok", ran.error
        return ran.text.strip()

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        # one that nobody waits for is gone all the same
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return (
            subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False).stdout[:1] != b"Z"
        )


@pytest.fixture(scope="module")
def kernel_of_the_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    one = Kernel(tmp_path_factory.mktemp("kernel"))
    yield one
    one.close()


@pytest.fixture
def kernel(kernel_of_the_module: Kernel) -> Iterator[Kernel]:
    """A notebook's kernel, with no companion left after each test."""
    yield kernel_of_the_module
    kernel_of_the_module.run("_cells.cool(); _log.clear()")
