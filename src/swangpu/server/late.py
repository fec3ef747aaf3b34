"""Handlers that are made when somebody first asks: most servers start, and end, without a look at a GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import PathMatches, Router
from tornado.web import Application, ErrorHandler

__all__ = ["LateHandlers"]

log = logging.getLogger(__name__)


class LateHandlers(Router):
    """A router for all that is below one path.

    Parameters
    ----------
    application : Application
    make : callable
        Gives ``(pattern, class)`` pairs, the first that fits counts. Called once, at the first request. If it fails,
        that is logged and answered with 500, and the next request tries again.
    """

    def __init__(self, application: Application, make: Callable[[], Sequence[tuple[str, type]]]) -> None:
        self._application = application
        self._make = make
        self._table: list[tuple[PathMatches, type]] | None = None

    def mount(self, pattern: str) -> None:
        """Let the application find us; Jupyter's own way in is for classes, which do not exist yet."""
        # Jupyter's `add_handlers` looks into a class, to warn of one that lets everybody in
        Application.add_handlers(self._application, ".*$", [(pattern, self)])

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        if self._table is None:
            try:
                self._table = [(PathMatches(pattern), handler) for pattern, handler in self._make()]
            except Exception:
                # Whatever it is (a package that is being upgraded, a full disk): out of a router it would close the
                # connection without a word. It is in the log, and the next request tries again.
                log.exception("What answers at %s could not be loaded", request.path)
                return self._application.get_handler_delegate(request, ErrorHandler, {"status_code": 500})
        for path, handler in self._table:
            found = path.match(request)
            if found is not None:
                return self._application.get_handler_delegate(request, handler, **found)
        return None
