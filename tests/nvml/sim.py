"""Builds the simulated NVML library and runs scripts on it, in processes of their own.

``pynvml`` loads ``libnvidia-ml.so.1`` by name, once per process, so LD_LIBRARY_PATH of a new process is the way in that
needs nothing of the product.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("nvml_sim.c")
SRC = Path(__file__).parents[2] / "src"
LIBRARY = "libnvidia-ml.so.1"

GPU = "GPU-00000000-0000-0000-0000-{:012d}"


def compilers() -> list[list[str]]:
    """The C compilers here, the installed ones first, then the one from PyPI."""
    found = [[path] for name in ("cc", "gcc", "clang") if (path := shutil.which(name))]
    return [*found, [sys.executable, "-m", "ziglang", "cc"]]


def build(folder: Path) -> Path:
    """The library, compiled into a folder."""
    target = folder / LIBRARY
    said = []
    for compiler in compilers():
        command = [*compiler, "-shared", "-fPIC", "-O1", "-o", str(target), str(SOURCE), "-lpthread"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return target
        said.append(done.stderr)
    pytest.fail("No C compiler works here (pip install ziglang brings one):\n" + "\n".join(said))


class NvmlSim:
    """A state file of the simulated library, and processes that run on it."""

    def __init__(self, library: Path, folder: Path) -> None:
        self.library = library
        self.folder = folder
        self.state_file = folder / "state"
        self.calls_file = folder / "calls"

    def state(self, text: str) -> None:
        """Set the state, in one step for whoever reads it."""
        new = self.folder / "state.new"
        new.write_text(textwrap.dedent(text).strip() + "\n")
        new.replace(self.state_file)

    def variables(self, *, library: bool = True) -> dict[str, str]:
        """What makes a process load the library, or (``library`` false) find none."""
        variable = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
        return {
            "SWANGPU_NVML_SIM": str(self.state_file),
            "SWANGPU_NVML_SIM_CALLS": str(self.calls_file),
            variable: str(self.library.parent) if library else str(self.folder),
        }

    def env(self, *, library: bool = True) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("COV", "PYTEST"))}
        env["PYTHONPATH"] = os.pathsep.join([str(SRC), str(SOURCE.parents[1])])
        return {**env, **self.variables(library=library)}

    def run(self, script: str, *, library: bool = True, timeout_s: float = 60.0) -> str:
        """Run a script; what it prints. Anything that looks like a traceback in its log fails the test."""
        prelude = (
            "import logging, pathlib, sys, time\n"
            "logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)\n"
            "from nvml.child import *\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", prelude + textwrap.dedent(script)],
            env=self.env(library=library),
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    def calls(self) -> Counter[str]:
        """Calls by function."""
        return Counter(line.split()[0] for line in self.calls_file.read_text().splitlines())

    def threads(self) -> set[str]:
        """The threads that called."""
        return {line.split()[1] for line in self.calls_file.read_text().splitlines()}


@pytest.fixture(scope="session")
def nvml_library() -> object:
    with tempfile.TemporaryDirectory(prefix="swangpu-nvml-") as folder:
        yield build(Path(folder))


@pytest.fixture
def nvml(nvml_library: Path, tmp_path: Path) -> NvmlSim:
    sim = NvmlSim(nvml_library, tmp_path)
    sim.state("gpus 1")
    return sim
