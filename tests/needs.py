"""What a test needs of the machine: found wherever it lies, and missed loudly where tests decide what lands."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

USUAL = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def tool(name: str) -> str | None:
    """A program's path, also where PATH is short of the usual folders."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), USUAL]))


def missing(what: str) -> NoReturn:
    """The test can't be run here: it is skipped on somebody's laptop, and fails in continuous integration."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and in CI no test is skipped")
    pytest.skip(what)
