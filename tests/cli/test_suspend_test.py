"""``swangpu doctor --suspend-test`` as somebody at a terminal sees it, on stand-ins of driver and program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nvml.sim import NvmlSim
from suspend.sim import GPU, MODEL, CudaSim

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cuda-checkpoint is there for Linux only")

DRIVER = "580.65.06"


class Terminal:
    """Runs swangpu with the libraries and the program of a test."""

    def __init__(self, cuda: CudaSim, cuda_library: Path, nvml: NvmlSim, folder: Path) -> None:
        self.cuda = cuda
        self.nvml = nvml
        self.env = {
            **nvml.env(),
            "LD_LIBRARY_PATH": f"{nvml.library.parent}:{cuda_library}",
            "SWANGPU_CUDA_SIM": str(cuda.folder),
            "PATH": f"{cuda.bin}:{os.environ['PATH']}",
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
        }
        self.machine(MODEL)

    def machine(self, *models: str, driver: str = DRIVER, more: str = "") -> None:
        self.cuda.devices(*models)
        names = "\n".join(f"gpu.{i}.name {model}" for i, model in enumerate(models))
        self.nvml.state(f"driver {driver}\ngpus {len(models)}\n{names}\n{more}")

    def doctor(self, *words: str) -> tuple[int, list[dict[str, Any]]]:
        done = subprocess.run(
            [sys.executable, "-m", "swangpu.cli", "doctor", "--json", *words],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.stderr == "", "all that is to be said is in the findings"
        return done.returncode, json.loads(done.stdout)["findings"]

    def suspend_test(self) -> tuple[int, dict[str, dict[str, Any]]]:
        """The exit code, and the first finding of each check."""
        code, findings = self.doctor("--suspend-test")
        return code, {one["check"]: one for one in reversed(findings)}

    def is_on(self) -> dict[str, Any]:
        """What `swangpu doctor` says of it, without all the rest."""
        script = (
            "import json; from swangpu.suspend_test import suspend_findings as s; print(json.dumps(s()[0].as_json()))"
        )
        done = subprocess.run([sys.executable, "-c", script], env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said


@pytest.fixture
def terminal(cuda: CudaSim, cuda_library: Path, nvml: NvmlSim, tmp_path: Path) -> Terminal:
    return Terminal(cuda, cuda_library, nvml, tmp_path)


def test_it_is_off_until_it_was_tried_and_then_on(terminal: Terminal) -> None:
    before = next(one for one in terminal.doctor()[1] if one["check"] == "suspend")
    assert before == terminal.is_on()
    assert before["status"] == "info"
    assert "--suspend-test" in before["hint"]
    code, found = terminal.suspend_test()
    assert code == 0
    assert found["suspend"]["status"] == "ok"
    assert found["suspend"]["text"].startswith(f"{MODEL}: works.")
    assert found["remap"]["status"] == "info"
    assert "no two devices" in found["remap"]["text"]
    assert terminal.is_on()["status"] == "ok"
    assert terminal.cuda.actions() == ["lock", "checkpoint", "restore", "unlock"]
    # another program than the one that was tried
    terminal.cuda.program.write_text(terminal.cuda.program.read_text() + "\n# changed\n")
    after = terminal.is_on()
    assert (after["status"], "another" in after["text"]) == ("info", True)


def test_two_equal_devices_are_tried_with_each_other(terminal: Terminal) -> None:
    terminal.machine(MODEL, "NVIDIA L4", MODEL)
    code, findings = terminal.doctor("--suspend-test")
    assert code == 0
    good = [(one["check"], one["text"].partition(":")[0]) for one in findings if one["status"] == "ok"]
    assert sorted(good) == [("remap", MODEL), ("suspend", "NVIDIA L4"), ("suspend", MODEL)]
    assert "also on another device" in terminal.is_on()["text"]
    assert any(f"{GPU.format(0)}={GPU.format(2)}" in call for call in terminal.cuda.calls())


def test_a_driver_that_takes_no_map_is_used_without(terminal: Terminal) -> None:
    terminal.machine(MODEL, MODEL)
    terminal.cuda.faults(restore=["", "fail:invalid argument"])
    code, found = terminal.suspend_test()
    assert code == 0
    assert (found["suspend"]["status"], found["remap"]["status"]) == ("ok", "info")
    assert "own device" in found["remap"]["hint"]
    said = terminal.is_on()
    assert said["status"] == "ok"
    assert "on its own device" in said["text"]


@pytest.mark.parametrize(
    ("faults", "words", "helps"),
    [
        ({"restore": "corrupt"}, "not what was saved", "off"),
        ({"checkpoint": "keep"}, "not free", "others"),
        ({"checkpoint": "fail:out of memory"}, "not enough memory", "off"),
        ({"checkpoint": "fail:x@failed"}, "is lost", "off"),
        ({"restore": "fail:operation not permitted"}, "does not permit", "persistence"),
        ({"lock": "fail:operation not permitted"}, "does not permit", "CAP_SYS_PTRACE"),
    ],
)
def test_what_does_not_work_is_a_problem_and_stays_off(
    terminal: Terminal, faults: dict[str, str], words: str, helps: str
) -> None:
    assert terminal.suspend_test()[0] == 0
    terminal.cuda.faults(**faults)
    code, found = terminal.suspend_test()
    assert code == 1
    assert found["suspend"]["status"] == "problem"
    assert words in found["suspend"]["text"]
    assert helps in found["suspend"]["hint"]
    # it had passed before
    terminal.cuda.faults()
    assert terminal.is_on()["status"] == "info"


def test_without_driver_or_program_it_says_so(terminal: Terminal, tmp_path: Path) -> None:
    terminal.machine(MODEL, driver="535.104.05")
    code, found = terminal.suspend_test()
    assert (code, found["suspend"]["status"]) == (0, "warning")
    assert "570" in found["suspend"]["text"]
    terminal.machine("NVIDIA A100-SXM4-40GB", more="gpu.0.mig 7 1g.5gb 4864")
    assert "MIG" in terminal.suspend_test()[1]["suspend"]["text"]
    terminal.machine(MODEL)
    terminal.cuda.program.unlink()
    code, found = terminal.suspend_test()
    assert (code, found["suspend"]["status"]) == (0, "warning")
    assert "cuda-checkpoint" in found["suspend"]["text"]
    assert found["suspend"]["hint"]
    terminal.env["LD_LIBRARY_PATH"] = str(tmp_path)
    code, found = terminal.suspend_test()
    assert (code, found["suspend"]["status"]) == (0, "warning")
    assert "driver" in found["suspend"]["text"]
    assert not (terminal.cuda.folder / "calls").exists()


def test_what_could_not_be_tried_says_nothing_against_what_was(terminal: Terminal) -> None:
    assert terminal.suspend_test()[0] == 0
    terminal.cuda.devices(MODEL, size_bytes=64 * 2**20)
    code, found = terminal.suspend_test()
    assert (code, found["suspend"]["status"]) == (0, "warning")
    assert "out of memory" in found["suspend"]["text"]
    terminal.env["LD_LIBRARY_PATH"] = str(terminal.nvml.library.parent)
    code, found = terminal.suspend_test()
    assert (code, found["suspend"]["status"]) == (0, "warning")
    assert "libcuda.so.1 was not found" in found["suspend"]["text"]
    assert terminal.is_on()["status"] == "ok"
