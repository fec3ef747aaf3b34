"""Real processes on the C library's devices: kernels, their children, orphans and a stranger are told apart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from live_kernel import LiveKernel

# fixtures: pytest finds them by these names, and gives them under the same (F401, F811)
from nvml.sim import GPU, NvmlSim, nvml, nvml_library  # noqa: F401
from server_process import ServerProcess, eventually

TWO = "gpus 2\ngpu.0.util 60\ngpu.1.util 30"
#: a child, and one whose parent ends at once
SPAWN = """
import subprocess, sys
program = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
middle = (
    "import os, subprocess, sys\\n"
    f"subprocess.Popen([sys.executable, '-c', {program!r}], start_new_session=True)\\n"
    "os._exit(0)"
)
orphan = subprocess.Popen([sys.executable, "-c", middle], stdout=subprocess.PIPE, text=True)
print(__import__("os").getpid(), child.stdout.readline().strip(), orphan.stdout.readline().strip())
"""
PID = "print(__import__('os').getpid())"


@pytest.fixture
def server(nvml: NvmlSim, tmp_path: Path) -> Iterator[ServerProcess]:  # noqa: F811
    nvml.state(TWO)
    arguments = ('--SwanGpu.slices_per_model={"T4": 4}', "--SwanGpu.undo_s=0")
    one = ServerProcess(tmp_path, *arguments, simulated=False, variables=nvml.variables())
    yield one.start()
    one.stop()
    one.check_log()


def on_a_slice(server: ServerProcess, *kernels: LiveKernel) -> str:
    session = server.call("POST", "/sessions", {"flavor": "t4/time-4"}).json()
    for kernel in kernels:
        answer = server.call("POST", f"/sessions/{session['id']}/attach", {"kernel_id": kernel.id, "carry": "none"})
        assert answer.status_code == 200, answer.text
    return str(session["id"])


def test_kernels_children_and_strangers_are_told_apart(server: ServerProcess, nvml: NvmlSim) -> None:  # noqa: F811
    fit, again, gan = (LiveKernel(server, f"{name}.ipynb") for name in ("fit", "again", "gan"))
    first, second = on_a_slice(server, fit, again), on_a_slice(server, gan)
    own, child, orphan = (int(pid) for pid in fit.run(SPAWN).split())
    others = [int(kernel.run(PID)) for kernel in (again, gan)]
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    try:
        pids = [own, child, orphan, *others, stranger.pid]
        nvml.state(
            "\n".join(
                [TWO, *(f"gpu.{n % 2}.proc {pid} {100 * (n + 1)}" for n, pid in enumerate(pids))],
            )
        )

        def listed() -> dict[int, dict[str, Any]] | None:
            found = {p["pid"]: p for p in server.call("GET", "/processes").json()["items"]}
            return found if set(pids) <= set(found) else None

        found = eventually(listed)
        assert [(found[pid]["path"], found[pid]["session_id"]) for pid in pids] == [
            ("fit.ipynb", first),
            ("fit.ipynb", first),
            ("fit.ipynb", first),
            ("again.ipynb", first),
            ("gan.ipynb", second),
            (None, None),
        ]
        assert [found[pid]["kind"] for pid in pids] == ["mine"] * 5 + ["unheld"]
        assert [found[pid]["how"] for pid in pids] == ["tree", "tree", "environment", "tree", "tree", None]
        assert [found[pid]["memory_bytes"] for pid in pids] == [100 * (n + 1) * 2**20 for n in range(6)]
        assert {found[pid]["device_uuid"] for pid in pids} == {GPU.format(0), GPU.format(1)}
        assert sum(found[pid]["sm_percent"] for pid in pids) == 90.0

        # What a session on a slice uses is what its own processes use.
        def use(session_id: str) -> dict[str, Any]:
            text = server.call("GET", "/stream", params={"topics": "telemetry", "limit": "3"}).text
            import json

            data = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
            return dict(json.loads(data[-1])["sessions"][session_id])

        assert use(second)["memory_used_bytes"] == 500 * 2**20
        assert use(second)["utilization_percent"] == found[others[1]]["sm_percent"]
    finally:
        stranger.kill()
        stranger.wait()
        fit.run("child.kill()")
        os.kill(orphan, signal.SIGKILL)


A100 = "gpus 1\ngpu.0.name NVIDIA A100-SXM4-40GB\ngpu.0.memory_mib 40960\ngpu.0.mig 7 1g.5gb 4864"


@pytest.fixture
def cut(nvml: NvmlSim, tmp_path: Path) -> Iterator[ServerProcess]:  # noqa: F811
    nvml.state(A100)
    one = ServerProcess(tmp_path, "--SwanGpu.undo_s=0", simulated=False, variables=nvml.variables())
    yield one.start()
    one.stop()
    one.check_log()


def kernel_on(server: ServerProcess, flavor: str, path: str) -> tuple[LiveKernel, str]:
    """A notebook's kernel on a session of its own."""
    kernel = LiveKernel(server, path)
    # one that is stopped while it starts complains in the server's log
    kernel.run("1")
    session = server.call("POST", "/sessions", {"flavor": flavor}).json()
    answer = server.call("POST", f"/sessions/{session['id']}/attach", {"kernel_id": kernel.id, "carry": "none"})
    assert answer.status_code == 200, answer.text
    return kernel, str(session["id"])


def all_of(server: ServerProcess, pids: set[int]) -> dict[int, dict[str, Any]]:
    def listed() -> dict[int, dict[str, Any]] | None:
        found = {p["pid"]: p for p in server.call("GET", "/processes").json()["items"]}
        return found if pids <= set(found) else None

    return dict(eventually(listed))


def test_on_mig_devices_each_process_is_its_own_notebooks(cut: ServerProcess, nvml: NvmlSim) -> None:  # noqa: F811
    (fit, first), (gan, second) = (kernel_on(cut, "a100-40gb/1g.5gb", f"{name}.ipynb") for name in ("fit", "gan"))
    own, child, orphan = (int(pid) for pid in fit.run(SPAWN).split())
    other = int(gan.run(PID))
    migs = [m["uuid"] for m in cut.call("GET", "/devices").json()["items"][0]["mig_devices"]]
    visible = "print(__import__('os').environ['CUDA_VISIBLE_DEVICES'])"
    of_fit, of_gan = (migs.index(kernel.run(visible).strip()) for kernel in (fit, gan))
    assert of_fit != of_gan
    free = next(n for n in range(7) if n not in (of_fit, of_gan))
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    try:
        where = {own: of_fit, child: of_fit, orphan: of_fit, other: of_gan, stranger.pid: free}
        nvml.state("\n".join([A100, *(f"gpu.0.proc {pid} 100 {mig}" for pid, mig in where.items())]))
        found = all_of(cut, set(where))
        assert {pid: found[pid]["mig_uuid"] for pid in where} == {pid: migs[mig] for pid, mig in where.items()}
        assert [(found[pid]["path"], found[pid]["session_id"], found[pid]["kind"]) for pid in where] == [
            *[("fit.ipynb", first, "mine")] * 3,
            ("gan.ipynb", second, "mine"),
            (None, None, "unheld"),
        ]
    finally:
        stranger.kill()
        stranger.wait()
        fit.run("child.kill()")
        os.kill(orphan, signal.SIGKILL)


@pytest.fixture
def shared(nvml: NvmlSim, tmp_path: Path) -> Iterator[ServerProcess]:  # noqa: F811
    """One device in four MPS shares; of the daemon there is what a client sees of it."""
    nvml.state("gpus 1\ngpu.0.util 60")
    pipe = tmp_path / "mps"
    pipe.mkdir()
    (pipe / "nvidia-cuda-mps-control.pid").write_text(str(os.getpid()))
    variables = {**nvml.variables(), "CUDA_MPS_PIPE_DIRECTORY": str(pipe)}
    arguments = ('--SwanGpu.slices_per_model={"T4": 4}', "--SwanGpu.slice_kind=mps", "--SwanGpu.undo_s=0")
    one = ServerProcess(tmp_path, *arguments, simulated=False, variables=variables)
    yield one.start()
    one.stop()
    one.check_log()


def test_on_mps_shares_of_one_device_each_process_is_its_own_notebooks(shared: ServerProcess, nvml: NvmlSim) -> None:  # noqa: F811
    (fit, first), (gan, second) = (kernel_on(shared, "t4/mps-4", f"{name}.ipynb") for name in ("fit", "gan"))
    own, child, orphan = (int(pid) for pid in fit.run(SPAWN).split())
    other = int(gan.run(PID))
    try:
        pids = [own, child, orphan, other]
        nvml.state("\n".join(["gpus 1\ngpu.0.util 60", *(f"gpu.0.proc {pid} 100" for pid in pids)]))
        found = all_of(shared, set(pids))
        assert [(found[pid]["path"], found[pid]["session_id"]) for pid in pids] == [
            *[("fit.ipynb", first)] * 3,
            ("gan.ipynb", second),
        ]
    finally:
        fit.run("child.kill()")
        os.kill(orphan, signal.SIGKILL)
