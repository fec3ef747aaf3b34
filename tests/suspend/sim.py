"""The stand-ins of CUDA: a program for ``cuda-checkpoint``, a library for the driver's, and processes that count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from nvml.sim import compilers
from swangpu.kernels.checkpoint import DeviceReading, Held
from swangpu.kernels.checkpoint_machine import DeviceFacts, Machine

PROGRAM = Path(__file__).with_name("cuda_checkpoint.py")
LIBRARY = Path(__file__).with_name("cuda_sim.c")

GPU = "GPU-00000000-0000-0000-0000-{:012d}"
MODEL = "Tesla T4"
MIB = 2**20

#: counts on its standard output, a line each time it is asked to
COUNTER = """
import sys
count = 0
for line in sys.stdin:
    count += 1
    print(count, flush=True)
"""


class Counter:
    """A process that counts: it says the next number when it is asked, unless it is stopped."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", COUNTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.pid = self.process.pid
        assert self.count() == 1

    def ask(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    def answer(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def count(self) -> int:
        self.ask()
        return self.answer()

    def has_stopped(self) -> bool:
        """Once the system says so; a process that goes on makes this wait until the test's time is up."""
        return os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT) is not None

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


class HasPid(Protocol):
    """What the stand-ins want to know of a process."""

    @property
    def pid(self) -> int: ...


class CudaSim:
    """The folder that program and library share, and processes in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cuda"
        self.folder.mkdir()
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.program = self.bin / "cuda-checkpoint"
        self.program.write_text(f"#!{sys.executable} -SE\n{PROGRAM.read_text()}")
        self.program.chmod(0o755)
        self.processes: list[Counter] = []
        self.devices(MODEL)

    def devices(self, *models: str, size_bytes: int = 15 * 2**30) -> None:
        lines = [f"{GPU.format(i)} {size_bytes} {model}\n" for i, model in enumerate(models)]
        (self.folder / "devices").write_text("".join(lines))
        self.facts = tuple(DeviceFacts(GPU.format(i), m, free_bytes=size_bytes) for i, m in enumerate(models))

    def faults(self, **faults: str | list[str]) -> None:
        named = {name.replace("get_", "get-").replace("restore_tid", "restore-tid"): f for name, f in faults.items()}
        (self.folder / "faults.json").write_text(json.dumps(named))

    def counter(self, size_bytes: int = 64 * MIB, device: int = 0) -> Counter:
        """A process that counts and uses so much of a device; 0 bytes: none that uses CUDA."""
        counter = Counter()
        self.processes.append(counter)
        if size_bytes:
            (self.folder / f"{counter.pid}.mem").write_text(f"{GPU.format(device)} {size_bytes}\n")
        return counter

    def state(self, process: Counter) -> str:
        path = self.folder / f"{process.pid}.state"
        return path.read_text().strip() if path.exists() else "running"

    def set_state(self, process: Counter, state: str) -> None:
        (self.folder / f"{process.pid}.state").write_text(state)

    def on_device(self, process: HasPid) -> list[str]:
        return [line.split()[0] for line in (self.folder / f"{process.pid}.mem").read_text().splitlines()]

    def actions(self) -> list[str]:
        """The phases that were asked for, in order."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [words[1] for words in map(str.split, lines) if words[0] == "--action"]

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


class View:
    """The driver as swangpu sees it, out of the same folder. ``visible``: whether it shows processes."""

    def __init__(self, sim: CudaSim, *, visible: bool = True, driver: str = "580.65.06") -> None:
        self.sim = sim
        self.visible = visible
        self.driver = driver
        #: what is used of each device without any process
        self.kept_bytes: int | None = None

    def read(self) -> DeviceReading:
        return DeviceReading(self.driver, tuple(replace(d, used_bytes=self._used(d.uuid)) for d in self.sim.facts))

    def _used(self, uuid: str) -> int | None:
        pids = [process.pid for process in self.sim.processes]
        held = sum(one.memory_bytes or 0 for one in self._held(pids) if one.device_uuid == uuid)
        return None if self.kept_bytes is None else self.kept_bytes + held

    def held_by(self, pids: Collection[int]) -> Sequence[Held] | None:
        return self._held(pids) if self.visible else None

    def _held(self, pids: Collection[int]) -> list[Held]:
        held = []
        for pid in pids:
            memory, state = self.sim.folder / f"{pid}.mem", self.sim.folder / f"{pid}.state"
            if memory.exists() and not (state.exists() and state.read_text().strip() == "checkpointed"):
                for line in memory.read_text().splitlines():
                    uuid, size = line.split()
                    held.append(Held(pid, uuid, int(size)))
        return held


def machine(sim: CudaSim, **changes: object) -> Machine:
    facts: dict[str, object] = {
        "system": "linux",
        "architecture": "x86_64",
        "boot_id": "boot",
        "user_id": os.getuid(),
        "driver_version": "580.65.06",
        "program": sim.program,
        "program_digest": "digest",
        "may_trace": True,
        **changes,
    }
    return Machine(**facts)  # type: ignore[arg-type]


@pytest.fixture
def cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CudaSim]:
    sim = CudaSim(tmp_path)
    monkeypatch.setenv("SWANGPU_CUDA_SIM", str(sim.folder))
    yield sim
    for process in sim.processes:
        process.end()


@pytest.fixture(scope="session")
def cuda_library() -> Iterator[Path]:
    """The folder with the driver's library."""
    with tempfile.TemporaryDirectory(prefix="swangpu-cuda-") as folder:
        said = []
        for compiler in compilers():
            target = Path(folder) / "libcuda.so.1"
            command = [*compiler, "-shared", "-fPIC", "-O1", "-o", str(target), str(LIBRARY)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                break
            said.append(done.stderr)
        else:
            pytest.fail("No C compiler works here (pip install ziglang brings one):\n" + "\n".join(said))
        yield Path(folder)
