"""One user's servers on stand-ins of NVIDIA's driver and program, and notebooks that compute there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from live_kernel import LiveKernel
from nvml.sim import NvmlSim
from server_process import ServerProcess, eventually
from suspend.sim import GPU, MODEL, CudaSim
from swangpu.kernels import checkpoint_machine, checkpoint_record
from swangpu.kernels.checkpoint_record import Passed

#: new enough on every architecture
DRIVER = "595.45.04"


class Site:
    """One GPU, the stand-ins, and servers of one user on them."""

    def __init__(self, home: Path, cuda: CudaSim, nvml: NvmlSim) -> None:
        self.home = home
        self.cuda = cuda
        self.nvml = nvml
        self.started: list[ServerProcess] = []
        self.gpus = 1
        self.arguments = [
            "--SwanGpu.reclaim=enforce",
            "--SwanGpu.idle_pause_s=0",
            "--SwanGpu.undo_s=0",
            f"--SwanGpu.checkpoint_program={cuda.program}",
        ]
        self.shown()
        self.passed()

    def shown(self, *pids: int) -> None:
        """The driver shows these processes on the GPU."""
        processes = "".join(f"gpu.0.proc {pid} 64\n" for pid in pids)
        names = "".join(f"gpu.{i}.name {MODEL}\n" for i in range(self.gpus))
        used = f"gpu.0.used_mib {64 * len(pids)}\n"
        self.nvml.state(f"driver {DRIVER}\ngpus {self.gpus}\n{names}{used}{processes}")

    def passed(self, remaps: bool = False) -> None:
        """The suspend test has passed here."""
        here = checkpoint_machine.look(str(self.cuda.program), DRIVER)
        passed = Passed(here.boot_id, DRIVER, here.program_digest, os.getuid(), {MODEL: remaps})
        checkpoint_record.write(checkpoint_record.record_path(self.home / ".local/share/jupyter/swangpu"), passed)

    def server(self, *more: str, port: int | None = None) -> ServerProcess:
        variables = {**self.nvml.variables(), "SWANGPU_CUDA_SIM": str(self.cuda.folder)}
        one = ServerProcess(self.home, *self.arguments, *more, simulated=False, variables=variables)
        one.port = port or one.port
        self.started.append(one)
        return one.start()

    def uses(self, pid: int) -> int:
        """This process uses the GPU from now on."""
        (self.cuda.folder / f"{pid}.mem").write_text(f"{GPU.format(0)} {64 * 2**20}\n")
        self.shown(pid)
        return pid

    def state_of(self, pid: int) -> str:
        path = self.cuda.folder / f"{pid}.state"
        return path.read_text() if path.exists() else "running"


#: a kernel is put aside by the program, also if it could move its arrays itself
NO_OFFLOAD = "--SwanGpu.pause_methods=checkpoint"


@pytest.fixture
def site(tmp_path: Path, cuda: CudaSim, nvml: NvmlSim) -> Iterator[Site]:
    one = Site(tmp_path, cuda, nvml)
    yield one
    for server in one.started:
        server.stop()
        server.kill_agents()
    for process in psutil.process_iter(["cmdline"]):
        # a stand-in that hangs outlives who started it
        if str(cuda.program) in (process.info["cmdline"] or ()):
            process.kill()
    for server in one.started:
        server.check_log()


def session(server: ServerProcess, session_id: str) -> dict[str, Any]:
    found: dict[str, Any] = server.call("GET", f"/sessions/{session_id}").json()
    return found


def get(server: ServerProcess, kernel: LiveKernel, carry: str = "all") -> str:
    """Ask for the GPU for a notebook, which is put on it when its turn comes."""
    body = {"flavor": "t4", "attach": {"kernel_id": kernel.id, "carry": carry}}
    answer = server.call("POST", "/sessions", body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def on_it(server: ServerProcess, session_id: str, kernel: LiveKernel) -> bool:
    found = session(server, session_id)
    return found["state"] == "active" and found["kernel_ids"] == [kernel.id]


def told(server: ServerProcess) -> dict[str, dict[str, Any]]:
    """What people are told, by its code."""
    text = server.call("GET", "/stream", params={"topics": "notices,sessions", "limit": "2"}).text
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    said = [json.loads(block["data"])["items"] for block in blocks if block.get("event") == "notices"]
    return {notice["code"]: notice for items in said for notice in items}


def computing(site: Site, server: ServerProcess) -> tuple[LiveKernel, str, int]:
    """A Python notebook on the GPU, with something there: its kernel, its session, its process."""
    fit = LiveKernel(server, "fit.ipynb")
    first = get(server, fit)
    eventually(lambda: on_it(server, first, fit))
    return fit, first, site.uses(int(fit.run("precious = [1, 2, 3]; import os; print(os.getpid())")))


def another(server: ServerProcess) -> tuple[LiveKernel, str]:
    """Somebody else waits for the GPU."""
    gan = LiveKernel(server, "gan.ipynb")
    return gan, get(server, gan)


def taken_by_another(site: Site, server: ServerProcess, first: str) -> tuple[LiveKernel, str]:
    """Somebody else has it now, and what the first had there is in host memory."""
    gan, second = another(server)
    eventually(lambda: on_it(server, second, gan))
    assert session(server, first)["state"] == "paused"
    assert session(server, first)["shares"] == []
    site.shown()
    return gan, second
