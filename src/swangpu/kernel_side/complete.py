"""Completion after ``%gpu``: verbs, options, flavors and pools."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from .api import ApiError, find
from .grammar import VERBS
from .reading import is_theirs

__all__ = ["candidates", "register"]

#: people press Tab in the middle of a thought
TIMEOUT_S = 0.5
KEEP_S = 15.0

_OPTIONS = {
    "get": ["--for", "--on", "--notify"],
    "cluster": ["get", "--for", "--on"],
    "release": ["--drop"],
    "profile": ["on", "off"],
}
_DURATIONS = ["30min", "1h", "2h", "4h", "8h"]
_kept: tuple[float, list[str], list[str]] = (-KEEP_S, [], [])


def candidates(line: str, variables: Iterable[str] = ()) -> list[str]:
    """What could stand at the end of a line of ``%gpu`` or ``%%gpu``; ``variables`` are the notebook's."""
    words = line.split()
    # the word that is being written; empty behind a space
    begun = "" if line[-1:].isspace() else words.pop()
    if not words:
        return []
    cell, before = words[0].startswith("%%"), words[1:]
    last = before[-1] if before else ""
    if last in ("--for", "--warm") or (before[:1] == ["extend"] and len(before) == 1):
        found = _DURATIONS if last != "--warm" else ["30s", "60s", "5min"]
    elif last == "--on":
        found = _known()[1]
    elif cell and last in ("-i", "-o"):
        # completed one by one: IPython takes what follows a comma for a word of its own
        *named, begun = begun.split(",")
        found = [name for name in sorted(variables) if is_theirs(name) and name not in named]
    elif not before and not cell:
        found = [verb for verb in VERBS if verb]
    else:
        verb = "cell" if cell else before[0]
        options = ["--warm", "--on", "--profile", "-i", "-o"] if cell else _OPTIONS.get(verb, [])
        asks = cell or verb == "get" or before[:2] == ["cluster", "get"]
        has_wanted = any(not word.startswith("-") for word in (before if cell else before[1:]))
        found = [option for option in options if option not in before]
        found = (_known()[0] if asks and not has_wanted else []) + found
    return [one for one in found if one.startswith(begun)]


def _known() -> tuple[list[str], list[str]]:
    """Flavors and pools, asked seldom and quickly; none when the server does not answer."""
    global _kept
    at, flavors, pools = _kept
    if time.monotonic() - at >= KEEP_S:
        try:
            found = find().pools(timeout_s=TIMEOUT_S)
            flavors = sorted({str(f["name"]) for pool in found for f in pool.get("flavors") or []})
            pools = sorted(str(pool["name"]) for pool in found)
        except (ApiError, KeyError, TypeError):
            flavors, pools = [], []
        _kept = (time.monotonic(), flavors, pools)
    return flavors, pools


def register(ip: Any) -> None:
    """Hook into IPython's completion."""

    def complete(shell: Any, event: Any) -> list[str]:
        try:
            line = event.text_until_cursor if hasattr(event, "text_until_cursor") else event.line
            return candidates(line, shell.user_ns)
        except Exception:
            return []

    for name in ("%gpu", "%%gpu"):
        ip.set_hook("complete_command", complete, str_key=name)
