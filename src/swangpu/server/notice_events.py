"""Notices as Jupyter events: for extensions, collectors and front ends that listen to the server's event log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .. import wire

__all__ = ["SCHEMA", "SCHEMA_ID", "emit", "register"]

SCHEMA_ID = "https://swan.cern.ch/swangpu/notice/v1"
#: fields are added without another version; one that is taken away or means something else makes it v2
SCHEMA: dict[str, Any] = {
    "$id": SCHEMA_ID,
    "version": "1",
    "title": "Notices of swangpu",
    "description": "What the person of this server is told about a GPU session of theirs. No user is named.",
    "personal-data": True,
    "type": "object",
    "required": ["id", "at", "code", "level", "text", "params", "session_id", "actions"],
    "properties": {
        "id": {"type": "string", "description": "Unique; the same in the panel's event stream."},
        "at": {"type": "number", "description": "When it was told, in Unix seconds."},
        "code": {"type": "string", "description": "What happened, such as lease_ends; codes are stable."},
        "level": {"type": "string", "enum": ["info", "success", "warning", "error"]},
        "text": {"type": "string", "description": "The same as a sentence for the person."},
        "params": {"type": "object", "description": "What the sentence is made of."},
        "session_id": {"type": ["string", "null"], "description": "The GPU session, where it is about one."},
        "actions": {
            "type": "array",
            "items": {"type": "string"},
            "description": "What the person can do: claim, extend, release.",
        },
    },
}


def register(event_logger: Any) -> None:
    """Make the schema known to a server's event logger."""
    import jupyter_events

    release = [int(n) for n in re.findall(r"\d+", jupyter_events.__version__)[:2]]
    # before 0.11 versions were numbers
    event_logger.register_event_schema(SCHEMA if release >= [0, 11] else {**SCHEMA, "version": 1})


def emit(event_logger: Any, notice: wire.Notice) -> None:
    """Tell all who listen; costs nothing where nobody does."""
    import msgspec

    event_logger.emit(schema_id=SCHEMA_ID, data=msgspec.to_builtins(notice))
