"""Kernels behind a real agent; no server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from behind_agent import Attached
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from suspend_bench import bench, fit  # noqa: F401 - fixtures, used by their names

from suspend.sim import cuda  # noqa: F401
from swangpu.kernels.bindings import BINDINGS
from swangpu.kernels.provisioner import PROVISIONER_NAME


@pytest.fixture
def runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    factory = KernelProvisionerFactory.instance()
    monkeypatch.setattr(factory, "default_provisioner_name", PROVISIONER_NAME)
    monkeypatch.setattr(BINDINGS, "runtime_dir", tmp_path / "swangpu")
    gone: list[str] = []
    monkeypatch.setattr(BINDINGS, "gone", gone.append)
    return tmp_path / "swangpu"


@pytest.fixture
def attach(runtime_dir: Path) -> Iterator[Callable[..., Attached]]:
    """Starts kernels: ``attach("python3", {"CUDA_VISIBLE_DEVICES": …})``; env None starts a plain one."""
    started: list[Attached] = []

    def start(kernel_name: str = "python3", env: dict[str, str | None] | None = None) -> Attached:
        started.append(Attached(kernel_name, runtime_dir, env))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def kernel(attach: Callable[..., Attached]) -> Attached:
    """A Python kernel behind the agent."""
    return attach("python3", {"CUDA_VISIBLE_DEVICES": "GPU-1"})
