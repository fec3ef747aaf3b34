"""Which server a command talks to."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..client import Client, discover
from ..errors import BadInput

__all__ = ["client_for"]


def client_for(asked: argparse.Namespace) -> Client:
    """The server that was named, else the running one of this user.

    Raises
    ------
    SwanGpuError
    """
    if asked.url is None:
        return discover()
    if not asked.url.startswith(("http://", "https://")):
        raise BadInput("The server's URL begins with http:// or https://.", hint="Such as http://127.0.0.1:8888/")
    if asked.token_file is None:
        raise BadInput("A server that is named needs a token.", hint="Give --token-file.")
    try:
        token = Path(asked.token_file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        raise BadInput("The token file can't be read.", hint="It holds the token and nothing else.") from None
    return Client(asked.url, token)
