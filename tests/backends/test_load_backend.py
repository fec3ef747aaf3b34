"""Backends are found by entry points, also those of packages that know nothing of this one's insides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from swangpu.backends import backend_names, load_backend
from swangpu.errors import Misconfigured

SRC = Path(__file__).parents[2] / "src"
EXAMPLE = Path(__file__).parent / "example"


def test_ours_is_there_without_being_asked_for() -> None:
    assert "local" in backend_names()
    assert load_backend("local").__name__ == "LocalBackend"


def test_a_package_from_outside_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)
    assert {"example", "local"} <= set(backend_names())
    assert load_backend("example")().name == "example"


def test_what_is_missing_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)
    with pytest.raises(Misconfigured) as caught:
        load_backend("needs-sdk")
    assert caught.value.code == "backend_not_installed"
    assert "pip install 'swangpu[dask]'" in caught.value.hint
    with pytest.raises(Misconfigured) as caught:
        load_backend("gone")
    assert "NoSuchBackend" in caught.value.detail
    with pytest.raises(Misconfigured) as caught:
        load_backend("nothing")
    assert "local" in caught.value.hint


def test_importing_backends_imports_no_sdk() -> None:
    code = (
        "import sys; from swangpu.backends import load_backend; load_backend('local'); import swangpu.telemetry.nvml, "
        "swangpu.telemetry.sampler, swangpu.telemetry.prometheus; "
        "bad = {'pynvml', 'prometheus_client', 'sqlalchemy', 'msgspec', 'psutil', 'httpx'} & set(sys.modules); "
        "sys.exit(str(bad) if bad else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(SRC), "PATH": ""}).returncode == 0
