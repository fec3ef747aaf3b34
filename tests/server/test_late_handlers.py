"""Handlers that are made at the first request; what goes wrong then is an answer, and is tried again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from swangpu.server.late import LateHandlers


class Hello(RequestHandler):
    def get(self, name: str) -> None:
        self.write(f"hello {name}")


async def test_they_are_made_once_at_the_first_request_below_their_path(caplog: pytest.LogCaptureFixture) -> None:
    made: list[str] = []

    def make() -> Sequence[tuple[str, type]]:
        made.append("tried")
        if len(made) == 1:
            raise ImportError("the package is being upgraded")
        return [("/late/hello/([a-z]+)", Hello)]

    application = Application([("/other/([a-z]+)", Hello)])
    LateHandlers(application, make).mount("/late/.*")
    socket, port = bind_unused_port()
    server = HTTPServer(application)
    server.add_socket(socket)
    client = AsyncHTTPClient()

    async def ask(path: str) -> tuple[int, str]:
        answer = await client.fetch(f"http://127.0.0.1:{port}{path}", raise_error=False)
        return answer.code, answer.body.decode()

    try:
        assert await ask("/other/ada") == (200, "hello ada")
        assert made == [], "nobody has asked below it"
        assert (await ask("/late/hello/ada"))[0] == 500
        assert "could not be loaded" in caplog.text
        assert await ask("/late/hello/ada") == (200, "hello ada")
        assert await ask("/late/hello/eva") == (200, "hello eva")
        assert made == ["tried", "tried"]
        assert (await ask("/late/nothing"))[0] == 404
    finally:
        client.close()
        server.stop()
