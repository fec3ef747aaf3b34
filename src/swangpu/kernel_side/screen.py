"""What the person sees: views, and one line that changes while they wait."""

from __future__ import annotations

import sys
from typing import Any

import IPython.display

from . import render, stack, words

__all__ = ["Progress", "Relay", "show", "warn"]

_display: Any = IPython.display.display


def show(what: Any) -> None:
    """Put something below the cell, or print it where there are no cells."""
    _display(what)


def warn() -> None:
    """Say it where no GPU library of this environment can use a GPU, before one is got."""
    found = stack.warning(stack.look())
    if found is not None:
        hint = found["params"]["hint"]
        show(render.problem(found["text"], f"What helps: `{hint}`" if hint else ""))


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


class Relay:
    """Shows what another process shows, as output of this cell.

    Parameters
    ----------
    shell : InteractiveShell
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._last = ""

    def show(self, message: dict[str, Any]) -> None:
        """One message of the other process: ``stream``, ``display``, ``clear`` or ``result``."""
        what = message["op"]
        if what == "stream":
            self._print(message["name"], message["text"])
        elif what == "display":
            self._shell.display_pub.publish(
                message["data"], message["metadata"], transient=message["transient"], update=message["update"]
            )
        elif what == "clear":
            self._shell.display_pub.clear_output(message["wait"])
        elif what == "result":
            hook = self._shell.displayhook
            hook.start_displayhook()
            hook.write_output_prompt()
            hook.write_format_data(message["data"], message["metadata"])
            hook.finish_displayhook()

    def _print(self, name: str, text: str) -> None:
        # each of the two has a buffer of its own: what was printed first is to be seen first
        if self._last not in ("", name):
            getattr(sys, self._last).flush()
        self._last = name
        getattr(sys, name).write(text)
