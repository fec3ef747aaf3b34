"""Suspending and resuming real processes with a stand-in of NVIDIA's program, and all that can go wrong."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoint_bench import checkpointer, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suspend.sim import GPU, MIB, MODEL, CudaSim, machine
from swangpu.kernels import checkpoint_program
from swangpu.kernels.checkpoint import Held, Limits, Outcome
from swangpu.kernels.checkpoint_outcome import _TEXTS, _WHY, outcome

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cuda-checkpoint is there for Linux only")

#: a phase that hangs is given up after half a second; the others have time
HANGING_LOCK = Limits(lock_s=0.1, grace_s=0.4)
HANGING_COPY = Limits(copy_s=0.5)
HANGING_UNLOCK = Limits(unlock_s=0.5)
HANGING_STATE = Limits(ask_s=0.5)
#: here the stand-in has to get something done before it hangs, on a busy machine too
AFTER = Limits(copy_s=2.0, unlock_s=2.0, ask_s=2.0)


def test_a_process_stops_and_goes_on_where_it_was(cuda: CudaSim) -> None:
    process = cuda.counter(64 * MIB)
    assert process.count() == 2
    out = run(checkpointer(cuda).suspend([process.pid]))
    assert (out.kind, out.code) == ("suspended", "suspended")
    assert out.frees_device
    assert not out.usable
    assert out.saved == (Held(process.pid, GPU.format(0), 64 * MIB),)
    assert "67 MB" in out.text
    assert process.has_stopped()
    process.ask()
    back = run(checkpointer(cuda).resume([process.pid], saved=out.saved))
    assert (back.kind, back.usable) == ("resumed", True)
    assert process.answer() == 3
    assert cuda.state(process) == "running"
    assert cuda.actions() == ["lock", "checkpoint", "restore", "unlock"]


def test_of_a_tree_only_the_process_that_uses_the_device_is_touched(cuda: CudaSim) -> None:
    kernel, child = cuda.counter(0), cuda.counter()
    tree = [kernel.pid, child.pid]
    out = run(checkpointer(cuda).suspend(tree))
    assert [one.pid for one in out.saved] == [child.pid]
    assert child.has_stopped()
    assert kernel.count() == 2
    assert run(checkpointer(cuda).resume(tree, saved=out.saved)).kind == "resumed"
    assert child.count() == 2


@pytest.mark.parametrize(
    ("faults", "limits", "kind", "code", "phase", "state"),
    [
        ({"lock": "fail:device not ready"}, None, "unchanged", "lock_failed", "lock", "running"),
        ({"lock": "fail:operation not permitted"}, None, "unchanged", "lock_failed", "lock", "running"),
        ({"lock": "fail:device not ready@locked"}, None, "undone", "lock_failed", "lock", "running"),
        ({"lock": "hang"}, HANGING_LOCK, "undone", "lock_failed", "lock", "running"),
        ({"lock": "hang-after"}, HANGING_LOCK, "undone", "lock_failed", "lock", "running"),
        ({"lock": "kill"}, None, "undone", "lock_failed", "lock", "running"),
        ({"lock": "fail:unknown error@failed"}, None, "lost", "state_failed", "lock", "failed"),
        ({"checkpoint": "fail:out of memory"}, None, "undone", "checkpoint_failed", "checkpoint", "running"),
        ({"checkpoint": "fail:not supported"}, None, "undone", "checkpoint_failed", "checkpoint", "running"),
        ({"checkpoint": "fail:x@failed"}, None, "lost", "state_failed", "checkpoint", "failed"),
        ({"checkpoint": "fail:x@nonsense"}, None, "lost", "state_not_known", "checkpoint", "nonsense"),
        ({"checkpoint": "fail:x@running"}, None, "undone", "checkpoint_failed", "checkpoint", "running"),
        ({"checkpoint": "hang"}, HANGING_COPY, "undone", "checkpoint_failed", "checkpoint", "running"),
        ({"checkpoint": "hang-after"}, AFTER, "suspended", "suspended", "", "checkpointed"),
        ({"checkpoint": "kill"}, None, "undone", "checkpoint_failed", "checkpoint", "running"),
        ({"checkpoint": "kill-after"}, None, "suspended", "suspended", "", "checkpointed"),
        (
            {"checkpoint": "fail:x", "unlock": ["fail:x", ""]},
            None,
            "undone",
            "checkpoint_failed",
            "checkpoint",
            "running",
        ),
        ({"checkpoint": "fail:x", "unlock": "fail:y"}, None, "lost", "still_locked", "unlock", "locked"),
        ({"checkpoint": "fail:x", "unlock": "hang"}, HANGING_UNLOCK, "lost", "still_locked", "unlock", "locked"),
        ({"all": "fail:Insufficient driver"}, None, "unchanged", "not_answering", "", "running"),
        ({"get_state": "fail:operation not permitted"}, None, "unchanged", "not_answering", "", "running"),
        ({"get_state": "hang"}, HANGING_STATE, "unchanged", "not_answering", "", "running"),
        ({"get_state": "say:rubbish"}, None, "unchanged", "not_answering", "", "running"),
        ({"get_state": ["", "", "say:checkpointing"]}, None, "suspended", "suspended", "", "checkpointed"),
    ],
)
def test_what_can_go_wrong_when_suspending(
    cuda: CudaSim,
    faults: dict[str, Any],
    limits: Limits | None,
    kind: str,
    code: str,
    phase: str,
    state: str,
) -> None:
    process = cuda.counter()
    cuda.faults(**faults)
    out = run(checkpointer(cuda, limits=limits).suspend([process.pid]))
    assert (out.kind, out.code, out.phase, cuda.state(process)) == (kind, code, phase, state)
    assert out.text.endswith((".", ";"))
    assert "{" not in out.text
    assert out.hint or out.kind in ("unchanged", "undone", "suspended")
    if out.usable:
        assert process.count() == 2


@pytest.mark.parametrize(
    ("faults", "limits", "kind", "code", "state"),
    [
        ({"restore": "fail:out of memory"}, None, "still_suspended", "restore_failed", "checkpointed"),
        ({"restore": "fail:operation not permitted"}, None, "still_suspended", "restore_failed", "checkpointed"),
        ({"restore": "fail:x@failed"}, None, "lost", "state_failed", "failed"),
        ({"restore": "fail:x@nonsense"}, None, "lost", "state_not_known", "nonsense"),
        ({"restore": "hang"}, HANGING_COPY, "still_suspended", "restore_failed", "checkpointed"),
        ({"restore": "hang-after"}, AFTER, "resumed", "resumed", "running"),
        ({"restore": "kill-after"}, None, "resumed", "resumed", "running"),
        ({"unlock": ["fail:x", ""]}, None, "resumed", "resumed", "running"),
        ({"unlock": "fail:x"}, None, "lost", "still_locked", "locked"),
        ({"unlock": "hang"}, HANGING_UNLOCK, "lost", "still_locked", "locked"),
        ({"unlock": "hang-after"}, AFTER, "resumed", "resumed", "running"),
        ({"get_state": "fail:operation not permitted"}, None, "still_suspended", "not_answering", "checkpointed"),
        ({"get_state": ["hang"]}, AFTER, "resumed", "resumed", "running"),
        ({"get_state": ["", "say:restoring"]}, None, "resumed", "resumed", "running"),
        ({"get_state": ["", "say:rubbish"]}, None, "resumed", "resumed", "running"),
    ],
)
def test_what_can_go_wrong_when_resuming(
    cuda: CudaSim, faults: dict[str, Any], limits: Limits | None, kind: str, code: str, state: str
) -> None:
    process = cuda.counter()
    saved = run(checkpointer(cuda).suspend([process.pid])).saved
    cuda.faults(**faults)
    back = run(checkpointer(cuda, limits=limits).resume([process.pid], saved=saved))
    assert (back.kind, back.code, cuda.state(process)) == (kind, code, state)
    assert back.hint or back.kind in ("resumed", "still_suspended")
    if back.kind == "still_suspended":
        # nothing is lost: it can be brought back when the fault is gone
        cuda.faults()
        assert run(checkpointer(cuda).resume([process.pid], saved=back.saved)).kind == "resumed"
    if back.kind in ("resumed", "still_suspended"):
        assert process.count() == 2


WORDS = ["", "", "fail:x", "fail:x@running", "fail:x@locked", "fail:x@failed", "kill", "kill-after"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries({phase: st.lists(st.sampled_from(WORDS), max_size=2) for phase in ("lock", "checkpoint")}),
    st.lists(st.sampled_from(["", "fail:x", "kill", "kill-after"]), max_size=2),
)
def test_whatever_fails_no_process_stays_locked_unsaid(
    cuda: CudaSim, faults: dict[str, list[str]], unlock: list[str]
) -> None:
    process = cuda.counter()
    cuda.faults(**faults, unlock=unlock)
    out = run(checkpointer(cuda).suspend([process.pid]))
    state = cuda.state(process)
    assert (
        state
        in {
            "unchanged": ["running"],
            "undone": ["running"],
            "suspended": ["checkpointed"],
            "lost": ["locked", "failed"],
        }[out.kind]
    )
    assert (state == "locked") == (out.code == "still_locked")
    # the driver would have unlocked it in no more than two tries: then nobody may give up
    if state == "locked":
        assert len([fault for fault in unlock if fault in ("fail:x", "kill")]) == 2
    process.end()


def test_a_process_that_ends_meanwhile_is_lost(cuda: CudaSim) -> None:
    process = cuda.counter()
    saved = run(checkpointer(cuda).suspend([process.pid])).saved
    process.end()
    back = run(checkpointer(cuda).resume([process.pid], saved=saved))
    assert (back.kind, back.code) == ("lost", "ended")


def test_doing_it_twice_does_it_once(cuda: CudaSim) -> None:
    process = cuda.counter()
    for code in ("suspended", "already_suspended"):
        out = run(checkpointer(cuda).suspend([process.pid]))
        assert (out.kind, out.code) == ("suspended", code)
    for code in ("resumed", "already_running"):
        back = run(checkpointer(cuda).resume([process.pid]))
        assert (back.kind, back.code) == ("resumed", code)
    assert cuda.actions() == ["lock", "checkpoint", "restore", "unlock"]


def test_what_a_killed_server_left_locked_goes_on(cuda: CudaSim) -> None:
    process = cuda.counter()
    cuda.set_state(process, "locked")
    assert run(checkpointer(cuda).resume([process.pid])).kind == "resumed"
    assert cuda.state(process) == "running"
    cuda.set_state(process, "locked")
    assert run(checkpointer(cuda).suspend([process.pid])).kind == "suspended"
    cuda.set_state(process, "locked")
    refused = run(checkpointer(cuda).suspend([process.pid], budget_bytes=1))
    assert (refused.kind, refused.code, cuda.state(process)) == ("unchanged", "no_room", "running")


def test_a_kernel_that_never_used_a_gpu_is_left_alone(cuda: CudaSim) -> None:
    process = cuda.counter(0)
    out = run(checkpointer(cuda).suspend([process.pid]))
    assert (out.kind, out.code, out.frees_device) == ("unchanged", "nothing_there", True)
    assert run(checkpointer(cuda).resume([process.pid])).kind == "unchanged"
    assert process.count() == 2
    assert cuda.actions() == []


def test_two_processes_that_use_a_gpu_are_refused(cuda: CudaSim) -> None:
    tree = [cuda.counter().pid, cuda.counter().pid]
    out = run(checkpointer(cuda).suspend(tree))
    assert (out.kind, out.code) == ("unchanged", "several_processes")
    assert out.text.startswith("2 processes")
    assert cuda.actions() == []


def test_who_stops_waiting_leaves_nothing_half_done(cuda: CudaSim) -> None:
    process = cuda.counter()
    cuda.faults(lock="wait")

    async def story() -> Outcome:
        ours = checkpointer(cuda)
        task = asyncio.create_task(ours.suspend([process.pid]))
        while not (cuda.folder / "waits").exists():
            await asyncio.sleep(0)
        meanwhile = await ours.resume([process.pid])
        task.cancel()
        (cuda.folder / "go").touch()
        await ours.close()
        with pytest.raises(asyncio.CancelledError):
            await task
        return meanwhile

    assert asyncio.run(story()).code == "busy"
    assert cuda.state(process) == "checkpointed"


def test_a_program_that_is_gone_loses_nothing(cuda: CudaSim) -> None:
    process = cuda.counter()
    saved = run(checkpointer(cuda).suspend([process.pid])).saved
    gone: Callable[..., Any] = lambda program, driver: machine(cuda, program=None, driver_version=driver)  # noqa: E731
    back = run(checkpointer(cuda, look=gone).resume([process.pid], saved=saved))
    assert (back.kind, back.code) == ("still_suspended", "no_program")
    broken = cuda.folder / "broken"
    broken.write_text("not a program")
    look: Callable[..., Any] = lambda program, driver: machine(cuda, program=broken, driver_version=driver)  # noqa: E731
    back = run(checkpointer(cuda, look=look).resume([process.pid], saved=saved))
    assert (back.kind, back.code) == ("still_suspended", "not_answering")
    assert run(checkpointer(cuda).resume([process.pid], saved=saved)).kind == "resumed"


def test_an_id_that_was_given_to_another_process_is_not_touched(cuda: CudaSim, monkeypatch: pytest.MonkeyPatch) -> None:
    process = cuda.counter()
    starts = itertools.chain(["then"], itertools.repeat("now"))
    monkeypatch.setattr("swangpu.kernels.registry.process_start", lambda pid: next(starts))
    out = run(checkpointer(cuda).suspend([process.pid]))
    assert out.kind in ("unchanged", "lost")
    assert cuda.actions() == []
    assert process.count() == 2


def test_capabilities_are_told_without_touching_anything(cuda: CudaSim, tmp_path: Path) -> None:
    able = asyncio.run(checkpointer(cuda).capabilities())
    assert able.suspend.able
    assert (able.remap.able, able.remap.code) == (False, "no_equal_device")
    cuda.devices(MODEL, MODEL)
    assert asyncio.run(checkpointer(cuda).capabilities()).remap.able
    assert not (cuda.folder / "calls").exists()


@pytest.mark.parametrize("code", sorted(_TEXTS))
@pytest.mark.parametrize("why", ["", "time_is_up", "words of our own"])
def test_every_outcome_has_a_sentence(code: str, why: str) -> None:
    said = outcome("lost", code, why=why, bytes=10**9, free=0, count=2)
    assert said.text[0].isupper() or said.text[0].isdigit()
    assert said.text.endswith(".")
    assert "{" not in said.text + said.hint
    assert said.params["bytes"] == 10**9


def test_every_reason_of_the_program_has_words() -> None:
    codes = {code for _, code in checkpoint_program._FAILURES} | {"not_started", "killed", "failed"}
    assert codes <= set(_WHY)
