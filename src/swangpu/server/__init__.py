"""Front door one: the Jupyter Server extension."""

from __future__ import annotations

from typing import Any

__all__ = ["_jupyter_server_extension_points"]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from .extension import SwanGpu

    return [{"module": "swangpu.server", "app": SwanGpu}]
