"""GPU libraries are recognised from their files, never by importing them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from swangpu.kernel_side import stack


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python with nothing but what a test puts there."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in ("CONDA_PREFIX", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def package(site: Path, name: str, files: dict[str, str] | None = None, dist: tuple[str, str] | None = None) -> None:
    folder = site / name
    folder.mkdir()
    (folder / "__init__.py").write_text("raise AssertionError('imported')\n")
    for path, content in (files or {}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    if dist is not None:
        info = site / f"{dist[0].replace('-', '_')}-{dist[1]}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist[0]}\nVersion: {dist[1]}\n")


def only(findings: list[dict[str, Any]]) -> dict[str, Any]:
    assert len(findings) == 1
    return findings[0]


@pytest.mark.parametrize(
    ("said", "version", "cuda"),
    [
        ("cuda: Optional[str] = '12.4'\nhip = None\n", "2.5.1+cu124", True),
        ("cuda = None\nhip: Optional[str] = None\n", "2.5.1+cpu", False),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.1'\n", "2.5.1+rocm6.1", False),
    ],
)
def test_torch(site: Path, said: str, version: str, cuda: bool) -> None:
    package(site, "torch", {"version.py": f"__version__ = '{version}'\n{said}"})
    found = only(stack.look())
    assert (found["package"], found["version"], found["cuda"]) == ("torch", version, cuda)


@pytest.mark.parametrize(("library", "cuda"), [("lib/libtorch_cuda.so", True), ("lib/libtorch_cpu.so", False)])
def test_torch_without_its_version_file(site: Path, library: str, cuda: bool) -> None:
    package(site, "torch", {library: ""}, ("torch", "2.1.0"))
    assert only(stack.look())["cuda"] is cuda


@pytest.mark.parametrize(("flag", "cuda"), [("True", True), ("False", False)])
def test_tensorflow(site: Path, flag: str, cuda: bool) -> None:
    info = f"build_info = collections.OrderedDict([('is_cuda_build', {flag}), ('is_rocm_build', False)])"
    package(site, "tensorflow", {"python/platform/build_info.py": info}, ("tensorflow", "2.17.0"))
    found = only(stack.look())
    assert (found["version"], found["cuda"]) == ("2.17.0", cuda)


def test_jax_needs_its_plugin(site: Path) -> None:
    package(site, "jax", dist=("jax", "0.4.35"))
    package(site, "jaxlib", dist=("jaxlib", "0.4.35"))
    assert only(stack.look())["cuda"] is False
    package(site, "jax_cuda12_plugin", {"xla.so": ""})
    assert only(stack.look())["cuda"] is True


def test_cupy_and_numba(site: Path) -> None:
    package(site, "cupy", dist=("cupy-cuda12x", "13.3.0"))
    package(site, "numba", dist=("numba", "0.60.0"))
    found = {one["package"]: one for one in stack.look()}
    assert found["cupy"]["cuda"] is True
    assert found["cupy"]["version"] == "13.3.0"
    assert found["numba"]["cuda"] in (None, True)


def test_a_cpu_only_environment_is_said(site: Path) -> None:
    assert stack.warning(stack.look()) is None
    package(site, "torch", {"version.py": "__version__ = '2.5.1+cpu'\ncuda = None\n"})
    warned = stack.check()["warning"]
    assert warned is not None
    assert warned["code"] == "cpu_only_stack"
    assert "torch 2.5.1+cpu" in warned["text"]
    package(site, "cupy", dist=("cupy-cuda12x", "13.3.0"))
    assert stack.warning(stack.look()) is None


def test_broken_packages_are_passed_over(site: Path) -> None:
    (site / "torch").mkdir()
    package(site, "tensorflow", {"python/platform/build_info.py": "\x00\xff"})
    assert {one["package"]: one["cuda"] for one in stack.look()} == {"tensorflow": None}
