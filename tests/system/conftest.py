"""One server for the tests that leave it as they found it, and the stand-ins of driver and CUDA."""

from __future__ import annotations

import fcntl
import os
import subprocess
import venv
from collections.abc import Iterator

import pytest
from suspending_site import site  # noqa: F401 - a fixture, used by its name

from nvml.sim import nvml, nvml_library  # noqa: F401
from server_process import ServerProcess, server
from suspend.sim import cuda  # noqa: F401


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server(tmp_path_factory.mktemp("live"), "--SwanGpu.undo_s=2") as one:
        yield one


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has ipykernel and nothing of ours; made once for all processes of tests."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    python, ready = str(folder / "bare" / "bin" / "python"), folder / "bare" / "ready"
    with (folder / "bare.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            venv.create(folder / "bare", with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", "ipykernel"], check=True)
            ready.touch()
    return python
