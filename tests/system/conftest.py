"""One server for the tests that leave it as they found it, and the stand-ins of driver and CUDA."""

from __future__ import annotations

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
