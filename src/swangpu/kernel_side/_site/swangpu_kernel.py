"""``swangpu.kernel_side`` for a kernel in whose Python swangpu is not installed.

This module makes itself a package whose modules are the files two folders up, so that only this folder, and nothing
else of swangpu, comes on the kernel's path.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

__path__ = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]  # noqa: PTH100, PTH120 - the fast way


def load_ipython_extension(ip: Any) -> None:
    """Make ``%gpu`` known; a kernel must start whatever happens here."""
    importlib.import_module("swangpu_kernel.magics").load_ipython_extension(ip)
