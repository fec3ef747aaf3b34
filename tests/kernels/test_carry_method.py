"""Real kernels behind real agents whose variables go to a file, and whose process goes with its device."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from behind_agent import TIMEOUT_S, Attached, outputs_of, reply_to
from suspend_bench import AsServersHaveIt

from server_process import eventually
from swangpu.domain.sessions import ComesBack
from swangpu.errors import Conflict, Unavailable
from swangpu.kernels import carry_method, registry
from swangpu.kernels.bindings import BINDINGS
from swangpu.kernels.carried import kept_of, tidy
from swangpu.kernels.carry_method import Carry
from swangpu.kernels.door import ask
from swangpu.kernels.methods import Left, Subject
from swangpu.kernels.suspend import Suspender
from swangpu.ports import Suspension

WHERE = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.getpid())"
NOTEBOOK = """
data = list(range(1000)); alias = data
class Point:
    def __init__(self, x): self.x = x
point = Point(3)
"""


class Site:
    """A server's part: made anew it is the next server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.left: list[Left] = []
        self.suspender = Suspender(None, Carry(folder, leave_bytes=0))

    def suspend(self, kernel: Attached, *methods: str, budget_bytes: int | None = None) -> Suspension:
        ways = methods or ("carry",)
        return asyncio.run(self.suspender.suspend(self.subject(kernel), ways, budget_bytes))

    def resume(self, kernel: Attached, device: str = "GPU-2") -> bool:
        """Whether a cell had waited."""
        return asyncio.run(self.suspender.resume(self.subject(kernel, device), self.left.append)).busy

    def subject(self, kernel: Attached, device: str = "GPU-1") -> Subject:
        record = kernel.record
        env = {"CUDA_VISIBLE_DEVICES": device, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        return Subject(AsServersHaveIt(kernel), Path(record["socket"]), int(record["kernel_pid"]), dict(env), kernel.id)

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*/variables"))


@pytest.fixture
def site(tmp_path: Path, runtime_dir: Path) -> Site:
    return Site(tmp_path / "carried")


@pytest.fixture
def fit(kernel: Attached) -> Attached:
    kernel.run(NOTEBOOK)
    return kernel


def test_another_process_takes_the_variables_back_on_another_gpu(fit: Attached, site: Site) -> None:
    before = fit.record
    done = site.suspend(fit, budget_bytes=0)
    assert (done.method, done.frees, done.comes_back) == ("carry", True, ComesBack.ANYWHERE)
    (file,) = site.files()
    assert done.saved_bytes == file.stat().st_size
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert registry.process_start(before["kernel_pid"]) is None, "nothing of it is on the device"
    assert fit.record["agent_pid"] == before["agent_pid"]
    assert registry.alive(fit.record)
    held = fit.client.execute("alias.append(1); print(len(data), isinstance(point, Point))")
    assert site.resume(fit), "a cell had waited"
    assert reply_to(fit.client, held)["content"]["status"] == "ok"
    assert "1001 True\n" in "".join(m["content"].get("text", "") for m in outputs_of(fit.client, held))
    device, pid = fit.run(WHERE).split()
    assert (device, int(pid)) == ("GPU-2", fit.record["kernel_pid"])
    assert site.files() == []
    assert fit.ask("status")["saved"] == []
    assert site.left == []
    # and in turns
    assert site.suspend(fit).method == "carry"
    assert not site.resume(fit, "GPU-1")
    assert fit.run("print(len(data))") == "1001\n"


def test_while_it_waits_it_sees_no_device_and_nobody_sees_it_busy(fit: Attached, site: Site) -> None:
    watcher = fit.connect()
    site.suspend(fit)
    environ = Path(f"/proc/{fit.record['kernel_pid']}/environ").read_bytes().split(b"\0")
    assert b"CUDA_VISIBLE_DEVICES=" in environ
    site.resume(fit)
    marker = watcher.execute("print('marker')")
    seen = []
    while not seen or seen[-1]["parent_header"].get("msg_id") != marker:
        seen.append(watcher.get_iopub_msg(timeout=TIMEOUT_S))
    before = [m for m in seen if m["parent_header"].get("msg_id") != marker and m["msg_type"] == "status"]
    assert {m["content"]["execution_state"] for m in before} <= {"idle"}


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("generator = (i for i in data)", "generator"),
        ("import subprocess; child = subprocess.Popen(['sleep', '600']); del child", "processes that it has started"),
        ("import threading, time; threading.Thread(target=time.sleep, args=(600,), name='poll').start()", "poll"),
        ("log = open('log.txt', 'w')", "log"),
        ("from comm import create_comm; c = create_comm(target_name='t'); del c", "its widgets"),
    ],
)
def test_what_would_not_come_back_is_named_and_nothing_is_done(fit: Attached, site: Site, code: str, name: str) -> None:
    fit.run(f"import os, tempfile; os.chdir(tempfile.mkdtemp())\n{code}")
    pid = fit.record["kernel_pid"]
    done = site.suspend(fit)
    assert (done.method, done.frees, done.code) == ("gate", False, "not_carried")
    assert name in done.text
    assert site.files() == []
    assert list(site.folder.iterdir()) == []
    site.resume(fit)
    assert fit.record["kernel_pid"] == pid
    assert fit.run("print(len(data), alias is data)") == "1000 True\n"
    assert site.suspend(fit, "carry", "offload").method == "offload", "another way is tried"


@pytest.mark.parametrize(
    "fault",
    [
        "aside.os.fsync = full",
        "aside.os.fstatvfs = full",
        "aside._Watched.digest = lambda self: '0'",
        "aside.out = lambda *args: None",
    ],
)
def test_what_was_not_saved_leaves_the_kernel_as_it_was(fit: Attached, site: Site, fault: str) -> None:
    full = "def full(fd): raise OSError(28, 'No space left on device')"
    fit.run(f"import swangpu_kernel.aside as aside\n{full}\n{fault}")
    pid = fit.record["kernel_pid"]
    done = site.suspend(fit)
    assert (done.method, done.code) == ("gate", "not_saved")
    assert list(site.folder.iterdir()) == []
    site.resume(fit)
    assert fit.record["kernel_pid"] == pid
    assert fit.run("print(len(data))") == "1000\n"


def test_no_place_for_the_file(fit: Attached, site: Site) -> None:
    site.folder.write_text("in the way")
    assert site.suspend(fit).code == "not_saved"
    site.resume(fit)
    assert fit.run("print(len(data))") == "1000\n"


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_next_server_ends_what_was_begun(
    fit: Attached, site: Site, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The server dies when all is saved, before or after the agent has heard what to do."""

    def dies(path: Path, request: dict[str, Any]) -> dict[str, Any]:
        if request["do"] == "replace":
            if when == "after":
                ask(path, request)
            raise KeyboardInterrupt
        return ask(path, request)

    with monkeypatch.context() as dying:
        dying.setattr(carry_method, "ask", dies)
        with pytest.raises(KeyboardInterrupt):
            site.suspend(fit)
    (file,) = site.files()
    assert fit.ask("status")["closed"]
    again = Site(site.folder)
    assert again.suspend(fit).method == "carry"
    assert again.files() == [file], "what was saved is not saved again"
    again.resume(fit)
    assert fit.run("print(len(data), alias is data)") == "1000 True\n"
    assert again.files() == []


def test_a_file_that_went_before_the_process_is_written_anew(
    fit: Attached, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server died when the agent had heard of the file, and gave it up."""

    def dies(path: Path, request: dict[str, Any]) -> dict[str, Any]:
        if request["do"] == "replace":
            raise KeyboardInterrupt
        return ask(path, request)

    with monkeypatch.context() as dying:
        dying.setattr(carry_method, "ask", dies)
        with pytest.raises(KeyboardInterrupt):
            site.suspend(fit)
    (file,) = site.files()
    file.write_bytes(b"torn")
    again = Site(site.folder)
    assert again.suspend(fit).method == "carry"
    assert again.files() != [file]
    again.resume(fit)
    assert fit.run("print(len(data), alias is data)") == "1000 True\n"


def test_a_kernel_that_was_not_ended_goes_on_with_what_it_has(
    fit: Attached, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(path: Path, request: dict[str, Any]) -> dict[str, Any]:
        if request["do"] == "replace":
            raise Unavailable("The kernel's agent did not understand.", code="agent_away")
        return ask(path, request)

    monkeypatch.setattr(carry_method, "ask", refuses)
    pid = fit.record["kernel_pid"]
    assert site.suspend(fit).code == "not_saved"
    assert site.files() == []
    site.resume(fit)
    assert fit.record["kernel_pid"] == pid
    assert fit.run("data.append(0); print(len(data))") == "1001\n"


def test_what_can_not_be_read_is_kept_and_tried_again(fit: Attached, site: Site) -> None:
    site.suspend(fit)
    (file,) = site.files()
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    waiting = fit.record["kernel_pid"]
    with pytest.raises(Conflict) as raised:
        site.resume(fit)
    assert raised.value.code == "not_restored"
    assert str(file) in raised.value.detail
    assert fit.ask("status")["closed"]
    assert fit.record["kernel_pid"] != waiting, "it has nothing on the device that somebody else may have now"
    file.write_bytes(content)
    site.resume(fit)
    assert fit.run("print(len(data))") == "1000\n"


def test_what_does_not_come_back_is_told_with_the_place_where_it_is(fit: Attached, site: Site, tmp_path: Path) -> None:
    module = tmp_path / "gone_later.py"
    module.write_text("class Thing: pass\n")
    fit.run(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import gone_later; thing = gone_later.Thing()")
    site.suspend(fit)
    (file,) = site.files()
    module.unlink()
    site.resume(fit)
    assert site.left == [Left(("gone_later", "thing"), f"They are kept in {file}.")]
    assert site.files() == [file]
    said = fit.run("print(len(data))")
    assert "thing" in said
    assert str(file) in said
    assert said.endswith("1000\n")


def test_one_that_has_asked_for_a_device_meanwhile_is_started_anew_on_its_share(fit: Attached, site: Site) -> None:
    site.suspend(fit)
    code = "import swangpu_kernel.cuda as c; c.why_touched = lambda: 'it was used'"
    asyncio.run(carry_method.ask_kernel(site.subject(fit).kernel, f"[exec({code!r}, {{}}), True][1]", TIMEOUT_S))
    waiting = fit.record["kernel_pid"]
    site.resume(fit)
    assert fit.record["kernel_pid"] != waiting
    device, _ = fit.run(WHERE).split()
    assert device == "GPU-2"
    assert fit.run("print(len(data))") == "1000\n"


def test_one_that_dies_while_it_waits_comes_back_to_its_variables(fit: Attached, site: Site) -> None:
    site.suspend(fit)
    fit.client.stop_channels()
    os.killpg(fit.record["kernel_pid"], signal.SIGKILL)
    eventually(lambda: not fit.manager.is_alive())
    # as Jupyter does it when a kernel has died
    fit.manager.restart_kernel(now=True)
    fit.client = fit.connect()
    assert fit.ask("status")["closed"]
    assert len(site.files()) == 1
    site.resume(fit)
    assert fit.run("print(len(data))") == "1000\n"
    assert site.files() == []


@pytest.mark.parametrize("end", ["restart_kernel", "shutdown_kernel"])
def test_who_ends_a_kernel_ends_its_variables(fit: Attached, site: Site, end: str) -> None:
    site.suspend(fit)
    getattr(fit.manager, end)(now=True)
    assert list(site.folder.iterdir()) == []
    assert BINDINGS.carried == {}


def test_what_is_old_and_nobodys_goes(fit: Attached, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.suspend(fit)
    monkeypatch.setattr("swangpu.kernels.carried.KEEP_S", -1.0)
    tidy(site.folder, {fit.id})
    assert len(site.files()) == 1
    tidy(site.folder, set())
    assert list(site.folder.iterdir()) == []


def test_an_interrupt_while_it_waits_is_for_the_cell_alone(fit: Attached, site: Site) -> None:
    site.suspend(fit)
    held = fit.client.execute("data.append(99)")
    eventually(lambda: fit.ask("status")["held"] == 1)
    fit.manager.interrupt_kernel()
    assert reply_to(fit.client, held)["content"]["ename"] == "KeyboardInterrupt"
    site.resume(fit)
    assert fit.run("print(len(data))") == "1000\n", "it was not run"


def test_only_a_kernel_at_rest_is_replaced(fit: Attached) -> None:
    record = fit.record
    with pytest.raises(Unavailable):
        fit.ask("replace", pid=record["kernel_pid"], env={})
    fit.ask("close")
    assert fit.ask("replace", pid=1, env={})["kernel_pid"] == record["kernel_pid"], "it is another that is meant"
    with pytest.raises(Unavailable):
        fit.ask("replace", pid=record["kernel_pid"], env="none")
    assert registry.process_start(record["kernel_pid"]) == record["kernel_start"]
    fit.ask("replace", pid=record["kernel_pid"], env={"MARK": "1"})
    eventually(lambda: not fit.ask("status")["replacing"])
    assert fit.record["kernel_pid"] == fit.ask("status")["kernel_pid"] != record["kernel_pid"]
    fit.ask("open")
    assert fit.run("import os; print(os.environ['MARK'], 'data' in dir())") == "1 False\n"


def test_what_an_agent_keeps_makes_sense_or_is_nothing() -> None:
    assert kept_of([]) is None
    assert kept_of([{"untouched": True}]) is None
    assert kept_of([{"path": "/x", "size_bytes": "1", "pid": 2, "start": "s"}]) is None
    found = kept_of([{"path": "/x", "size_bytes": 1, "pid": 2, "start": "s", "sha256": "0"}])
    assert found is not None
    assert kept_of(replace(found, loaded=True).as_saved()) == replace(found, loaded=True)
