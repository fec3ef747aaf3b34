"""Hands a kernel's agent what its person should know, in words that fit the kernel's language."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..ports import Remark, Saying
from .door import ask

__all__ = ["hint", "say"]

#: what helps, as it is written in a cell
MAGICS = {
    "extend": "`%gpu extend 1h` keeps it longer",
    "release": "`%gpu release` gives it back",
}
#: and as it is called in the panel, for kernels without our magics
BUTTONS = {"extend": "Extend", "release": "Release"}


async def say(socket: Path, saying: Saying, *, magics: bool) -> None:
    """Replace what the agent was told before.

    Parameters
    ----------
    magics : bool
        Whether ``%gpu`` can be typed in this kernel.

    Raises
    ------
    Unavailable
        The agent does not answer, or is of a version that can't say anything.
    """
    remarks = [_told(remark, magics) for remark in saying.remarks]
    await asyncio.to_thread(ask, socket, {"do": "say", "remarks": remarks, "waiting": saying.waiting})


def hint(actions: Iterable[str], *, magics: bool) -> str:
    """What a person can do, as one sentence; empty where that is nothing."""
    known = [name for name in actions if name in MAGICS]
    if not known:
        return ""
    if magics:
        return ", ".join(MAGICS[name] for name in known) + "."
    return f"{' or '.join(BUTTONS[name] for name in known)}: in the GPU panel."


def _told(remark: Remark, magics: bool) -> dict[str, Any]:
    text = f"{remark.text} {hint(remark.actions, magics=magics)}".rstrip()
    return {"key": remark.key, "text": text, "until": remark.until}
