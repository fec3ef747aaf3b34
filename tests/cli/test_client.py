"""The Python client: problems become errors of our tree, and streams become structs."""

from __future__ import annotations

import httpx
import msgspec
import pytest

from swangpu import errors, wire
from swangpu.client import Client, error_from

PROBLEM = wire.Problem("about:blank", "Conflict", 409, "conflict", "It is taken.", "Ask again.", {"n": 1})


def client(answer: httpx.Response | Exception) -> Client:
    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Client("http://127.0.0.1:1/", "t", transport=httpx.MockTransport(handle))


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "unknown_field", errors.UnknownField),
        (400, "something_new", errors.BadInput),
        (403, "forbidden", errors.Forbidden),
        (404, "no_such_session", errors.NotFound),
        (409, "kernel_attached", errors.Conflict),
        (413, "too_large", errors.TooLarge),
        (422, "unknown_flavor", errors.Refused),
        (503, "ledger_unavailable", errors.LedgerUnavailable),
        (503, "starting", errors.Unavailable),
        (500, "internal", errors.SwanGpuError),
    ],
)
def test_each_problem_is_an_error_of_the_tree(status: int, code: str, kind: type[errors.SwanGpuError]) -> None:
    problem = msgspec.structs.replace(PROBLEM, status=status, code=code, params={"detail": "x", "self": "y"})
    error = error_from(status, wire.encode(problem))
    assert type(error) is kind
    assert (error.code, error.detail, error.hint) == (code, "It is taken.", "Ask again.")
    assert error.params == {"detail": "x", "self": "y"}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(302, headers={"Location": "/login"}), errors.Forbidden),
        (httpx.Response(404, text="<html>"), errors.NotFound),
        (httpx.Response(502, text="bad gateway"), errors.Unavailable),
        (httpx.Response(200, text="<html>"), errors.Unavailable),
        (httpx.Response(200, json={"items": "none"}), errors.Unavailable),
        (httpx.ConnectError("no"), errors.Unavailable),
        (httpx.ReadTimeout("no"), errors.Unavailable),
    ],
)
def test_what_is_not_ours_is_said_too(answer: httpx.Response | Exception, kind: type[errors.SwanGpuError]) -> None:
    with pytest.raises(errors.SwanGpuError) as caught:
        client(answer).sessions()
    assert type(caught.value) is kind
    assert caught.value.hint


def test_streams_are_structs_and_what_is_not_known_is_passed_over() -> None:
    hello = wire.Hello("e", True, "1", False)
    text = (
        f"id: e-1\nevent: hello\ndata: {wire.encode(hello).decode()}\n\n"
        ": heartbeat\n\nevent: later\ndata: {}\n\n"
        'event: pools\ndata: {"as_of": 1.0,\ndata: "items": []}\n\n'
    )
    events = list(client(httpx.Response(200, text=text)).stream())
    assert events == [hello, wire.PoolsEvent(1.0, [])]


def test_a_stream_that_is_refused_raises() -> None:
    with pytest.raises(errors.Conflict):
        list(client(httpx.Response(409, content=wire.encode(PROBLEM))).stream())
