"""Front door of the browser tests: a server on which several people ask, as on a hub.

Whoever does not say who they are is the server's owner: the person in the browser.
"""

from __future__ import annotations

from typing import Any

from swangpu.server.extension import SwanGpu


class People(SwanGpu):
    """Who asks is said in a header, as a hub tells its services."""

    def person(self, handler: Any) -> str:
        return handler.request.headers.get("X-Person") or super().person(handler)


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": "people", "app": People}]
