"""The asyncio shell: feeds events to the broker, makes them durable, carries out its commands.

``clock`` tells the time, ``journal`` commits in groups and rolls back, ``work`` carries out commands through the
ports, ``ticking`` has time handled, ``notices`` keeps what people were told, ``watching`` tells who looks on,
``runtime`` ties them together.
"""

from __future__ import annotations

from .clock import SystemClock
from .notices import StoredNotice
from .runtime import Runtime
from .watching import Change

__all__ = ["Change", "Runtime", "StoredNotice", "SystemClock"]
