"""Which GPU libraries this environment has, and whether they can use a GPU, without importing any of them.

Importing a framework costs seconds and may touch CUDA; a few small files tell the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

__all__ = ["check", "look", "warning"]

Finding = dict[str, Any]

HINTS = {
    "torch": "pip install torch, from an index of CUDA builds",
    "tensorflow": "pip install 'tensorflow[and-cuda]'",
    "jax": "pip install 'jax[cuda12]'",
    "cupy": "pip install cupy-cuda12x",
    "numba": "pip install 'numba-cuda[cu12]'",
}


def look() -> list[Finding]:
    """What is there, as `swangpu.wire.StackFinding` has it. Never raises.

    ``cuda`` is true for a CUDA build, false where it can't use an NVIDIA GPU, and None where that is not known.
    """
    found: list[Finding] = []
    for package, examine in _EXAMINERS.items():
        try:
            finding = examine()
        except Exception:  # noqa: S112 - a broken package is no reason to refuse a GPU
            continue
        if finding is not None:
            version, cuda, text = finding
            found.append({"package": package, "version": version, "cuda": cuda, "text": text})
    return found


def check() -> dict[str, Any]:
    """What is there, and what is to be said about it: ``{"stack": [...], "warning": ... or None}``."""
    found = look()
    return {"stack": found, "warning": warning(found)}


def warning(findings: list[Finding]) -> dict[str, Any] | None:
    """A sentence when there are GPU libraries and none of them can use a GPU; a `swangpu.wire.ReasonView`."""
    if not findings or any(finding["cuda"] is not False for finding in findings):
        return None
    names = [f"{f['package']} {f['version']}" if f["version"] else str(f["package"]) for f in findings]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    can = "can't use a GPU: it is a build" if len(names) == 1 else "can't use a GPU: they are builds"
    first = findings[0]["package"]
    return {
        "code": "cpu_only_stack",
        "params": {"packages": listed, "package": first, "hint": HINTS.get(first, "")},
        "text": f"In this environment {listed} {can} for CPUs only.",
    }


def _torch() -> tuple[str | None, bool | None, str] | None:
    folder = _folder("torch")
    if folder is None:
        return None
    said = _read(folder / "version.py")
    version = _version("torch") or _match(r"__version__\s*=\s*['\"]([^'\"]+)", said)
    cuda = _match(r"^cuda\b[^=\n]*=\s*['\"]([^'\"]+)", said)
    if cuda:
        return version, True, f"built for CUDA {cuda}"
    if _match(r"^hip\b[^=\n]*=\s*['\"]([^'\"]+)", said):
        return version, False, "built for AMD GPUs"
    if said and re.search(r"^cuda\b[^=\n]*=\s*None", said, re.MULTILINE):
        return version, False, "built for CPUs only"
    if (folder / "lib" / "libtorch_cuda.so").exists():
        return version, True, "built for CUDA"
    return version, (False if (folder / "lib").is_dir() else None), "built for CPUs only"


def _tensorflow() -> tuple[str | None, bool | None, str] | None:
    folder = _folder("tensorflow")
    if folder is None:
        return None
    names = ("tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tensorflow-intel", "tensorflow-macos")
    version = next((v for v in map(_version, names) if v), None)
    said = _read(folder / "python" / "platform" / "build_info.py")
    is_cuda = _match(r"is_cuda_build['\"]?\s*[,:=]\s*(True|False)", said)
    if is_cuda is not None:
        return version, is_cuda == "True", "built for CUDA" if is_cuda == "True" else "built for CPUs only"
    if _version("tensorflow-cpu"):
        return version, False, "built for CPUs only"
    return version, None, "not known whether it is built for CUDA"


def _jax() -> tuple[str | None, bool | None, str] | None:
    folder = _folder("jaxlib")
    if folder is None or _folder("jax") is None:
        return None
    version = _version("jax") or _version("jaxlib")
    plugins = [f"jax_cuda{major}_plugin" for major in (11, 12, 13, 14)]
    with_cuda = any(_folder(name) for name in plugins)
    older = (folder / "cuda").is_dir() or "cuda" in (_version("jaxlib") or "")
    if with_cuda or older:
        return version, True, "with its CUDA plugin" if with_cuda else "built for CUDA"
    return version, False, "without its CUDA plugin, so for CPUs only"


def _cupy() -> tuple[str | None, bool | None, str] | None:
    if _folder("cupy") is None:
        return None
    for name in _installed():
        if re.fullmatch(r"cupy-rocm-[\d-]+", name):
            return _version(name), False, "built for AMD GPUs"
        if re.fullmatch(r"cupy-cuda\d+x?", name):
            return _version(name), True, f"built for CUDA {name[9:].rstrip('x')}"
    return _version("cupy"), True, "built for CUDA"


def _numba() -> tuple[str | None, bool | None, str] | None:
    if _folder("numba") is None:
        return None
    version = _version("numba")
    if _folder("numba_cuda") is not None:
        return version, True, "with numba-cuda"
    prefixes = [os.environ.get(name) for name in ("CONDA_PREFIX", "CUDA_HOME", "CUDA_PATH")]
    for prefix in filter(None, [*prefixes, "/usr/local/cuda"]):
        for place in ("lib", "lib64", "nvvm/lib64", "Library/bin"):
            if (Path(prefix) / place / "libnvvm.so").exists():
                return version, True, "with NVIDIA's toolkit"
    return version, None, "can use a GPU only with NVIDIA's toolkit, which was not found"


_EXAMINERS = {"torch": _torch, "tensorflow": _tensorflow, "jax": _jax, "cupy": _cupy, "numba": _numba}


def _folder(name: str) -> Path | None:
    """Where a package lies. `PathFinder` looks at the path only: nothing of the package runs."""
    spec = PathFinder.find_spec(name)
    if spec is None:
        return None
    if spec.origin and spec.origin.endswith(("__init__.py", "__init__.pyc")):
        return Path(spec.origin).parent
    locations = list(spec.submodule_search_locations or [])
    # an empty folder of that name is no library
    return Path(locations[0]) if locations and any(Path(locations[0]).iterdir()) else None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except Exception:
        return None


def _installed() -> Iterator[str]:
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            yield str(name).lower()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:100_000]
    except OSError:
        return ""


def _match(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1) if found else None
