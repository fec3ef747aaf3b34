"""Has this process touched CUDA, and does it see a device?

CUDA reads ``CUDA_VISIBLE_DEVICES`` once, when it is initialised (``cuInit``). Before that a process can be put on a
share by its environment; afterwards only a restart helps.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["follow", "move", "sees", "touched", "why_touched"]

#: answer of every driver call before ``cuInit``
CUDA_ERROR_NOT_INITIALIZED = 3
MAPS = Path("/proc/self/maps")


def touched() -> bool:
    """Whether CUDA has been initialised in this process."""
    return why_touched() is not None


def why_touched() -> str | None:
    """In plain words what shows that CUDA was used here, or None. When in doubt it was used."""
    torch: Any = sys.modules.get("torch")
    try:
        if torch is not None and torch.cuda.is_initialized():
            return "torch has used CUDA in this kernel"
    except Exception:  # noqa: S110 - half-imported or without CUDA: the driver knows better
        pass
    if not _loaded("libcuda.so"):
        return None
    state = _driver_state()
    if state == CUDA_ERROR_NOT_INITIALIZED:
        return None
    return "CUDA has been used in this kernel" if state is not None else "CUDA's driver is loaded in this kernel"


def move(env: Mapping[str, str | None]) -> dict[str, Any]:
    """Put this process on another share, by its environment; None unsets a variable.

    Returns
    -------
    dict
        ``{"ok", "error"}``: once CUDA has been initialised it can't be done, unless it is on that device already.
    """
    why = why_touched()
    if why is not None and env.get("CUDA_VISIBLE_DEVICES") != os.environ.get("CUDA_VISIBLE_DEVICES"):
        return {"ok": False, "error": f"It could go on with another GPU only before the first use of one: {why}."}
    return follow(env)


def follow(env: Mapping[str, str | None]) -> dict[str, Any]:
    """Have the environment say where this process is: the driver may have put it on another device of the same model.

    CUDA here goes on under the ordinals that it knew. What reads the environment later, and processes that are started
    from here, find the new device.
    """
    for name, value in env.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return {"ok": True, "error": None}


def sees(uuid: str) -> bool | None:
    """Whether a device or MIG device can be used from here; None when there is no driver to ask."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        if nvml.nvmlInit_v2() != 0:
            return False
        try:
            handle = ctypes.c_void_p()
            return bool(nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)) == 0)
        finally:
            nvml.nvmlShutdown()
    except (OSError, AttributeError):
        return None


def _loaded(library: str) -> bool:
    try:
        return library in MAPS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        # no /proc (macOS): there is no CUDA either
        return False


def _driver_state() -> int | None:
    """What the driver that is loaded here answers to a call that initialises nothing."""
    try:
        mode = getattr(os, "RTLD_NOLOAD", 4) | getattr(os, "RTLD_LAZY", 1)
        count = ctypes.c_int()
        return int(ctypes.CDLL("libcuda.so.1", mode=mode).cuDeviceGetCount(ctypes.byref(count)))
    except (OSError, AttributeError):
        return None
