"""An authorizer for tests."""

from __future__ import annotations

from typing import Any

from jupyter_server.auth import Authorizer


class DenyAll(Authorizer):
    """Allows nothing."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        return False
