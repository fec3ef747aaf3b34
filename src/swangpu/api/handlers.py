"""The route table as tornado handlers, on whatever base class a front door has."""

from __future__ import annotations

import asyncio
import csv
import hmac
import io
import logging
import re
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
from tornado import web
from tornado.iostream import StreamClosedError

from .. import wire
from ..errors import BadInput, Forbidden, SwanGpuError, TooLarge
from ..runtime import Runtime
from .board import Board
from .calls import Call
from .context import ApiContext
from .forward import forward
from .inputs import MAX_BODY_BYTES, idempotency_key, parse_body, parse_query
from .openapi import document
from .problems import MEDIA_TYPE, from_http_status, problem
from .routes import BASE, ROUTES, STREAM_TOPICS, Route
from .stream import Stream

if TYPE_CHECKING:
    from jupyter_server.base.handlers import APIHandler as Base
else:
    Base = object

__all__ = ["RESOURCE", "handlers_for"]

log = logging.getLogger(__name__)

#: what an authorizer is asked about
RESOURCE = "swangpu"


class ApiMixin(Base):
    """Authenticates, authorizes, parses, calls, encodes; every error comes out as a problem."""

    auth_resource = RESOURCE
    # Watching GPUs must not keep an idle server alive.
    _track_activity = False
    context: ApiContext
    routes: dict[str, Route]

    async def prepare(self) -> None:  # type: ignore[override]
        """Our own token is good here and nowhere else; everything else is the front door's business."""
        given = self.request.headers.get("Authorization", "")
        token = given[6:] if given.lower().startswith("token ") else ""
        if token and hmac.compare_digest(token.encode(), self.context.token.encode()):
            self.current_user = self._jupyter_current_user = self.own_user(self.context.token_owner)
            return
        answer = super().prepare()
        if isinstance(answer, Awaitable):
            await answer

    def own_user(self, name: str) -> Any:
        from jupyter_server.auth import User

        return User(username=name)

    async def get(self, *args: str) -> None:
        await self._serve("GET", args)

    async def post(self, *args: str) -> None:
        await self._serve("POST", args)

    async def delete(self, *args: str) -> None:
        await self._serve("DELETE", args)

    async def _serve(self, method: str, args: tuple[str, ...]) -> None:
        try:
            route = self.routes.get(method)
            await self._authorize("read" if method == "GET" else "write")
            if route is None:
                self.set_header("Allow", ", ".join(self.routes))
                self._problem(from_http_status(405))
                return
            query = parse_query(route.query, self.request.query_arguments)
            body = self._body(route)
            key = idempotency_key(self.request.headers.get("Idempotency-Key"))
            if route.path == "/openapi.json":
                self._json(200, document(self.context.version, "/"))
                return
            place = await self.context.place()
            if not isinstance(place, Runtime):
                await forward(self, place, *await self._localized(body, query))
                return
            call = Call(
                context=self.context,
                runtime=place,
                user=self.context.owner(self),
                operator=self.context.is_operator(self),
                body=body,
                query=query,
                session_id=args[0] if args else "",
                key=key,
            )
            if route.run is None:
                await self._stream(call)
            else:
                await self._answer(route, await route.run(call))
        except SwanGpuError as error:
            self._problem(problem(error))
        except StreamClosedError:
            return
        except web.HTTPError:
            raise
        except Exception:
            log.exception("%s %s failed", method, self.request.path)
            self._problem(from_http_status(500))

    async def _authorize(self, action: str) -> None:
        user = self.current_user
        if user is None:
            raise web.HTTPError(403)
        allowed = self.authorizer.is_authorized(self, user, action, RESOURCE)
        if isinstance(allowed, Awaitable):
            allowed = await allowed
        if not allowed:
            raise Forbidden("You may not use GPUs here.", hint="Ask the operator of this server.")

    async def _localized(self, body: Any, query: dict[str, Any]) -> tuple[bytes, str]:
        """Body and query string with kernels for paths: elsewhere the same path may be another notebook."""
        at = self.context.kernel_at
        attach = body.attach if isinstance(body, wire.SessionRequest) else body
        if isinstance(attach, wire.Attach) and attach.path is not None and attach.kernel_id is None:
            kernel_id = await at(attach.path)
            if kernel_id is not None:
                attach.path, attach.kernel_id = None, kernel_id
                return wire.encode(body), self.request.query
        elif "path" in query and "kernel_id" not in query:
            kernel_id = await at(query["path"])
            if kernel_id is not None:
                rest = {name: value for name, value in query.items() if name != "path"}
                return self.request.body, urlencode({**rest, "kernel_id": kernel_id})
        return self.request.body, self.request.query

    def _body(self, route: Route) -> Any:
        if route.body is None:
            return None
        raw = self.request.body
        if len(raw) > MAX_BODY_BYTES:
            raise TooLarge("The request is too large.", hint=f"At most {MAX_BODY_BYTES} bytes are needed.")
        kind = self.request.headers.get("Content-Type", "application/json").split(";")[0].strip().lower()
        if raw and kind not in ("application/json", "text/json") and not kind.endswith("+json"):
            self._problem(from_http_status(415))
            raise web.Finish
        return parse_body(route.body, raw)

    async def _answer(self, route: Route, value: Any) -> None:
        if route.success == 201:
            self.set_header("Location", f"{self.request.path.rstrip('/')}/{value.id}")
        accept = self.request.headers.get("Accept", "")
        if route.csv and "text/csv" in accept:
            self.set_status(200)
            self.set_header("Content-Type", "text/csv; charset=utf-8")
            self.finish(_csv(value.items))
            return
        self._json(route.success, wire.encode(value))

    async def _stream(self, call: Call) -> None:
        named = call.query.get("topics")
        topics = tuple(dict.fromkeys(t.strip() for t in named.split(","))) if named else STREAM_TOPICS
        unknown = [t for t in topics if t not in STREAM_TOPICS]
        if unknown:
            raise BadInput(
                f"There is no topic {unknown[0][:100]!r}.",
                hint=f"Topics: {', '.join(STREAM_TOPICS)}.",
                code="bad_parameter",
            )
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Accel-Buffering", "no")

        def write(data: bytes) -> asyncio.Future[None]:
            self.write(data)
            return self.flush()

        board = self.context.boards.get(call.runtime)
        if board is None:
            board = self.context.boards[call.runtime] = Board(call.runtime, self.context)
        connection = self.request.connection

        def hang_up() -> None:
            stream = getattr(connection, "stream", None)
            if stream is not None:
                stream.close()

        changes = call.query.get("changes") == "true"
        stream = Stream(call, board, topics, write, changes=changes, hang_up=hang_up)
        await stream.run(self.request.headers.get("Last-Event-ID"), call.query.get("limit"))
        self.finish()

    def _json(self, status: int, data: bytes) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(data)

    def _problem(self, found: wire.Problem) -> None:
        if self._headers_written:
            self.finish()
            return
        self.set_status(found.status)
        self.set_header("Content-Type", MEDIA_TYPE)
        self.finish(wire.encode(found))

    def finish(self, chunk: Any = None, **kwargs: Any) -> Any:
        """Jupyter's own ``finish`` would call everything plain JSON."""
        return web.RequestHandler.finish(self, chunk)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """What tornado or Jupyter refuse, in the same form; their reasons are in the log."""
        self._problem(from_http_status(status_code))

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("X-Content-Type-Options", "nosniff")

    def get_login_url(self) -> str:
        # An API does not send anybody to a login page.
        raise web.HTTPError(403)


class _Nowhere(ApiMixin):
    """Everything below the base that is no route."""

    routes: dict[str, Route] = {}  # noqa: RUF012  (the class is made once and never changed)

    async def _serve(self, method: str, args: tuple[str, ...]) -> None:
        try:
            await self._authorize("read" if method == "GET" else "write")
            self._problem(from_http_status(404))
        except SwanGpuError as error:
            self._problem(problem(error))


def handlers_for(base: type, context: ApiContext, prefix: str = "") -> list[tuple[str, type]]:
    """Tornado's ``(pattern, class)`` pairs for the whole table.

    Parameters
    ----------
    base : type
        The front door's API handler: it authenticates and has an ``authorizer``.
    context : ApiContext
    prefix : str
        Before `BASE`, where the front door does not add it itself.
    """
    by_path: dict[str, dict[str, Route]] = {}
    for route in ROUTES:
        by_path.setdefault(route.path, {})[route.method] = route
    out: list[tuple[str, type]] = []
    for path, routes in by_path.items():
        pattern = re.escape(f"{prefix}{BASE}{path}").replace(r"\{id\}", "([^/]+)")
        name = "".join(part.title() for part in re.findall(r"[a-z]+", path)) + "Handler"
        out.append((f"{pattern}/?", type(name, (ApiMixin, base), {"context": context, "routes": routes})))
    nowhere = type("NowhereHandler", (_Nowhere, base), {"context": context})
    out.append((re.escape(f"{prefix}{BASE}") + r"(?:/.*)?", nowhere))
    return out


def _csv(items: list[Any]) -> str:
    """Rows with a header; no cell can be taken for a formula by a spreadsheet."""
    out = io.StringIO()
    if not items:
        return ""
    rows = [msgspec.to_builtins(item) for item in items]
    writer = csv.writer(out)
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow(["" if v is None else _cell(v) for v in row.values()])
    return out.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value
