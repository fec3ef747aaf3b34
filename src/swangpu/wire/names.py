"""Names and words that several of the structs use."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

__all__ = ["Kind", "Name", "State"]

Kind = Literal["kernel", "cluster", "job", "server"]
State = Literal["queued", "ready", "active", "paused", "ending", "ended"]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
