"""Where a process may be suspended, and where it comes back: room in host memory, devices that were tried, others."""

from __future__ import annotations

import os
import sys

import pytest
from checkpoint_bench import PASSED, checkpointer, run

from suspend.sim import GPU, MIB, MODEL, CudaSim, View
from swangpu.kernels.checkpoint import Held
from swangpu.kernels.checkpoint_record import Passed
from swangpu.kernels.checkpoint_room import Room

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cuda-checkpoint is there for Linux only")


@pytest.mark.parametrize("limited_by", ["cgroup", "machine"])
def test_what_does_not_fit_into_host_memory_is_not_begun(cuda: CudaSim, limited_by: str) -> None:
    process = cuda.counter(30_000 * MIB)
    out = run(checkpointer(cuda, room=lambda pid: Room(16_000 * MIB, limited_by)).suspend([process.pid]))
    assert (out.kind, out.code) == ("unchanged", f"no_room_{limited_by}")
    assert "31 GB" in out.text
    assert cuda.actions() == []
    assert process.count() == 2


def test_what_is_not_known_to_fit_is_not_begun(cuda: CudaSim) -> None:
    process = cuda.counter()
    assert run(checkpointer(cuda, room=lambda pid: Room(None)).suspend([process.pid])).code == "room_not_known"
    assert run(checkpointer(cuda).suspend([process.pid], budget_bytes=63 * MIB)).code == "no_room"
    assert run(checkpointer(cuda).suspend([process.pid], budget_bytes=64 * MIB)).kind == "suspended"


def test_where_the_driver_shows_no_processes_all_that_is_used_there_counts(cuda: CudaSim) -> None:
    kernel, child = cuda.counter(0), cuda.counter()
    view = View(cuda, visible=False)
    tree = [kernel.pid, child.pid]
    assert run(checkpointer(cuda, view=view).suspend(tree)).code == "memory_not_known"
    view.kept_bytes = 36 * MIB
    given_devices = {"device_uuids": [GPU.format(0)]}
    refused = run(checkpointer(cuda, view=view).suspend(tree, 99 * MIB, **given_devices))
    assert refused.code == "no_room"
    out = run(checkpointer(cuda, view=view).suspend(tree, 100 * MIB, **given_devices))
    # what the driver keeps for itself does not have to come back
    assert (out.kind, out.saved) == ("suspended", (Held(child.pid, GPU.format(0), 64 * MIB),))
    assert child.has_stopped()


def test_it_is_off_until_the_test_has_passed_here(cuda: CudaSim) -> None:
    process = cuda.counter()
    ours = checkpointer(cuda, passed=None)
    out = run(ours.suspend([process.pid]))
    assert (out.kind, out.code) == ("unchanged", "not_tested")
    assert "--suspend-test" in out.hint
    assert not (cuda.folder / "calls").exists()
    # what is suspended comes back all the same
    assert run(checkpointer(cuda).suspend([process.pid])).kind == "suspended"
    (cuda.folder / "record.json").unlink()
    assert run(ours.resume([process.pid])).kind == "resumed"


def test_another_model_than_the_one_tried_is_refused(cuda: CudaSim) -> None:
    cuda.devices(MODEL, "NVIDIA L4")
    process = cuda.counter(device=1)
    assert run(checkpointer(cuda).suspend([process.pid])).code == "not_this_device"


def test_a_process_comes_back_on_another_device(cuda: CudaSim) -> None:
    cuda.devices(MODEL, "NVIDIA L4", MODEL)
    process = cuda.counter()
    saved = run(checkpointer(cuda).suspend([process.pid])).saved
    back = run(checkpointer(cuda).resume([process.pid], {GPU.format(0): GPU.format(2)}, saved=saved))
    assert back.kind == "resumed"
    assert cuda.on_device(process) == [GPU.format(2)]
    assert process.count() == 2
    sent = next(call for call in cuda.calls() if "--device-map" in call).split()[-1]
    pairs = dict(pair.split("=") for pair in sent.split(","))
    # the driver wants every device, once on each side
    assert pairs == {GPU.format(0): GPU.format(2), GPU.format(1): GPU.format(1), GPU.format(2): GPU.format(0)}


@pytest.mark.parametrize(
    ("to", "passed", "driver", "words"),
    [
        (1, PASSED, "580.65.06", "one model"),
        (3, PASSED, "580.65.06", "not there"),
        (2, Passed("boot", "580.65.06", "digest", os.getuid(), {MODEL: False}), "580.65.06", "suspend test"),
        (2, Passed("boot", "575.57.08", "digest", os.getuid(), {MODEL: True}), "575.57.08", "580"),
    ],
)
def test_where_it_can_not_come_back_it_stays_saved(
    cuda: CudaSim, to: int, passed: Passed, driver: str, words: str
) -> None:
    cuda.devices(MODEL, "NVIDIA L4", MODEL)
    process = cuda.counter()
    ours = checkpointer(cuda, passed=passed, view=View(cuda, driver=driver))
    saved = run(ours.suspend([process.pid])).saved
    back = run(ours.resume([process.pid], {GPU.format(0): GPU.format(to)}, saved=saved))
    assert (back.kind, back.code, back.saved) == ("still_suspended", "no_map", saved)
    assert words in back.text
    assert run(ours.resume([process.pid], saved=saved)).kind == "resumed"


def test_a_map_that_the_driver_refuses_costs_nothing(cuda: CudaSim) -> None:
    cuda.devices(MODEL, MODEL)
    process = cuda.counter()
    saved = run(checkpointer(cuda).suspend([process.pid])).saved
    cuda.faults(restore=["fail:invalid argument"])
    back = run(checkpointer(cuda).resume([process.pid], {GPU.format(0): GPU.format(1)}, saved=saved))
    assert (back.kind, back.code) == ("still_suspended", "map_refused")
    assert run(checkpointer(cuda).resume([process.pid], saved=saved)).kind == "resumed"
    assert process.count() == 2


def test_a_full_device_is_not_restored_to(cuda: CudaSim) -> None:
    """A restore that runs out of memory can't be repeated with today's drivers."""
    process = cuda.counter(64 * MIB)
    saved = run(checkpointer(cuda).suspend([process.pid])).saved
    cuda.devices(MODEL, size_bytes=63 * MIB)
    back = run(checkpointer(cuda).resume([process.pid], saved=saved))
    assert (back.kind, back.code) == ("still_suspended", "no_room_device")
    assert "restore" not in cuda.actions()
    cuda.devices(MODEL)
    assert run(checkpointer(cuda).resume([process.pid], saved=saved)).kind == "resumed"
