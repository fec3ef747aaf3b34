"""Puts the kernel side of a server together: provisioner, host, and what every kernel is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..kernels.bindings import BINDINGS
from ..kernels.host import JupyterKernelHost
from .service import Settings

__all__ = ["make_kernel_host"]


def make_kernel_host(app: Any, settings: Settings) -> JupyterKernelHost:
    """The host of this server's kernels.

    Every kernel is told where our API is; the token is in a file that only its owner can read, since environments
    are seen by whoever may list processes.
    """
    token_file = Path(settings.runtime_dir) / f"token-{settings.token[:8]}"
    token_file.touch(mode=0o600)
    token_file.write_text(settings.token)
    told = {"SWANGPU_API_URL": settings.url, "SWANGPU_API_TOKEN_FILE": str(token_file)}
    BINDINGS.kernel_env = lambda kernel_id: told
    BINDINGS.runtime_dir = settings.runtime_dir
    return JupyterKernelHost(app.kernel_manager, app.session_manager)
