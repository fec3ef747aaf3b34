"""What several tests of the kernel side need."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from companion_kernel import kernel, kernel_of_the_module  # noqa: F401 - fixtures, used by their names

import needs


@pytest.fixture(scope="module")
def torch() -> Iterator[Any]:
    """torch, built for CPUs; beside the environment, which would be warned about otherwise: it can't use a GPU."""
    apart = str(Path(sys.prefix) / "torch")
    sys.path.append(apart)
    try:
        import torch
    except ImportError:
        sys.path.remove(apart)
        needs.missing("torch is not installed: `make test` installs it where a build for CPUs can be had")
    torch.set_num_threads(1)
    # what is there already is none of a test's, and takes long to look through
    gc.collect()
    gc.freeze()
    yield torch
    gc.unfreeze()
    sys.path.remove(apart)
