"""Jupyter's own idle limit of kernels."""

from __future__ import annotations

from typing import Any

__all__ = ["idle_limit_s"]


def idle_limit_s(manager: Any, kernel_id: str) -> float | None:
    """After how long without a cell a server shuts a kernel down; None where it does not.

    Parameters
    ----------
    manager : MappingKernelManager
    """
    limit_s = getattr(manager, "cull_idle_timeout", 0)
    connected = bool(getattr(manager, "_kernel_connections", {}).get(kernel_id, 0))
    if limit_s <= 0 or (connected and not getattr(manager, "cull_connected", False)):
        return None
    return float(limit_s)
