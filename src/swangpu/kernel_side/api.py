"""A tiny client of the HTTP API, with the standard library only."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from . import discovery

__all__ = ["Api", "ApiError", "events", "find"]

Json = dict[str, Any]

#: how long an ordinary call may take, in seconds; claiming waits for the pool
TIMEOUT_S = 10.0
CLAIM_TIMEOUT_S = 90.0
MAX_ANSWER_BYTES = 20_000_000
#: the server's heartbeat comes every 5 s
STREAM_TIMEOUT_S = 20.0


class ApiError(Exception):
    """What the API refused, or why it could not be asked: one sentence, what helps, and a stable code."""

    def __init__(
        self, detail: str, hint: str = "", code: str = "unavailable", status: int = 0, params: Json | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.code = code
        self.status = status
        self.params: Json = params or {}


class Api:
    """The calls that the kernel side needs; answers are plain JSON.

    Parameters
    ----------
    url : str
        The server's base URL, or the API's.
    token : str
        A token for it.
    """

    def __init__(self, url: str, token: str) -> None:
        self.base = discovery.api_base(url)
        self.token = token
        host = urllib.parse.urlsplit(self.base).hostname or ""
        handlers: list[Any] = [_NoRedirect()]
        if host in ("localhost", "::1") or host.startswith("127."):
            # a site's proxy knows nothing of our own machine, and must not see the token
            handlers.append(urllib.request.ProxyHandler({}))
            context = ssl.create_default_context()
            # the certificate of a server on this machine names the site, not the loopback address
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Json:
        """One call.

        Raises
        ------
        ApiError
        """
        url = self._url(path, query)
        data = None if body is None else json.dumps(body).encode()
        if data is None and method == "POST":
            data = b"{}"
        request = urllib.request.Request(url, data=data, method=method)  # noqa: S310 - http(s) only, see discovery
        request.add_header("Authorization", f"token {self.token}")
        request.add_header("Accept", "application/json")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        for key, value in (headers or {}).items():
            request.add_header(key, value)
        try:
            with self._opener.open(request, timeout=timeout_s) as answer:
                content = answer.read(MAX_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                raise _refused(error.code, error.read(1_000_000)) from None
        except (OSError, ValueError, urllib.error.URLError) as error:
            raise _no_answer(error) from None
        try:
            found = json.loads(content) if content else {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ApiError(
                "What answers at the server's address is not swangpu.",
                "Is the extension enabled? `swangpu doctor` looks.",
                code="not_swangpu",
            )
        return found

    def stream(self, topics: Iterable[str]) -> Iterator[tuple[str, Json]]:
        """Events by name as they come, heartbeats too; ends when the server ends it.

        Raises
        ------
        ApiError
        """
        request = urllib.request.Request(self._url("/stream", {"topics": ",".join(topics)}))  # noqa: S310 - see call
        request.add_header("Authorization", f"token {self.token}")
        request.add_header("Accept", "text/event-stream")
        try:
            with self._opener.open(request, timeout=STREAM_TIMEOUT_S) as answer:
                yield from events(line.decode("utf-8", "replace").rstrip("\r\n") for line in answer)
        except urllib.error.HTTPError as error:
            with error:
                raise _refused(error.code, error.read(1_000_000)) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _no_answer(error) from None

    def _url(self, path: str, query: Mapping[str, Any] | None) -> str:
        asked = {key: value for key, value in (query or {}).items() if value is not None}
        return f"{self.base}{path}" + (f"?{urllib.parse.urlencode(asked)}" if asked else "")

    def offers(self, **query: Any) -> list[Json]:
        return _items(self.call("GET", "/offers", query=query))

    def pools(self, timeout_s: float = TIMEOUT_S) -> list[Json]:
        return _items(self.call("GET", "/pools", timeout_s=timeout_s))

    def devices(self) -> list[Json]:
        return _items(self.call("GET", "/devices"))

    def sessions(self) -> list[Json]:
        """The person's own, also where they may see everybody's."""
        return [one for one in _items(self.call("GET", "/sessions")) if one.get("mine", True)]

    def session(self, session_id: str) -> Json:
        return self.call("GET", _session(session_id))

    def create(self, body: Json, key: str) -> Json:
        return self.call("POST", "/sessions", body, headers={"Idempotency-Key": key}, timeout_s=30.0)

    def release(self, session_id: str, undo: bool = True) -> Json:
        """Give it back; without ``undo`` at once, as for a command that has ended."""
        return self.call("DELETE", _session(session_id) + ("" if undo else "?undo=false"), timeout_s=30.0)

    def claim(self, session_id: str) -> Json:
        return self.call("POST", _session(session_id, "claim"), timeout_s=CLAIM_TIMEOUT_S)

    def attach(self, session_id: str, kernel_id: str, *, carry: str = "none", in_place: bool = False) -> Json:
        body = {"kernel_id": kernel_id, "carry": carry, "in_place": in_place}
        return self.call("POST", _session(session_id, "attach"), body, timeout_s=CLAIM_TIMEOUT_S)

    def leave(self, session_id: str, kernel_id: str) -> Json:
        """The kernel has taken itself off the share: the server need not restart it."""
        return self.call("POST", _session(session_id, "detach"), {"kernel_id": kernel_id, "in_place": True})

    def extend(self, session_id: str, duration_s: float) -> Json:
        return self.call("POST", _session(session_id, "extend"), {"duration_s": duration_s})

    def undo(self, session_id: str) -> Json:
        return self.call("POST", _session(session_id, "undo"))

    def explain(self, session_id: str) -> Json:
        return self.call("GET", _session(session_id, "explain"))

    def history(self, session_id: str, points: int, start: float) -> Json:
        return self.past("session", session_id, points, start)

    def past(self, kind: str, subject: str, points: int, start: float, end: float | None = None) -> Json:
        """What a ``session`` or a ``device`` did; times are Unix seconds."""
        return self.call("GET", "/history", query={kind: subject, "points": points, "from": start, "to": end})


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is the way to a login page: not followed, since the token would go along."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def find() -> Api:
    """The API of this kernel's server, else of the newest running server of this user.

    Raises
    ------
    ApiError
        There is none.
    """
    place = discovery.find()
    if place is None:
        raise ApiError(
            "No running Jupyter server with swangpu was found.",
            "Start one with `jupyter lab`, or `swangpu demo` to try it without a GPU.",
            code="no_server",
        )
    return Api(place.url, place.token)


def events(lines: Iterable[str]) -> Iterator[tuple[str, Json]]:
    """Server-sent events as the HTML standard has them; what is not JSON is passed over."""
    name, data = "", []
    for line in lines:
        if line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line:
            try:
                content = json.loads("\n".join(data)) if data else None
            except ValueError:
                content = None
            if name and isinstance(content, dict):
                yield name, content
            name, data = "", []


def _no_answer(error: Exception) -> ApiError:
    return ApiError(
        "The GPU service of this Jupyter server does not answer.",
        "Is the server still running? Its log may say more.",
        code="no_answer",
        params={"why": type(getattr(error, "reason", error)).__name__},
    )


def _items(answer: Json) -> list[Json]:
    items = answer.get("items")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _session(session_id: str, call: str = "") -> str:
    path = f"/sessions/{urllib.parse.quote(session_id, safe='')}"
    return f"{path}/{call}" if call else path


def _refused(status: int, content: bytes) -> ApiError:
    try:
        problem = json.loads(content)
        detail = problem["detail"]
        if isinstance(detail, str) and isinstance(problem["code"], str):
            params = problem.get("params")
            hint = str(problem.get("hint") or "")
            return ApiError(detail, hint, problem["code"], status, params if isinstance(params, dict) else {})
    except (ValueError, KeyError, TypeError):
        pass
    if status in (301, 302, 303, 307, 308, 401, 403):
        return ApiError(
            "The Jupyter server does not let this kernel in.",
            "Restart the kernel: it then gets a new token.",
            "forbidden",
            status,
        )
    if status == 404:
        return ApiError(
            "This Jupyter server has no GPU service.",
            "Is the extension enabled? `swangpu doctor` looks.",
            "no_service",
            404,
        )
    return ApiError(f"The Jupyter server answered with an error ({status}).", "Its log may say more.", "server", status)
