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
    """Make ``%gpu`` known; it is loaded when it is first used, since every kernel comes through here."""

    def gpu(line: str, cell: str | None = None) -> Any:
        """GPUs from this notebook: ``%gpu help``."""
        __tracebackhide__ = True  # what a cell raises is about the cell
        importlib.import_module("swangpu_kernel.magics").load_ipython_extension(ip)
        if cell is None:
            return ip.find_line_magic("gpu")(line)
        return ip.find_cell_magic("gpu")(line, cell)

    def complete(shell: Any, event: Any) -> list[str]:
        line = getattr(event, "text_until_cursor", event.line)
        try:
            found = importlib.import_module("swangpu_kernel.complete").candidates(line, ip.user_ns)
        except Exception:
            return []
        return list(found)

    ip.register_magic_function(gpu, "line_cell", "gpu")
    for name in ("%gpu", "%%gpu"):
        ip.set_hook("complete_command", complete, str_key=name)
