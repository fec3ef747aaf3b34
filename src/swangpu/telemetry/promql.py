"""A small reader of Prometheus' HTTP API, and of what speaks the same.

It only reads. Answers are bounded in size: one that is too large is given up while it arrives, and
`TooMuch` tells the caller to ask for less at a time.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from ..errors import BadInput, Forbidden, SwanGpuError, Unavailable

if TYPE_CHECKING:
    import httpx

__all__ = ["MAX_POINTS", "Login", "PromQl", "Series", "TooMuch", "base_url", "login_from"]

#: what Prometheus gives of one series in one range query, at most
MAX_POINTS = 11_000
MAX_ANSWER_BYTES = 64 * 2**20
#: its own limit is two minutes by default, and then it says so
TIMEOUT_S = 130.0
CONNECT_TIMEOUT_S = 10.0
_TOO_MUCH = re.compile(r"too many|too large|exceed|limit|time", re.IGNORECASE)


class Series(msgspec.Struct, frozen=True):
    """One series of an answer: its labels, and its points as (Unix seconds, value in text)."""

    metric: dict[str, str]
    values: list[tuple[float, str]] = []
    value: tuple[float, str] | None = None


class _Data(msgspec.Struct):
    result: list[Series] = []


class _Answer(msgspec.Struct):
    status: str
    data: _Data | None = None


class _Names(msgspec.Struct):
    data: list[str] = []


class _Problem(msgspec.Struct):
    errorType: str = ""
    error: str = ""


class TooMuch(Unavailable):
    """The question was too large for the server, or its answer for us: ask for less at a time."""

    code = "prometheus_too_much"


class Login(msgspec.Struct, frozen=True):
    """How to log in. Its text never shows the secret."""

    token: str | None = None
    basic: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return "Login(token)" if self.token else "Login(basic)" if self.basic else "Login()"


def login_from(token_file: str | None, basic_auth_file: str | None) -> Login:
    """Read the secret from the file that was named: a token, or ``user:password``.

    Raises
    ------
    BadInput
        It can't be read or holds something else.
    """
    if token_file is not None:
        token = _secret(token_file)
        if not token.isascii() or not token.isprintable() or " " in token:
            raise BadInput("The token file does not hold a token.", hint="It holds the token and nothing else.")
        return Login(token=token)
    if basic_auth_file is not None:
        user, colon, password = _secret(basic_auth_file).partition(":")
        if not colon:
            raise BadInput("The file for basic authentication does not hold a login.", hint="One line: user:password")
        return Login(basic=(user, password))
    return Login()


def _secret(name: str) -> str:
    try:
        text = Path(name).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        text = ""
    if not text or "\n" in text:
        raise BadInput("The file with the secret can't be read, or does not hold one line.")
    return text


def base_url(url: str) -> str:
    """What is before ``/api/v1`` of a Prometheus.

    Raises
    ------
    BadInput
        That is no such URL, or it holds a login.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise BadInput("The URL of Prometheus begins with http:// or https://.", hint="Such as http://127.0.0.1:9090")
    if "@" in parts.netloc:
        raise BadInput(
            "The URL holds a login, and others can read a command line.",
            hint="Put user:password into a file and give --basic-auth-file.",
        )
    return url.rstrip("/").removesuffix("/api/v1")


class PromQl:
    """Asks one Prometheus.

    Parameters
    ----------
    url : str
        Where it is, with the path that a proxy puts before its API, and without a login.
    login : Login or callable
        One that is called is asked before each question, so that a token may change while we run.
    timeout_s : float
        For one question: so long between two signs of life, and at most twice as long in all.
    transport : httpx.BaseTransport, optional

    Raises
    ------
    BadInput
        That is no such URL.
    """

    def __init__(
        self,
        url: str,
        login: Login | Callable[[], Login] | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        import httpx

        self._login = login or Login()
        self._timeout_s = timeout_s
        self._httpx = httpx
        self._http = httpx.Client(
            base_url=base_url(url) + "/api/v1/",
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)),
            transport=transport,
        )

    def __enter__(self) -> PromQl:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def at(self, query: str, time: float | None = None) -> Sequence[Series]:
        """An instant query, at ``time`` (Unix seconds) or now.

        Raises
        ------
        SwanGpuError
        """
        given = {} if time is None else {"time": _seconds(time)}
        return self._series("query", {"query": query, **given})

    def over(self, query: str, start: float, end: float, step_s: float) -> Sequence[Series]:
        """A range query at ``start, start + step_s, … ≤ end`` (Unix seconds).

        Raises
        ------
        TooMuch
            For the server or for us.
        SwanGpuError
        """
        if (end - start) / step_s >= MAX_POINTS:
            raise TooMuch("That is more points than Prometheus gives at a time.")
        asked = {"query": query, "start": _seconds(start), "end": _seconds(end), "step": _seconds(step_s)}
        return self._series("query_range", asked)

    def label_values(self, label: str, match: str, start: float, end: float) -> Sequence[str]:
        """The values of a label in the series that match, in that time."""
        asked = {"match[]": match, "start": _seconds(start), "end": _seconds(end)}
        names: _Names = self._decoded(self._read("GET", f"label/{label}/values", asked), _Names)
        return names.data

    def _series(self, path: str, asked: Mapping[str, str]) -> Sequence[Series]:
        # POST: a query may be longer than a URL may be
        answer = self._decoded(self._read("POST", path, asked), _Answer)
        return answer.data.result if answer.data is not None else []

    def _decoded(self, content: bytes, kind: type[Any]) -> Any:
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.MsgspecError:
            raise Unavailable(
                "What answers at this URL is not Prometheus.",
                hint="Give the URL under which /api/v1/query is found.",
                code="not_prometheus",
            ) from None

    def _read(self, method: str, path: str, asked: Mapping[str, str]) -> bytes:
        fields: dict[str, Any] = {"params": asked} if method == "GET" else {"data": asked}
        login = self._login if isinstance(self._login, Login) else self._login()
        if login.token:
            fields["headers"] = {"Authorization": f"Bearer {login.token}"}
        elif login.basic:
            fields["auth"] = self._httpx.BasicAuth(*login.basic)
        began = time.monotonic()
        with self._translated(), self._http.stream(method, path, **fields) as response:
            content = bytearray()
            for part in response.iter_bytes():
                content += part
                if len(content) > MAX_ANSWER_BYTES:
                    raise TooMuch("The answer of Prometheus is too large.", hint="Give a longer --step.")
                if time.monotonic() - began > self._timeout_s:
                    # it comes drop by drop
                    raise _too_slow()
            if response.status_code != 200:
                raise _refused(response.status_code, bytes(content))
            return bytes(content)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._httpx.TimeoutException:
            raise _too_slow() from None
        except (self._httpx.HTTPError, self._httpx.InvalidURL, OSError):
            raise Unavailable(
                "Prometheus can't be reached.",
                hint="Look at the URL, and whether this machine may connect to it.",
                code="prometheus_unreachable",
            ) from None


def _too_slow() -> TooMuch:
    return TooMuch("Prometheus did not answer in time.", hint="Give fewer days or a longer --step.")


def _refused(status: int, content: bytes) -> SwanGpuError:
    if status in (401, 403):
        return Forbidden(
            "Prometheus does not accept this login.",
            hint="Give --token-file or --basic-auth-file.",
            code="prometheus_forbidden",
        )
    try:
        problem = msgspec.json.decode(content, type=_Problem)
    except msgspec.MsgspecError:
        problem = _Problem()
    said = "".join(c if c.isprintable() else " " for c in problem.error)[:200]
    # 422 may be too many samples; 503: it took too long; 504 and 413: a proxy before it
    if status in (413, 503, 504) or (status == 422 and _TOO_MUCH.search(said)):
        return TooMuch(f"Prometheus gave up: {said or status}", hint="Give fewer days or a longer --step.")
    return Unavailable(f"Prometheus answered {status}{': ' if said else ''}{said}", code="prometheus_failed")


def _seconds(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else f"{value:.3f}"
