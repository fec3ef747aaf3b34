"""Real kernels that are suspended on one device and go on with another of its model, with a stand-in of the program."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from behind_agent import Attached
from suspend_bench import ON_IT, Bench, pid_of

from suspend.sim import GPU, MIB, MODEL
from swangpu.domain.sessions import ComesBack
from swangpu.errors import Conflict
from swangpu.ports import Suspension

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cuda-checkpoint is there for Linux only")

ANY_OF_THEM = Suspension("checkpoint", 64 * MIB, ComesBack.FLAVOR)
OWN = Suspension("checkpoint", 64 * MIB)
WHERE = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"


@pytest.fixture(autouse=True)
def two_devices(bench: Bench) -> None:
    """Two of one model, and one of another."""
    bench.cuda.devices(MODEL, MODEL, "NVIDIA L4")


def test_it_goes_on_with_another_device_and_says_where_it_is(fit: Attached, bench: Bench) -> None:
    assert bench.suspend(fit) == ANY_OF_THEM
    bench.resume(fit, device=1)
    assert bench.cuda.on_device(pid_of(fit)) == [GPU.format(1)]
    assert fit.run("count += 1; print(count)") == "42\n"
    assert fit.run(WHERE) == f"{GPU.format(1)}\n"
    child = "import subprocess; print(subprocess.check_output(['printenv', 'CUDA_VISIBLE_DEVICES'], text=True))"
    assert fit.run(child).strip() == GPU.format(1), "what it starts finds the new one too"
    (sent,) = [call.split()[-1] for call in bench.cuda.calls() if "--device-map" in call]
    pairs = dict(pair.split("=") for pair in sent.split(","))
    # the driver wants every device of the machine in it
    assert pairs == {GPU.format(0): GPU.format(1), GPU.format(1): GPU.format(0), GPU.format(2): GPU.format(2)}
    assert bench.suspend(fit, device=1) == ANY_OF_THEM
    bench.resume(fit, device=0)
    assert bench.cuda.on_device(pid_of(fit)) == [GPU.format(0)]
    assert fit.run(WHERE) == f"{GPU.format(0)}\n"


@pytest.mark.parametrize("answer", ["c.follow = lambda env: {'ok': False}", "del c.follow"])
def test_one_that_does_not_hear_where_it_is_goes_on_and_its_person_is_told(
    fit: Attached, bench: Bench, answer: str
) -> None:
    fit.run(f"import swangpu_kernel.cuda as c; {answer}")
    assert bench.suspend(fit) == ANY_OF_THEM
    done = bench.brought_back(fit, device=1)
    assert done.code == "not_followed"
    assert "look for the GPU of before" in done.text
    assert "Restart the kernel" in done.text
    assert not fit.ask("status")["closed"]
    assert fit.run("print(count)") == "41\n"
    assert bench.brought_back(fit, device=1).code == "", "it is said once"


def test_on_its_own_device_nothing_is_mapped(fit: Attached, bench: Bench) -> None:
    assert bench.suspend(fit) == ANY_OF_THEM
    bench.resume(fit)
    assert not any("--device-map" in call for call in bench.cuda.calls())
    assert fit.run("print(count)") == "41\n"


def test_the_next_server_brings_it_back_on_another_device(fit: Attached, bench: Bench) -> None:
    bench.suspend(fit)
    bench.server()
    assert bench.suspend(fit) == ANY_OF_THEM, "asked again, it says the same"
    bench.resume(fit, device=1)
    assert fit.run(WHERE) == f"{GPU.format(1)}\n"


def test_a_server_that_died_when_it_was_back(fit: Attached, bench: Bench) -> None:
    bench.suspend(fit)
    there, pid = {GPU.format(0): GPU.format(1)}, pid_of(fit).pid
    assert asyncio.run(bench.checkpoint._checkpointer.resume([pid], there)).kind == "resumed"
    bench.server()
    bench.resume(fit, device=1)
    assert fit.run(WHERE) == f"{GPU.format(1)}\n"
    assert not fit.ask("status")["closed"]


def test_a_device_that_is_refused_leaves_it_for_its_own(fit: Attached, bench: Bench) -> None:
    bench.suspend(fit)
    bench.cuda.faults(restore=["fail:invalid argument"])
    with pytest.raises(Conflict) as said:
        bench.resume(fit, device=1)
    assert (said.value.code, said.value.params) == ("map_refused", {"own_device": True})
    assert "it can come back on its own device" in said.value.detail
    assert fit.ask("status")["closed"]
    bench.resume(fit)
    assert fit.run("print(count)") == "41\n"
    assert fit.run(WHERE) == f"{GPU.format(0)}\n"


def test_what_was_allowed_when_it_was_suspended_and_is_not_any_more(fit: Attached, bench: Bench) -> None:
    bench.suspend(fit)
    bench.server(remaps=False)
    with pytest.raises(Conflict) as said:
        bench.resume(fit, device=1)
    assert (said.value.code, said.value.params) == ("no_map", {"own_device": True})
    bench.resume(fit)
    assert fit.run("print(count)") == "41\n"


def test_a_device_without_room_is_no_reason_to_give_up_the_others(fit: Attached, bench: Bench) -> None:
    bench.suspend(fit)
    first, second, third = bench.cuda.facts
    bench.cuda.facts = (first, replace(second, free_bytes=MIB), third)
    with pytest.raises(Conflict) as said:
        bench.resume(fit, device=1)
    assert (said.value.code, said.value.params) == ("no_room_device", {})
    bench.resume(fit)
    assert fit.run("print(count)") == "41\n"


@pytest.mark.parametrize("why", ["not tried", "no other", "cut into MIG devices", "has a child"])
def test_where_it_could_not_come_back_elsewhere_it_is_said_before(fit: Attached, bench: Bench, why: str) -> None:
    if why == "not tried":
        bench.server(remaps=False)
    elif why == "no other":
        bench.cuda.devices(MODEL, "NVIDIA L4")
    elif why == "cut into MIG devices":
        first, second, third = bench.cuda.facts
        bench.cuda.facts = (first, second, replace(third, mig=True))
    else:
        fit.run("import subprocess; child = subprocess.Popen(['sleep', '60'])")
    assert bench.suspend(fit) == OWN
    bench.resume(fit)
    fit.run("if 'child' in globals(): child.kill()")


def test_a_kernel_that_can_not_be_told_comes_back_on_its_own(attach: Callable[..., Attached], bench: Bench) -> None:
    kernel = attach("bash", ON_IT)
    bench.uses(int(kernel.run("kept=here; echo $$")))
    assert bench.suspend(kernel) == OWN
    bench.resume(kernel)
    assert kernel.run("echo $kept").strip() == "here"
