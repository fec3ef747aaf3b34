"""Spans of time in the broker's English sentences."""

from __future__ import annotations

__all__ = ["span"]


def span(seconds: float) -> str:
    """``45 s``, ``10 min``, ``2 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes <= 90 else f"{round(minutes / 60)} h"
