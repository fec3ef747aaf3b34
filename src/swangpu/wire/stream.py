"""What the stream sends."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from .sessions import Notice, Pool, SessionView
from .telemetry import SampleView

__all__ = [
    "ChangesEvent",
    "Hello",
    "NoticesEvent",
    "PoolsEvent",
    "SessionsEvent",
    "TelemetryEvent",
]


class TelemetryEvent(Struct):
    """``event: telemetry``: what each session uses, by id; with the topic ``devices`` the latest samples, by UUID."""

    as_of: float
    samples: dict[str, SampleView]
    sessions: dict[str, SampleView]


class ChangesEvent(Struct, omit_defaults=True):
    """``event: changes``, where it was asked for: what of a topic differs from the event before.

    ``changed`` has the changed fields only: of ``telemetry`` under ``samples`` and ``sessions`` by id, of ``sessions``
    and ``pools`` under ``items`` by id or name, a pool's ``flavors`` by name. ``gone``: paths of what is there no more.
    A sample's ``taken_at`` is only told (null: as of the event) when it stops or starts to be as new as the event.
    """

    topic: Literal["telemetry", "sessions", "pools"]
    as_of: float
    changed: dict[str, Any]
    gone: list[list[str]] = []


class SessionsEvent(Struct):
    """``event: sessions``: all of a person's sessions that are not long ended."""

    as_of: float
    items: list[SessionView]


class PoolsEvent(Struct):
    """``event: pools``."""

    as_of: float
    items: list[Pool]


class NoticesEvent(Struct):
    """``event: notices``."""

    as_of: float
    items: list[Notice]


class Hello(Struct):
    """``event: hello``, the first of a stream: ``snapshot`` is false when it continues from ``Last-Event-ID``."""

    epoch: str
    snapshot: bool
    server: str
    simulated: bool
