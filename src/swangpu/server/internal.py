"""What the servers of one user ask of each other: a few routes that no browser and no person may use.

Below ``/swangpu/internal/v1/``, and not in the public table: they change with the version of the servers, and are
good with this server's own token only, whoever is logged in.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from jupyter_server.auth.decorator import allow_unauthenticated
from tornado import web

from .. import wire
from ..api.inputs import parse_body
from ..api.problems import MEDIA_TYPE, from_http_status, problem
from ..domain.sessions import Carry
from ..errors import BadInput, NotFound, SwanGpuError
from ..ports import KernelHost, KernelInfo, Saying

if TYPE_CHECKING:
    from .service import Service

__all__ = ["BASE", "KernelCall", "Kernels", "Report", "handlers_for"]

log = logging.getLogger(__name__)

BASE = "/swangpu/internal/v1"


class KernelCall(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is to be done with a kernel; each action reads what it needs."""

    session_id: str = ""
    env: dict[str, str | None] = {}
    carry: str = "none"
    stop_cell: bool = False
    closed: bool = False
    message: str = ""
    methods: list[str] = []
    budget_bytes: int | None = None
    stays_bytes: int = 0
    saying: Saying | None = None


class Kernels(msgspec.Struct):
    """The kernels of the server with this process id."""

    server: int
    items: list[KernelInfo]


class Report(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What happened in the server with process id ``server``.

    ``kind``: ``gone`` (one kernel), ``activity`` (of one session), ``here`` (kernels that outlived their server) or
    ``left`` (variables that did not come along: their ``names``, or ``why`` none did).
    """

    server: int
    kind: str
    session_id: str = ""
    kernel_id: str = ""
    busy: bool = False
    kernels: list[KernelInfo] = []
    names: list[str] = []
    why: str = ""


class _Handler(web.RequestHandler):
    """Lets in who knows our token; plain tornado, since nothing of Jupyter's login is to be good here."""

    token: str
    service: Callable[[], Awaitable[Service]]

    def check_xsrf_cookie(self) -> None:
        """A page cannot send our token, which it does not know."""

    def prepare(self) -> None:
        given = self.request.headers.get("Authorization", "")
        token = given[6:] if given.lower().startswith("token ") else ""
        if not token or not hmac.compare_digest(token.encode(), self.token.encode()):
            raise web.HTTPError(403)

    async def answer(self, work: Callable[[Service], Awaitable[object]]) -> None:
        try:
            self._json(200, msgspec.json.encode(await work(await type(self).service())))
        except SwanGpuError as error:
            found = problem(error)
            self._json(found.status, wire.encode(found), MEDIA_TYPE)
        except Exception:
            log.exception("%s %s failed", self.request.method, self.request.path)
            self.write_error(500)

    def _json(self, status: int, data: bytes, kind: str = "application/json") -> None:
        self.set_status(status)
        self.set_header("Content-Type", kind)
        self.set_header("Cache-Control", "no-store")
        self.finish(data)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self._json(status_code, wire.encode(from_http_status(status_code)), MEDIA_TYPE)


class _KernelsHandler(_Handler):
    @allow_unauthenticated  # type: ignore[untyped-decorator,unused-ignore]
    async def get(self) -> None:
        async def work(service: Service) -> Kernels:
            await service.kernels.local.refresh()
            return Kernels(os.getpid(), list(service.kernels.local.kernels()))

        await self.answer(work)


class _KernelHandler(_Handler):
    _task: asyncio.Future[object] | None = None

    @allow_unauthenticated  # type: ignore[untyped-decorator,unused-ignore]
    async def post(self, kernel_id: str, action: str) -> None:
        async def work(service: Service) -> object:
            call: KernelCall = parse_body(KernelCall, self.request.body)
            host = service.kernels.local
            if action in ("attach", "bind"):
                # a kernel of ours is on a session: when the leader dies, somebody has to know
                service.stand_by()
            task = asyncio.ensure_future(_do(host, kernel_id, action, call))
            self._task = task if action == "detach" else None
            found = await task
            if action in ("preview", "suspend", "resume"):
                return found
            return next((k for k in host.kernels() if k.kernel_id == kernel_id), None)

        await self.answer(work)

    def on_connection_close(self) -> None:
        """The leader waits no longer for a detach: it asks again, without the variables, and must not find us at it."""
        if self._task is not None:
            self._task.cancel()


class _EventsHandler(_Handler):
    @allow_unauthenticated  # type: ignore[untyped-decorator,unused-ignore]
    async def post(self) -> None:
        async def work(service: Service) -> None:
            await service.kernels.take(parse_body(Report, self.request.body))

        await self.answer(work)


async def _do(host: KernelHost, kernel_id: str, action: str, call: KernelCall) -> object:
    """One call of the port, as it would have been made here."""
    try:
        carry = Carry(call.carry)
    except ValueError:
        raise BadInput("There is no such way to carry variables.", code="bad_field", field="carry") from None
    match action:
        case "attach":
            await host.attach(kernel_id, call.session_id, call.env, carry)
        case "detach":
            await host.detach(kernel_id, call.session_id, carry, stop_cell=call.stop_cell)
        case "bind":
            await host.bind_in_place(kernel_id, call.session_id, call.env)
        case "unbind":
            await host.unbind(kernel_id, call.session_id)
        case "gate":
            await host.gate(kernel_id, call.closed, call.message)
        case "say":
            await host.say(kernel_id, call.saying or Saying())
        case "preview":
            return await host.preview(kernel_id)
        case "suspend":
            return await host.suspend(kernel_id, call.methods, call.budget_bytes, call.stays_bytes)
        case "resume":
            return await host.resume(kernel_id, call.env)
        case _:
            raise NotFound("There is nothing at this address.", code="no_such_route")
    return None


def handlers_for(token: str, service: Callable[[], Awaitable[Service]], prefix: str = "") -> list[tuple[str, type]]:
    """Tornado's ``(pattern, class)`` pairs.

    Parameters
    ----------
    token : str
        This server's own.
    service : callable
        The service of this server, made when it is first needed.
    prefix : str
        Before `BASE`.
    """
    given = {"token": token, "service": staticmethod(service)}
    routes = (
        (r"/kernels", _KernelsHandler),
        (r"/kernels/([^/]+)/([a-z]+)", _KernelHandler),
        ("/events", _EventsHandler),
    )
    at = re.escape(prefix + BASE)
    return [(at + path, type(kind.__name__.strip("_"), (kind,), given)) for path, kind in routes]
