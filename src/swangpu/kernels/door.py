"""Asks an agent at its door: one JSON object there, one back."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from ..errors import Unavailable

__all__ = ["ask"]

TIMEOUT_S = 3.0


def ask(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """The agent's answer. Blocks for up to some seconds: not for the event loop.

    Raises
    ------
    Unavailable
        The agent does not answer: it has ended, or is about to.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(TIMEOUT_S)
            door.connect(str(path))
            door.sendall(json.dumps(request).encode() + b"\n")
            received = b""
            while not received.endswith(b"\n"):
                chunk = door.recv(65536)
                if not chunk:
                    break
                received += chunk
        answer: dict[str, Any] = json.loads(received)
    except (OSError, ValueError) as error:
        raise Unavailable("The kernel's agent does not answer.", code="agent_away") from error
    if not answer.get("ok"):
        raise Unavailable("The kernel's agent did not understand.", code="agent_away")
    return answer
