"""Whether CUDA's Multi-Process Service runs for this user."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MpsState", "find_mps"]

DEFAULT_PIPE_DIRECTORY = "/tmp/nvidia-mps"  # noqa: S108 - CUDA's own default
_PID_FILE = "nvidia-cuda-mps-control.pid"


@dataclass(frozen=True)
class MpsState:
    """``pipe_directory`` is None where no daemon of this user runs, and then ``text`` and ``hint`` say so."""

    pipe_directory: str | None
    code: str = ""
    text: str = ""
    hint: str = ""


def find_mps(
    configured: str | None = None, environ: Mapping[str, str] | None = None, uid: int | None = None
) -> MpsState:
    """Look for the control daemon where clients would look for it.

    Its socket stays behind when it ends; its file with the process id does not. An MPS server belongs to one user, so a
    daemon of somebody else is none.

    Parameters
    ----------
    configured : str, optional
        The pipe directory of the configuration.
    environ : mapping, optional
        Where ``CUDA_MPS_PIPE_DIRECTORY`` is looked up; the process's own environment by default.
    uid : int, optional
        Whose daemon; one's own by default.
    """
    environ = os.environ if environ is None else environ
    directory = configured or environ.get("CUDA_MPS_PIPE_DIRECTORY") or DEFAULT_PIPE_DIRECTORY
    try:
        pid = int((Path(directory) / _PID_FILE).read_text(encoding="ascii").strip())
        os.kill(pid, 0)
    except PermissionError:
        return _other()
    except (OSError, ValueError, OverflowError):
        return MpsState(
            None,
            "mps_not_running",
            "No MPS daemon runs for this account, so MPS shares are not offered.",
            "Start one with nvidia-cuda-mps-control -d, or cut devices into time-slices instead.",
        )
    try:
        owner = Path(f"/proc/{pid}").stat().st_uid
    except OSError:  # no /proc on this system: the signal above was allowed, so it is ours
        return MpsState(directory)
    mine = os.getuid() if uid is None else uid
    return MpsState(directory) if owner == mine else _other()


def _other() -> MpsState:
    return MpsState(
        None,
        "mps_of_other",
        "The MPS daemon here belongs to another account, so MPS shares are not offered.",
        "Start one of your own with CUDA_MPS_PIPE_DIRECTORY set, or cut devices into time-slices instead.",
    )
