"""What the person sees: views, and one line that changes while they wait."""

from __future__ import annotations

from typing import Any

import IPython.display

from . import render, words

__all__ = ["Progress", "show"]

_display: Any = IPython.display.display


def show(what: Any) -> None:
    """Put something below the cell, or print it where there are no cells."""
    _display(what)


class Progress:
    """One line that changes, instead of one more line each second."""

    def __init__(self) -> None:
        self._handle: Any = None

    def say(self, *lines: str) -> None:
        view = render.note(*lines)
        if self._handle is None:
            self._handle = _display(view, display_id=True)
        else:
            self._handle.update(view)

    def queue(self, session: dict[str, Any]) -> None:
        """Where a session is in the queue."""
        self.say(
            f"{words.title(session)}: {words.state(session)}.",
            "Stop this cell to go on meanwhile; you keep your place.",
        )
