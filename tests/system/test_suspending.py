"""Kernels that can't move their arrays take turns on one GPU: a real server on stand-ins of driver and program.

What a person sees: the state of the session, its reason, what they are told, and what comes out of cells.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
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

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cuda-checkpoint is there for Linux only")

#: new enough on every architecture
DRIVER = "595.45.04"


class Site:
    """One GPU, the stand-ins, and servers of one user on them."""

    def __init__(self, home: Path, cuda: CudaSim, nvml: NvmlSim) -> None:
        self.home = home
        self.cuda = cuda
        self.nvml = nvml
        self.started: list[ServerProcess] = []
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
        self.nvml.state(f"driver {DRIVER}\ngpus 1\ngpu.0.name {MODEL}\ngpu.0.used_mib {64 * len(pids)}\n{processes}")

    def passed(self) -> None:
        """The suspend test has passed here."""
        here = checkpoint_machine.look(str(self.cuda.program), DRIVER)
        passed = Passed(here.boot_id, DRIVER, here.program_digest, os.getuid(), {MODEL: False})
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
        assert not server.tracebacks()


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


def test_two_notebooks_take_turns(site: Site) -> None:
    server = site.server(NO_OFFLOAD)
    fit, first, pid = computing(site, server)
    gan, second = taken_by_another(site, server, first)
    assert site.state_of(pid) == "checkpointed"
    assert session(server, first)["reason"]["code"] == "paused"
    assert gan.run("print('computes')").strip() == "computes"
    out = fit.run("precious.append(4); print(precious)")
    assert "Getting your GPU back" in out
    assert "[1, 2, 3, 4]" in out
    assert site.state_of(pid) == "running"
    assert session(server, first)["state"] == "active"
    eventually(lambda: session(server, second)["state"] == "paused")
    assert told(server) == {}


def test_a_kernel_of_another_language(site: Site) -> None:
    server = site.server()
    install = [sys.executable, "-m", "bash_kernel.install", "--user"]
    subprocess.run(install, env=server.environment(), check=True, capture_output=True)
    shell = LiveKernel(server, "shell.ipynb", "bash")
    first = get(server, shell, carry="none")
    eventually(lambda: on_it(server, first, shell))
    pid = site.uses(int(shell.run("precious=kept; echo $$")))
    taken_by_another(site, server, first)
    assert site.state_of(pid) == "checkpointed"
    assert "kept" in shell.run("echo $precious")
    assert session(server, first)["state"] == "active"


def test_the_kernel_itself_goes_first(site: Site) -> None:
    server = site.server()
    fit, first, pid = computing(site, server)
    taken_by_another(site, server, first)
    assert site.cuda.actions() == []
    assert site.state_of(pid) == "running"
    assert "[1, 2, 3]" in fit.run("print(precious)")


def test_the_owner_pauses_and_resumes(site: Site) -> None:
    server = site.server(NO_OFFLOAD)
    fit, first, pid = computing(site, server)
    assert server.call("POST", f"/sessions/{first}/pause", {}).status_code == 200
    eventually(lambda: session(server, first)["shares"] == [])
    assert site.state_of(pid) == "checkpointed"
    site.shown()
    assert server.call("POST", f"/sessions/{first}/resume", {}).status_code == 200
    eventually(lambda: session(server, first)["state"] == "active")
    assert fit.run("print(precious)").strip() == "[1, 2, 3]"


def test_there_is_no_room_in_host_memory_among_paused_sessions(site: Site) -> None:
    server = site.server(NO_OFFLOAD, "--SwanGpu.paused_memory_bytes=4000000")
    fit, first, pid = computing(site, server)
    _gan, second = another(server)
    said = eventually(lambda: session(server, first)["reason"])
    needs = "It needs 67 MB of host memory, and 4 MB are left for paused sessions."
    assert (said["code"], said["text"]) == ("no_room", f"It could not be paused for who waits. {needs}")
    assert server.call("GET", f"/sessions/{first}/explain").json()["reason"] == said
    assert session(server, first)["state"] == "active"
    assert session(server, second)["state"] == "queued"
    assert told(server) == {}, "nothing was done to it"
    assert fit.run("print(precious)").strip() == "[1, 2, 3]"
    assert session(server, first)["reason"] is None
    assert server.call("POST", f"/sessions/{first}/pause", {}).status_code == 200
    kept = eventually(lambda: (s := session(server, first))["reason"]["code"] == "paused_held" and s)
    assert kept["reason"]["text"] == f"Paused; its GPU is kept for it. {needs}"
    assert kept["shares"]
    assert fit.run("print(precious)").strip() == "[1, 2, 3]", "the next cell goes on at once"
    assert session(server, first)["reason"] is None
    assert site.cuda.actions() == []
    assert site.state_of(pid) == "running"


def test_it_is_off_until_the_suspend_test_has_passed(site: Site) -> None:
    (record,) = site.home.glob(".local/share/jupyter/swangpu/suspend-test-*.json")
    record.unlink()
    server = site.server(NO_OFFLOAD, "--SwanGpu.idle_release_s=1")
    _fit, first, _pid = computing(site, server)
    another(server)
    eventually(lambda: "idle_ends" in told(server))
    assert session(server, first)["state"] == "active"
    assert not (site.cuda.folder / "calls").exists()


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"lock": "fail:device not ready"}, None),
        ({"get_state": "fail:operation not permitted"}, None),
        ({"lock": "kill"}, "CUDA in it could not be stopped (the program was ended in the middle of it)"),
        ({"checkpoint": "fail:out of memory"}, "could not be saved (there was not enough memory)"),
    ],
)
def test_it_can_not_be_suspended_and_goes_on(site: Site, faults: dict[str, Any], words: str | None) -> None:
    server = site.server(NO_OFFLOAD)
    fit, first, pid = computing(site, server)
    site.cuda.faults(**faults)
    _gan, second = another(server)
    eventually(lambda: (site.cuda.folder / "calls").exists() and session(server, first)["state"] == "active")
    if words is not None:
        notice = eventually(lambda: told(server).get("not_paused"))
        assert (notice["level"], notice["session_id"]) == ("warning", first)
        assert notice["text"].startswith("T4 whole, 16 GB could not be paused: The kernel was not suspended:")
        assert words in notice["text"]
    else:
        assert told(server) == {}, "nothing was done to it"
    assert site.state_of(pid) == "running"
    assert fit.run("print(precious)").strip() == "[1, 2, 3]"
    assert session(server, second)["state"] == "queued"


@pytest.mark.parametrize(
    ("faults", "code", "words"),
    [
        (
            {"checkpoint": "fail:unknown error@failed"},
            "state_failed",
            "could not be saved or brought back, and is lost",
        ),
        ({"checkpoint": "fail:x", "unlock": "fail:y"}, "still_locked", "CUDA in this kernel stays blocked"),
    ],
)
def test_lost_while_it_was_suspended(site: Site, faults: dict[str, Any], code: str, words: str) -> None:
    server = site.server(NO_OFFLOAD)
    fit, first, _pid = computing(site, server)
    site.cuda.faults(**faults)
    gan, second = another(server)
    ended = eventually(lambda: (s := session(server, first))["state"] == "ended" and s)
    assert ended["end_reason"] == "lost"
    assert ended["reason"]["code"] == code
    assert words in ended["reason"]["text"]
    notice = told(server)[code]
    assert notice["level"] == "error"
    assert "What was only on the GPU is lost. The kernel restarts without a GPU, with its other" in notice["text"]
    assert fit.run("print(precious, os.environ.get('CUDA_VISIBLE_DEVICES'))").strip() == "[1, 2, 3] None"
    eventually(lambda: on_it(server, second, gan))


def test_lost_while_it_came_back(site: Site) -> None:
    server = site.server(NO_OFFLOAD)
    fit, first, pid = computing(site, server)
    taken_by_another(site, server, first)
    site.cuda.faults(restore="fail:unknown error@failed")
    assert server.call("POST", f"/sessions/{first}/resume", {}).status_code == 200
    eventually(lambda: session(server, first)["state"] == "ending")
    # the stand-in stops the whole process, and not only CUDA in it
    os.kill(pid, signal.SIGCONT)
    ended = eventually(lambda: (s := session(server, first))["state"] == "ended" and s)
    assert (ended["end_reason"], ended["reason"]["code"]) == ("lost", "state_failed")
    assert "What was only on the GPU is lost" in told(server)["state_failed"]["text"]
    assert fit.run("print(precious)").strip() == "[1, 2, 3]"


def test_what_does_not_come_back_at_once_is_tried_again(site: Site) -> None:
    server = site.server(NO_OFFLOAD)
    fit, first, _pid = computing(site, server)
    taken_by_another(site, server, first)
    site.cuda.faults(restore=["fail:out of memory", ""])
    assert "[1, 2, 3]" in fit.run("print(precious)")
    assert site.cuda.actions() == ["lock", "checkpoint", "restore", "restore", "unlock"]
    assert session(server, first)["state"] == "active"
    assert told(server) == {}


def test_kill_9_while_suspended_and_it_goes_on(site: Site) -> None:
    server = site.server(NO_OFFLOAD)
    fit, first, pid = computing(site, server)
    gan, second = taken_by_another(site, server, first)
    server.kill()
    again = site.server(NO_OFFLOAD, port=server.port)
    fit.server = gan.server = again
    eventually(lambda: session(again, second)["kernel_ids"] == [gan.id])
    assert session(again, first)["state"] == "paused"
    assert site.state_of(pid) == "checkpointed"
    assert "[1, 2, 3]" in fit.run("print(precious)")
    assert site.state_of(pid) == "running"
    assert session(again, first)["state"] == "active"


@pytest.mark.parametrize("then", ["hang", "wait"])
def test_kill_9_in_the_middle_of_it(site: Site, then: str) -> None:
    """The program goes on without the server, or leaves CUDA locked."""
    server = site.server(NO_OFFLOAD)
    fit, first, pid = computing(site, server)
    site.cuda.faults(checkpoint=[then, ""])
    _gan, second = another(server)
    eventually(lambda: site.state_of(pid) == "locked" and "checkpoint" in site.cuda.actions())
    server.kill()
    (site.cuda.folder / "go").touch()
    if then == "wait":
        eventually(lambda: site.state_of(pid) == "checkpointed")
        site.shown()
    again = site.server(NO_OFFLOAD, port=server.port)
    fit.server = again
    eventually(lambda: session(again, second)["state"] == "active")
    assert session(again, first)["shares"] == []
    assert site.state_of(pid) == "checkpointed"
    site.shown()
    again.call("DELETE", f"/sessions/{second}")
    assert "[1, 2, 3]" in fit.run("print(precious)")
    assert session(again, first)["state"] == "active"


def test_a_notebook_that_has_not_used_its_gpu_comes_back_on_another(site: Site) -> None:
    site.nvml.state(f"driver {DRIVER}\ngpus 2\ngpu.0.name {MODEL}\ngpu.1.name {MODEL}")
    server = site.server()
    where = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    fit = LiveKernel(server, "fit.ipynb")
    first = get(server, fit)
    eventually(lambda: on_it(server, first, fit))
    before = fit.run(where).strip()
    assert server.call("POST", f"/sessions/{first}/pause", {}).status_code == 200
    eventually(lambda: session(server, first)["shares"] == [])
    # both are somebody's, and then the other one is free
    others = [server.call("POST", "/sessions", {"flavor": "t4", "kind": "job"}).json() for _ in range(2)]
    for other in others:
        server.call("POST", f"/sessions/{other['id']}/claim")
    (free,) = [o["id"] for o in others if session(server, o["id"])["shares"][0]["device_uuid"] != before]
    server.call("DELETE", f"/sessions/{free}")
    after = fit.run(f"before = 'kept'; {where}").strip().splitlines()[-1]
    assert {before, after} == {GPU.format(0), GPU.format(1)}
    assert session(server, first)["shares"][0]["device_uuid"] == after
    with server.client() as client:
        client.post(f"/api/kernels/{fit.id}/restart")
    assert fit.run(where).strip() == after, "it stays there"
