"""What every kernel of this server is told, from its start on: whether one gets a GPU is known only later."""

from __future__ import annotations

from pathlib import Path

from ..kernels.bindings import BINDINGS

__all__ = ["tell_kernels"]


def tell_kernels(runtime_dir: Path, url: str, token: str) -> None:
    """Tell the provisioner where our API is, and where agents go.

    The token is in a file that only its owner can read, since environments are seen by whoever may list processes.
    """
    token_file = runtime_dir / f"token-{token[:8]}"
    token_file.touch(mode=0o600)
    token_file.write_text(token)
    told = {"SWANGPU_API_URL": url, "SWANGPU_API_TOKEN_FILE": str(token_file)}
    BINDINGS.kernel_env = lambda kernel_id: told
    BINDINGS.runtime_dir = runtime_dir
