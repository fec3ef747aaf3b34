"""Real kernels behind real agents, put aside and brought back with a stand-in of NVIDIA's program."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from behind_agent import Attached
from suspend_bench import ON_IT, Bench, only_checkpoint, pid_of, subject

from suspend.sim import GPU, MIB, MODEL
from swangpu.domain.sessions import ComesBack
from swangpu.errors import Conflict
from swangpu.ports import Suspension

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cuda-checkpoint is there for Linux only")


def test_a_kernel_stops_and_its_next_cell_goes_on(fit: Attached, bench: Bench) -> None:
    done = bench.suspend(fit)
    assert done == Suspension("checkpoint", 64 * MIB)
    assert done.frees
    assert bench.cuda.state(pid_of(fit)) == "checkpointed"
    held = fit.client.execute("count += 1; print(count)")
    assert bench.resume(fit), "a cell had waited"
    assert fit.client.get_shell_msg(timeout=60)["parent_header"]["msg_id"] == held
    assert fit.run("print(count)") == "42\n"
    assert not fit.ask("status")["closed"]
    assert fit.ask("status")["saved"] == []


def test_a_kernel_of_another_language_whose_child_uses_the_device(attach: Any, bench: Bench) -> None:
    kernel = attach("bash", ON_IT)
    child = bench.uses(int(kernel.run("kept=here; echo $$")))
    assert bench.suspender.methods_of(kernel.manager, ON_IT) == ("checkpoint",)
    assert bench.suspend(kernel, "offload", "checkpoint") == Suspension("checkpoint", 64 * MIB)
    assert bench.cuda.state(child) == "checkpointed"
    bench.resume(kernel)
    assert kernel.run("echo $kept").strip() == "here"


def test_offload_goes_first_and_the_driver_is_not_asked_when_it_works(fit: Attached, bench: Bench) -> None:
    assert bench.suspender.methods_of(fit.manager, ON_IT) == ("offload", "checkpoint")
    assert bench.suspend(fit, "offload", "checkpoint").method == "offload"
    assert not (bench.cuda.folder / "calls").exists()
    bench.resume(fit)
    assert bench.suspend(fit, "checkpoint", "offload").method == "checkpoint", "the order is the site's"


def test_what_the_kernel_can_not_move_itself_is_suspended(fit: Attached, bench: Bench) -> None:
    fit.run("import swangpu_kernel.offload as o; o.out = lambda: {'ok': False, 'error': 'It does not fit.'}")
    assert bench.suspend(fit, "offload", "checkpoint").method == "checkpoint"
    bench.resume(fit)
    bench.cuda.faults(lock="fail:device not ready")
    done = bench.suspend(fit, "offload", "checkpoint")
    assert (done.method, done.frees, done.code) == ("gate", False, "lock_failed")
    assert "could not be stopped" in done.text
    bench.resume(fit)
    assert fit.run("print(count)") == "41\n"


#: all of it, and what a library without a way to move it keeps
PARTLY = """
import swangpu_kernel.offload as o
tried = []
def out():
    tried.append("out")
    stays = [{"what": "tensorflow: all arrays", "bytes": 5 * 10**9, "why": "it keeps them"}]
    return {"ok": True, "moved_bytes": 10, "stays_bytes": 5 * 10**9, "stays": stays}
def back():
    tried.append("back")
    return {"ok": True}
o.out, o.back = out, back
"""


def test_where_much_would_stay_on_the_device_all_of_it_is_suspended(fit: Attached, bench: Bench) -> None:
    fit.run(PARTLY)
    assert bench.suspend(fit, "offload", "checkpoint") == Suspension("checkpoint", 64 * MIB)
    bench.resume(fit)
    assert fit.run("print(tried)") == "['out', 'back']\n"
    bench.cuda.faults(lock="fail:device not ready")
    told = "5 GB of it stay on the GPU: tensorflow: all arrays (it keeps them)."
    partly = Suspension("offload", 10, code="paused_partly", text=told)
    assert bench.suspend(fit, "offload", "checkpoint") == partly, "better than nothing"
    assert partly.frees
    bench.resume(fit)
    assert bench.suspend(fit, "offload") == partly
    bench.resume(fit)
    assert fit.run("print(tried)") == "['out', 'back', 'out', 'back', 'out', 'back', 'out', 'back']\n"


@pytest.mark.parametrize(
    "env",
    [
        {"CUDA_VISIBLE_DEVICES": "MIG-00000001-0000-0000-0000-000000000000"},
        {**ON_IT, "CUDA_MPS_PIPE_DIRECTORY": "/tmp/mps"},
        {**ON_IT, "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=4096M"},
        {"CUDA_VISIBLE_DEVICES": ""},
    ],
)
def test_not_on_what_the_driver_does_not_suspend(env: dict[str, str], bench: Bench) -> None:
    assert bench.checkpoint.fits(None, {**ON_IT, "CUDA_MPS_PIPE_DIRECTORY": None})
    assert not bench.checkpoint.fits(None, env)


@pytest.mark.parametrize("changes", [{"driver_version": "560.10"}, {"boot_id": "another"}, {"program": None}])
def test_not_where_the_test_has_not_passed(changes: dict[str, Any], bench: Bench) -> None:
    bench.server(**changes)
    assert not bench.checkpoint.fits(None, ON_IT)


def test_without_the_program_the_driver_is_not_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.cuda.program.unlink()
    monkeypatch.setattr(bench.view, "read", lambda: pytest.fail("it was asked"))
    asyncio.run(bench.suspender.learn())
    assert not bench.checkpoint.fits(None, ON_IT)


def test_saving_that_was_taken_back_is_said_and_the_kernel_goes_on(fit: Attached, bench: Bench) -> None:
    bench.cuda.faults(checkpoint="fail:out of memory")
    with pytest.raises(Conflict) as said:
        bench.suspend(fit)
    assert said.value.code == "checkpoint_failed"
    assert said.value.params == {"doubtful": True}
    assert "restart the kernel" in said.value.detail
    bench.resume(fit)
    assert fit.run("print(count)") == "41\n"


def test_what_is_lost_is_said_and_no_cell_runs_into_it(fit: Attached, bench: Bench) -> None:
    bench.cuda.faults(checkpoint="fail:unknown error@failed")
    with pytest.raises(Conflict) as said:
        bench.suspend(fit)
    assert (said.value.code, said.value.params) == ("state_failed", {"lost": True})
    assert "What was only on the GPU is lost" in said.value.detail
    with pytest.raises(Conflict):
        bench.resume(fit)
    assert fit.ask("status")["closed"]


def test_what_can_not_come_back_yet_stays_saved(fit: Attached, bench: Bench) -> None:
    bench.suspend(fit)
    bench.cuda.devices(MODEL, size_bytes=MIB)
    with pytest.raises(Conflict) as said:
        bench.resume(fit)
    assert (said.value.code, said.value.params) == ("no_room_device", {})
    assert fit.ask("status")["closed"]
    bench.cuda.devices(MODEL)
    bench.resume(fit)
    assert fit.run("print(count)") == "41\n"


def test_the_next_server_knows_how_much_comes_back(fit: Attached, bench: Bench) -> None:
    bench.suspend(fit)
    bench.server()
    assert bench.suspend(fit) == Suspension("checkpoint", 64 * MIB), "asked again, it is done already"
    bench.cuda.devices(MODEL, size_bytes=MIB)
    with pytest.raises(Conflict) as said:
        bench.resume(fit)
    assert said.value.code == "no_room_device"
    bench.cuda.devices(MODEL)
    bench.resume(fit)
    assert fit.run("print(count)") == "41\n"


@pytest.mark.parametrize("state", ["locked", "checkpointed"])
@pytest.mark.parametrize("again", [True, False])
def test_a_server_that_died_in_the_middle(fit: Attached, bench: Bench, state: str, again: bool) -> None:
    """It had said what it would do, and nothing of what came of it; the next one suspends again, or resumes."""
    fit.ask("close")
    fit.ask("aside", method="checkpoint")
    if state == "locked":
        bench.cuda.set_state(pid_of(fit), "locked")  # type: ignore[arg-type]
    else:
        asyncio.run(only_checkpoint(bench, fit))
    bench.server()
    if again:
        assert bench.suspend(fit, "offload", "checkpoint").method == "checkpoint", "it is not asked to move anything"
    bench.resume(fit)
    assert bench.cuda.state(pid_of(fit)) == "running"
    assert fit.run("print(count)") == "41\n"


def test_suspended_already_and_no_longer_allowed_it_is_known_to_be_aside(fit: Attached, bench: Bench) -> None:
    bench.suspend(fit)
    bench.server(boot_id="another")
    assert not bench.checkpoint.fits(None, ON_IT)
    bench.cuda.faults(restore="fail:out of memory")
    assert bench.suspend(fit) == Suspension("checkpoint", 64 * MIB)
    bench.cuda.faults()
    bench.resume(fit)
    assert fit.run("print(count)") == "41\n"


def test_who_stops_waiting_does_not_keep_it_from_being_remembered(fit: Attached, bench: Bench) -> None:
    bench.cuda.faults(checkpoint="wait")

    async def story() -> None:
        task = asyncio.create_task(bench.suspender.suspend(subject(fit), ["checkpoint"]))
        while not (bench.cuda.folder / "waits").exists():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (bench.cuda.folder / "go").touch()
        await bench.suspender.close()

    asyncio.run(story())
    pid = pid_of(fit).pid
    assert fit.ask("status")["saved"] == [{"pid": pid, "device_uuid": GPU.format(0), "memory_bytes": 64 * MIB}]
    bench.server()
    bench.resume(fit)
    assert fit.run("print(count)") == "41\n"


def test_a_kernel_that_never_used_its_device_only_waits(attach: Any, bench: Bench) -> None:
    kernel = attach("bash", ON_IT)
    kernel.run("kept=here")
    assert bench.suspend(kernel) == Suspension("checkpoint", 0)
    assert bench.cuda.actions() == []
    bench.resume(kernel)
    assert kernel.run("echo $kept").strip() == "here"


def test_a_running_cell_is_left_alone(fit: Attached, bench: Bench) -> None:
    fit.client.execute("import time; time.sleep(60)")
    while not fit.ask("status")["running"]:
        time.sleep(0.01)
    with pytest.raises(Conflict) as said:
        bench.suspend(fit)
    assert said.value.code == "kernel_busy"
    assert not fit.ask("status")["closed"]
    assert bench.cuda.actions() == []


WHERE = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
TOUCHED = "import swangpu_kernel.cuda as c; c.why_touched = lambda: 'torch has used CUDA in this kernel'"


#: of the person's own, which goes on while the notebook is paused
THREAD = """
import pathlib, threading, time
def work():
    while not pathlib.Path({go!r}).exists():
        time.sleep(0.01)
    {touch}
    pathlib.Path({done!r}).touch()
threading.Thread(target=work, daemon=True).start()
"""


def test_a_kernel_without_a_gpu_library_comes_back_on_any_device(fit: Attached, bench: Bench) -> None:
    assert bench.suspend(fit, "offload") == Suspension("offload", 0, ComesBack.ANYWHERE)
    # a server that has died meanwhile changes nothing
    bench.server()
    assert bench.suspend(fit, "offload") == Suspension("offload", 0, ComesBack.ANYWHERE)
    bench.resume(fit, device=1)
    assert fit.run(WHERE) == f"{GPU.format(1)}\n"


def test_one_that_has_used_its_device_comes_back_there(fit: Attached, bench: Bench) -> None:
    fit.run(TOUCHED)
    assert bench.suspend(fit, "offload").comes_back is ComesBack.DEVICE
    bench.resume(fit)
    assert fit.run(WHERE) == f"{GPU.format(0)}\n"


def test_one_that_used_its_device_while_it_was_paused_is_not_put_on_another(
    fit: Attached, bench: Bench, tmp_path: Path
) -> None:
    go, done = tmp_path / "go", tmp_path / "done"
    fit.run(THREAD.format(go=str(go), done=str(done), touch=TOUCHED))
    assert bench.suspend(fit, "offload").comes_back is ComesBack.ANYWHERE
    go.touch()
    while not done.exists():
        time.sleep(0.01)
    with pytest.raises(Conflict, match="torch has used CUDA in this kernel"):
        bench.resume(fit, device=1)
    assert fit.ask("status")["closed"]
    bench.resume(fit, device=0)


def test_one_whose_children_know_only_the_old_device_comes_back_there(fit: Attached, bench: Bench) -> None:
    fit.run(
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)"
    )
    assert bench.suspend(fit, "offload").comes_back is ComesBack.DEVICE
    bench.resume(fit)
    fit.run("child.kill()")
