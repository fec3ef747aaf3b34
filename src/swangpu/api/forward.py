"""A server that does not lead passes each call on to the one that does, the stream included."""

from __future__ import annotations

from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httputil import HTTPHeaders

from ..errors import Unavailable
from .context import Elsewhere
from .routes import BASE

__all__ = ["forward"]

#: what of a request goes along; no cookie and no token of the browser does
REQUEST_HEADERS = ("Content-Type", "Accept", "Idempotency-Key", "Last-Event-ID")
ANSWER_HEADERS = ("Content-Type", "Location", "Allow", "Cache-Control", "X-Accel-Buffering")


async def forward(handler: Any, place: Elsewhere, body: bytes, query: str) -> None:
    """Do this call at the leader, and write what it answers as it comes.

    Parameters
    ----------
    handler : RequestHandler
    place : Elsewhere
    body : bytes
    query : str
        Of the call there, which may name what only we know otherwise.

    Raises
    ------
    Unavailable
        The leader does not answer: it has just died, and one of us takes over in a moment.
    """
    request = handler.request
    tail = request.path[request.path.index(BASE) :] + (f"?{query}" if query else "")
    headers = HTTPHeaders({h: request.headers[h] for h in REQUEST_HEADERS if h in request.headers})
    headers["Authorization"] = f"token {place.token}"
    started = False

    def head(line: str) -> None:
        nonlocal started
        if line.startswith("HTTP/"):
            handler.set_status(int(line.split()[1]))
        elif ":" in line:
            name, value = line.split(":", 1)
            if name.title() in ANSWER_HEADERS:
                handler.set_header(name.title(), value.strip())
        started = True

    def chunk(data: bytes) -> None:
        handler.write(data)
        handler.flush()

    outgoing = HTTPRequest(
        place.url.rstrip("/") + tail,
        method=request.method,
        headers=headers,
        body=body if request.method == "POST" else None,
        header_callback=head,
        streaming_callback=chunk,
        request_timeout=0 if "/stream" in request.path else 90,
        connect_timeout=3,
        follow_redirects=False,
        # The leader is on this machine, under whatever name its certificate has.
        validate_cert=False,
    )
    try:
        await AsyncHTTPClient().fetch(outgoing, raise_error=False)
    except (OSError, HTTPClientError) as error:
        if not started:
            raise Unavailable(
                "The server that leads does not answer.", hint="Another one takes over in a moment.", code="leader_away"
            ) from error
    handler.finish()
