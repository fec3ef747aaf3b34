"""The Python client of the HTTP API: for the command line, for forwarding and for scripts.

Where a server is, is said by a file of its own; `write` and `read_all` are the two ends of that
(see ``kernel_side/discovery.py`` for its format).
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from . import errors, wire
from .kernel_side.discovery import Place, api_base, find, forget, read_all, runtime_file, write

__all__ = ["Client", "Place", "discover", "error_from", "error_of", "forget", "read_all", "runtime_file", "write"]

T = TypeVar("T")

TIMEOUT_S = 10.0
#: claiming and attaching wait for the pool and for the kernel
LONG_TIMEOUT_S = 90.0
#: the server's heartbeat comes every 5 s
STREAM_TIMEOUT_S = 20.0

StreamEvent = wire.Hello | wire.TelemetryEvent | wire.SessionsEvent | wire.PoolsEvent | wire.NoticesEvent
_EVENTS: dict[str, type[Any]] = {
    "hello": wire.Hello,
    "telemetry": wire.TelemetryEvent,
    "sessions": wire.SessionsEvent,
    "pools": wire.PoolsEvent,
    "notices": wire.NoticesEvent,
}
_BY_STATUS: dict[int, type[errors.SwanGpuError]] = {
    400: errors.BadInput,
    401: errors.Forbidden,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    422: errors.Refused,
    503: errors.Unavailable,
}
_BY_CODE: dict[str, type[errors.SwanGpuError]] = {
    kind.code: kind for kind in (getattr(errors, name) for name in errors.__all__) if kind is not errors.SwanGpuError
}


def discover() -> Client:
    """A client of the running server of this user.

    Inside a kernel it is that kernel's server; elsewhere the one that started last.

    Raises
    ------
    Unavailable
        None is running.
    """
    place = find()
    if place is None:
        raise errors.Unavailable(
            "No running Jupyter server with swangpu was found.",
            hint="Start one with `jupyter lab`, or `swangpu demo` to try it without a GPU.",
            code="no_server",
        )
    return Client(place.url, place.token)


def error_from(status: int, content: bytes) -> errors.SwanGpuError:
    """The error of our tree that a problem document stands for."""
    try:
        problem = msgspec.json.decode(content, type=wire.Problem)
    except msgspec.MsgspecError:
        return _unknown_answer(status)
    return error_of(status, problem.code, problem.detail, problem.hint, problem.params)


def error_of(status: int, code: str, detail: str, hint: str, params: dict[str, Any]) -> errors.SwanGpuError:
    """An error by its code, else by its HTTP status; no status at all means that nobody answered."""
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status or 503, errors.SwanGpuError)
    error = kind(detail, hint=hint, code=code)
    error.params = params
    return error


def _unknown_answer(status: int) -> errors.SwanGpuError:
    if status in (301, 302, 303, 307, 308, 401, 403):
        return errors.Forbidden("The Jupyter server does not let us in.", hint="Give its URL and token.")
    if status == 404:
        return errors.NotFound(
            "This Jupyter server has no GPU service.",
            hint="Is the extension enabled? `swangpu doctor` looks.",
            code="none",
        )
    return errors.Unavailable(f"The Jupyter server answered with an error ({status}).", hint="Its log may say more.")


class Client:
    """Calls the API of one server.

    Parameters
    ----------
    url : str
        The server's base URL (``http://127.0.0.1:8888/``), or the API's.
    token : str
        The server's token, or one for our API only.
    transport : httpx.BaseTransport, optional
        For tests.

    Notes
    -----
    Every call raises errors of `swangpu.errors` and nothing else.
    """

    def __init__(self, url: str, token: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self.base = api_base(url)
        self.token = token
        local = _is_loopback(self.base)
        self._http = httpx.Client(
            headers={"Authorization": f"token {token}"},
            timeout=TIMEOUT_S,
            # a site's proxy knows nothing of our own machine, and the certificate there names the site
            trust_env=not local,
            verify=not local,
            transport=transport,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # -- looking ----------------------------------------------------------------------------------

    def offers(
        self,
        *,
        memory_bytes: float | None = None,
        flavor: str | None = None,
        count: int | None = None,
        kind: str | None = None,
        duration_s: float | None = None,
        path: str | None = None,
    ) -> wire.Offers:
        """Ranked answer to "where can I get this?"; for the notebook at ``path``, with advice where less would do."""
        query = {"memory_bytes": memory_bytes, "flavor": flavor, "count": count, "kind": kind, "duration_s": duration_s}
        query["path"] = path
        return self._call("GET", "/offers", wire.Offers, query=query)

    def pools(self) -> wire.Pools:
        return self._call("GET", "/pools", wire.Pools)

    def devices(self) -> wire.Devices:
        return self._call("GET", "/devices", wire.Devices)

    def sessions(self) -> wire.Sessions:
        return self._call("GET", "/sessions", wire.Sessions)

    def session(self, session_id: str) -> wire.SessionView:
        return self._call("GET", _path(session_id), wire.SessionView)

    def explain(self, session_id: str) -> wire.Explanation:
        """Why a session is where it is."""
        return self._call("GET", _path(session_id, "explain"), wire.Explanation)

    def history(
        self,
        *,
        device: str | None = None,
        session: str | None = None,
        start: float | None = None,
        end: float | None = None,
        points: int | None = None,
    ) -> wire.History:
        """A down-sampled series of a device or a session; times are Unix seconds."""
        query = {"device": device, "session": session, "from": start, "to": end, "points": points}
        return self._call("GET", "/history", wire.History, query=query)

    def preview(self, *, kernel_id: str | None = None, path: str | None = None) -> wire.KernelPreview:
        """What attaching would do to a kernel."""
        query = {"kernel_id": kernel_id, "path": path}
        return self._call("GET", "/kernels/preview", wire.KernelPreview, query=query, timeout_s=LONG_TIMEOUT_S)

    def profiles(self, session_id: str) -> wire.Profiles:
        """What the profiled cells of a session did, oldest first."""
        return self._call("GET", _path(session_id, "profiles"), wire.Profiles)

    def usage(self, by: str = "user", start: float | None = None, end: float | None = None) -> wire.Usage:
        return self._call("GET", "/usage", wire.Usage, query={"by": by, "from": start, "to": end})

    def demand(self, by: str = "user", start: float | None = None, end: float | None = None) -> wire.Demand:
        return self._call("GET", "/demand", wire.Demand, query={"by": by, "from": start, "to": end})

    def report_csv(
        self, name: Literal["usage", "demand"], by: str = "user", start: float | None = None, end: float | None = None
    ) -> str:
        """A report as the server writes it in CSV."""
        headers = {"Accept": "text/csv"}
        return self._send("GET", f"/{name}", query={"by": by, "from": start, "to": end}, headers=headers).text

    # -- changing ---------------------------------------------------------------------------------

    def create(self, request: wire.SessionRequest, key: str | None = None) -> wire.SessionView:
        """Ask for shares; asking again with the same key makes no second session."""
        headers = {"Idempotency-Key": key or secrets.token_hex(16)}
        return self._call("POST", "/sessions", wire.SessionView, body=request, headers=headers, timeout_s=30.0)

    def release(self, session_id: str, undo: bool = True) -> wire.SessionView:
        """Give it back; without ``undo`` at once, as for a command that has ended."""
        path = _path(session_id) + ("" if undo else "?undo=false")
        return self._call("DELETE", path, wire.SessionView, timeout_s=30.0)

    def claim(self, session_id: str) -> wire.SessionView:
        """Take what is held, without a kernel; waits until it has started."""
        return self._post(session_id, "claim", timeout_s=LONG_TIMEOUT_S)

    def attach(self, session_id: str, request: wire.AttachRequest) -> wire.SessionView:
        return self._post(session_id, "attach", request, LONG_TIMEOUT_S)

    def detach(self, session_id: str, request: wire.DetachRequest) -> wire.SessionView:
        return self._post(session_id, "detach", request, LONG_TIMEOUT_S)

    def extend(self, session_id: str, duration_s: float) -> wire.SessionView:
        return self._post(session_id, "extend", wire.ExtendRequest(duration_s=duration_s))

    def look(self, session_id: str, for_s: float = 30.0) -> wire.Looking:
        """Have a reading each second for a while; ask again to go on."""
        return self._call("POST", _path(session_id, "look"), wire.Looking, body=wire.LookRequest(for_s=for_s))

    def profile(self, session_id: str, request: wire.ProfileRequest) -> wire.ProfileView:
        """What a cell that has just run did; waits for the reading of its end."""
        return self._call("POST", _path(session_id, "profiles"), wire.ProfileView, body=request)

    def pause(self, session_id: str) -> wire.SessionView:
        return self._post(session_id, "pause")

    def resume(self, session_id: str) -> wire.SessionView:
        return self._post(session_id, "resume")

    def undo(self, session_id: str) -> wire.SessionView:
        return self._post(session_id, "undo")

    # -- watching ---------------------------------------------------------------------------------

    def stream(
        self, topics: tuple[str, ...] = ("sessions", "pools", "notices"), limit: int | None = None
    ) -> Iterator[StreamEvent]:
        """Events as they come; ends when the server ends it.

        Parameters
        ----------
        topics : tuple of str
            Of ``telemetry``, ``sessions``, ``pools``, ``notices``.
        limit : int, optional
            After how many events the server ends the stream.
        """
        query = _given({"topics": ",".join(topics), "limit": limit})
        timeout = httpx.Timeout(TIMEOUT_S, read=STREAM_TIMEOUT_S)
        try:
            with self._http.stream("GET", f"{self.base}/stream", params=query, timeout=timeout) as answer:
                if answer.status_code != 200:
                    raise error_from(answer.status_code, answer.read())
                yield from _events(answer.iter_lines())
        except httpx.HTTPError:
            raise _no_answer() from None

    # -- inside -----------------------------------------------------------------------------------

    def _post(self, session_id: str, call: str, body: object = None, timeout_s: float = TIMEOUT_S) -> wire.SessionView:
        return self._call(
            "POST", _path(session_id, call), wire.SessionView, body=body or wire.Empty(), timeout_s=timeout_s
        )

    def _call(self, method: str, path: str, kind: type[T], **more: Any) -> T:
        answer = self._send(method, path, **more)
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.MsgspecError:
            raise errors.Unavailable(
                "What answers at the server's address is not this version of swangpu.",
                hint="Restart the Jupyter server after an upgrade; `swangpu doctor` looks.",
                code="not_swangpu",
            ) from None

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> httpx.Response:
        sent: dict[str, Any] = {"params": _given(query or {}), "headers": dict(headers or {})}
        if body is not None:
            sent["content"] = wire.encode(body)
            sent["headers"]["Content-Type"] = "application/json"
        try:
            answer = self._http.request(method, f"{self.base}{path}", timeout=timeout_s, **sent)
        except httpx.HTTPError:
            raise _no_answer() from None
        if answer.status_code >= 300:
            raise error_from(answer.status_code, answer.content)
        return answer


def _no_answer() -> errors.Unavailable:
    return errors.Unavailable(
        "The GPU service of the Jupyter server does not answer.",
        hint="Is the server still running? Its log may say more.",
        code="no_answer",
    )


def _given(query: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value) for key, value in query.items() if value is not None}


def _path(session_id: str, call: str = "") -> str:
    path = f"/sessions/{quote(session_id, safe='')}"
    return f"{path}/{call}" if call else path


def _is_loopback(url: str) -> bool:
    host = httpx.URL(url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _events(lines: Iterator[str]) -> Iterator[StreamEvent]:
    """Server-sent events, as the HTML standard has them; what this version does not know is passed over."""
    name, data = "", []
    for line in lines:
        if line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line:
            if data and name in _EVENTS:
                event: StreamEvent = msgspec.json.decode("\n".join(data), type=_EVENTS[name])
                yield event
            name, data = "", []
