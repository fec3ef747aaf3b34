"""Whether this process has used CUDA is asked of the driver that is loaded, by a call that initialises nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from nvml.sim import compilers
from swangpu.kernel_side import cuda

DRIVER = """
static int ready = 0;
int cuInit(unsigned flags) { ready = 1; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return ready ? 0 : 3; }
"""
PROGRAM = """
import ctypes, sys
sys.path.insert(0, sys.argv[1])
from swangpu_kernel import cuda
said = [cuda.touched()]
driver = ctypes.CDLL("libcuda.so.1")
said.append(cuda.touched())
driver.cuInit(0)
said.append(cuda.touched())
print(said)
"""
SITE = Path(cuda.__file__).parent / "_site"


@pytest.mark.skipif(sys.platform != "linux", reason="CUDA's driver is looked for in /proc")
def test_loading_the_driver_is_not_using_it(tmp_path: Path) -> None:
    source = tmp_path / "driver.c"
    source.write_text(DRIVER)
    library = tmp_path / "libcuda.so.1"
    options = ["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(library), str(source)]
    subprocess.run([*compilers()[0], *options], check=True)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(SITE)],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[False, False, True]"


def test_this_process_has_not_used_it() -> None:
    assert cuda.why_touched() is None


def test_torch_is_asked_only_when_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = types.SimpleNamespace(cuda=types.SimpleNamespace(is_initialized=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert "torch" in str(cuda.why_touched())
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace())
    assert cuda.why_touched() is None


def test_when_in_doubt_it_was_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text("7f0000000000-7f0000001000 r-xp 00000000 08:01 1 /odd/libcuda.so.550.1\n")
    monkeypatch.setattr(cuda, "MAPS", maps)
    monkeypatch.setattr(cuda, "_driver_state", lambda: None)
    assert cuda.touched()


def test_no_driver_sees_nothing() -> None:
    assert not cuda.sees("GPU-00000000-0000-0000-0000-000000000000")


def test_a_process_is_moved_only_before_it_has_used_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
    monkeypatch.setenv("SWANGPU_MEMORY_LIMIT_BYTES", "1")
    assert cuda.move({"CUDA_VISIBLE_DEVICES": "GPU-2", "SWANGPU_MEMORY_LIMIT_BYTES": None}) == {
        "ok": True,
        "error": None,
    }
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-2"
    assert "SWANGPU_MEMORY_LIMIT_BYTES" not in os.environ
    torch = types.SimpleNamespace(cuda=types.SimpleNamespace(is_initialized=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", torch)
    refused = cuda.move({"CUDA_VISIBLE_DEVICES": "GPU-3"})
    assert not refused["ok"]
    assert "torch has used CUDA in this kernel" in refused["error"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-2"
    assert cuda.move({"CUDA_VISIBLE_DEVICES": "GPU-2", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"})["ok"], "it is there already"
    assert cuda.follow({"CUDA_VISIBLE_DEVICES": "GPU-3"})["ok"], "the driver has put it there"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-3"
