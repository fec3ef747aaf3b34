"""What NVIDIA's program is asked, and what its answers mean."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from swangpu.kernels import checkpoint_program
from swangpu.kernels.checkpoint_program import Answer

PROGRAM = Path("/opt/bin/cuda-checkpoint")
A, B = (f"GPU-00000000-0000-0000-0000-{i:012d}" for i in range(2))


def test_what_is_said_to_the_program() -> None:
    said = " ".join(checkpoint_program.action(PROGRAM, "lock", 7, timeout_s=1.5)[1:])
    assert said == "--action lock --pid 7 --timeout 1500"
    assert checkpoint_program.action(PROGRAM, "lock", 7, timeout_s=0)[-1] == "1", "0 would be no limit"
    assert checkpoint_program.action(PROGRAM, "checkpoint", 7)[1:] == ["--action", "checkpoint", "--pid", "7"]
    mapped = checkpoint_program.action(PROGRAM, "restore", 7, device_map={A: B, B: A})
    assert mapped[-2:] == ["--device-map", f"{A}={B},{B}={A}"]
    assert checkpoint_program.get_state(PROGRAM, 7) == [str(PROGRAM), "--get-state", "--pid", "7"]
    assert checkpoint_program.get_restore_tid(PROGRAM, 7) == [str(PROGRAM), "--get-restore-tid", "--pid", "7"]


@pytest.mark.parametrize("pid", [0, -1])
def test_no_process_group_is_named_as_a_process(pid: int) -> None:
    with pytest.raises(ValueError, match="process id"):
        checkpoint_program.get_state(PROGRAM, pid)


@pytest.mark.parametrize("uuid", ["", "0", "GPU-x,y", f"{A},{B}=1", f"MIG-{A[4:]}"])
def test_only_uuids_get_into_the_map(uuid: str) -> None:
    with pytest.raises(ValueError, match="UUID"):
        checkpoint_program.action(PROGRAM, "restore", 7, device_map={A: uuid})


@pytest.mark.parametrize(
    ("code", "text", "state"),
    [
        (0, "running", "running"),
        (0, "locked\n", "locked"),
        (0, "Checkpointed", "checkpointed"),
        (0, "failed", "failed"),
        (0, "checkpointing", "moving"),
        (0, "restoring", "moving"),
        (0, "moving", None),
        (0, "", None),
        (0, "unlocked", None),
        (1, "running", None),
        (None, "running", None),
    ],
)
def test_the_state_of_a_process(code: int | None, text: str, state: str | None) -> None:
    assert checkpoint_program.state_of(Answer(code, text)) == state


@pytest.mark.parametrize(("text", "tid"), [("123\n", 123), ("0", None), ("-1", None), ("", None), ("x1", None)])
def test_the_thread_that_restores(text: str, tid: int | None) -> None:
    assert checkpoint_program.restore_tid_of(Answer(0, text)) == tid
    assert checkpoint_program.restore_tid_of(Answer(1, text)) is None


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(1, 'Could not checkpoint on process ID 2026: "out of memory"'), "out_of_memory"),
        (Answer(1, 'Could not restore on process ID 11: "invalid argument"'), "invalid_argument"),
        (Answer(1, 'Error toggling CUDA in process ID 9: "operation not permitted"'), "no_permission"),
        (Answer(1, '"OS call failed or operation not supported on this OS"'), "os_call_failed"),
        (Answer(1, '"operation not supported"'), "not_supported"),
        (Answer(1, '"device not ready"'), "time_is_up"),
        (Answer(1, "Insufficient driver"), "driver_too_old"),
        (Answer(1, '"initialization error"'), "no_cuda_there"),
        (Answer(1, ""), "failed"),
        (Answer(-9), "killed"),
        (Answer(None, "No such file or directory"), "not_started"),
        (Answer(None, "did not end", timed_out=True), "time_is_up"),
    ],
)
def test_why_the_program_failed(answer: Answer, code: str) -> None:
    assert checkpoint_program.failure(answer) == code


def test_a_program_that_hangs_is_ended_with_what_it_started() -> None:
    # the child holds the pipe too: to end the program alone would leave us waiting for it
    script = "import os, time\nos.fork()\ntime.sleep(600)"
    answer = asyncio.run(checkpoint_program.run([sys.executable, "-S", "-c", script], 0.5))
    assert (answer.ok, answer.code, answer.timed_out) == (False, None, True)


def test_the_program_is_found_where_it_is_configured_or_on_the_path(tmp_path: Path) -> None:
    program = tmp_path / "cuda-checkpoint"
    assert checkpoint_program.find(str(program)) is None
    program.write_text("#!/bin/true\n")
    program.chmod(0o755)
    assert checkpoint_program.find(str(program)) == program.resolve()
    assert checkpoint_program.find(path=str(tmp_path)) == program.resolve()


def test_the_program_does_not_care_which_devices_we_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    script = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES', 'all'))"
    assert asyncio.run(checkpoint_program.run([sys.executable, "-S", "-c", script], 30)).text == "all"
