"""Where it is recorded that ``swangpu doctor --suspend-test`` has passed on this machine.

A driver says that it can suspend and then can't, so nobody's kernel is suspended where it was not tried. The record is
believed only as long as all is as it was: the same boot, driver, program, account and model of device.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import registry

__all__ = ["Passed", "digest", "read", "record_path", "same_place", "write"]

VERSION = 1
_MOST_BYTES = 100_000


@dataclass(frozen=True)
class Passed:
    """What was tried here with success. ``remaps``: by model of device, whether it came back on another of its kind."""

    boot_id: str
    driver_version: str
    program_digest: str
    user_id: int
    remaps: Mapping[str, bool] = field(default_factory=dict)
    tried_at: float = 0.0


def record_path(folder: Path | None = None) -> Path:
    """The record of this machine; a home that several machines mount holds one for each.

    It is always in Jupyter's data directory: command line and server must look in the same place, whatever either is
    configured to.
    """
    if folder is None:
        from jupyter_core.paths import jupyter_data_dir

        folder = Path(jupyter_data_dir()) / "swangpu"
    host = "".join(c if c.isalnum() or c in "-." else "-" for c in registry.claim())[:100] or "host"
    return folder / f"suspend-test-{host}.json"


def read(path: Path) -> Passed | None:
    """The record, or None when it is missing, damaged, of another version or not ours to trust."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_uid != os.getuid():
                return None
            said = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError):
        return None
    if not isinstance(said, dict) or said.get("version") != VERSION:
        return None
    remaps = said.get("remaps")
    texts = [said.get(name) for name in ("boot_id", "driver_version", "program_digest")]
    if not isinstance(remaps, dict) or not all(isinstance(text, str) and text for text in texts):
        return None
    user_id, tried_at = said.get("user_id"), said.get("tried_at")
    if not isinstance(user_id, int) or not isinstance(tried_at, int | float):
        return None
    good = {model: able is True for model, able in remaps.items() if isinstance(model, str)}
    return Passed(str(texts[0]), str(texts[1]), str(texts[2]), user_id, good, float(tried_at))


def write(path: Path, passed: Passed) -> None:
    """Replace the record at once."""
    registry.write(
        path,
        {
            "version": VERSION,
            "boot_id": passed.boot_id,
            "driver_version": passed.driver_version,
            "program_digest": passed.program_digest,
            "user_id": passed.user_id,
            "remaps": dict(passed.remaps),
            "tried_at": passed.tried_at or time.time(),
        },
    )


def same_place(passed: Passed, boot_id: str, driver_version: str, program_digest: str, user_id: int) -> bool:
    """Whether what was tried then says anything of now."""
    then = (passed.boot_id, passed.driver_version, passed.program_digest, passed.user_id)
    return then == (boot_id, driver_version, program_digest, user_id)


def digest(program: Path) -> str:
    """Which program it is; empty when it can't be read."""
    try:
        with program.open("rb") as file:
            found = hashlib.sha256()
            for block in iter(lambda: file.read(1 << 20), b""):
                found.update(block)
    except OSError:
        return ""
    return found.hexdigest()
