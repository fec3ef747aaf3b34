"""The route table: the handlers, the OpenAPI document and the tests are made from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from .. import wire
from ..ledger.reports import COLUMNS
from . import calls, profiling
from .calls import Call
from .inputs import Parameter

__all__ = ["BASE", "ROUTES", "STREAM_TOPICS", "Route"]

BASE = "/swangpu/api/v1"

#: ``devices`` adds the samples of all devices to ``telemetry``, which has only those of one's own sessions otherwise
STREAM_TOPICS = ("telemetry", "devices", "sessions", "pools", "notices")


@dataclass(frozen=True)
class Route:
    """One call.

    Attributes
    ----------
    path : str
        Below `BASE`; ``{id}`` stands for a session's id.
    run : callable or None
        None for the two routes that are not plain calls: the stream and the document itself.
    success : int
        The status when it works.
    refusals : tuple of int
        Other statuses that this call can answer with, beside those that every call can.
    """

    method: str
    path: str
    summary: str
    answer: type | None
    run: Callable[[Call], Awaitable[Any]] | None = None
    body: type | None = None
    query: tuple[Parameter, ...] = ()
    success: int = 200
    refusals: tuple[int, ...] = ()
    csv: bool = False

    @property
    def action(self) -> str:
        """What an authorizer is asked for."""
        return "read" if self.method == "GET" else "write"


_MEMORY = Parameter("memory_bytes", float, "Memory that is needed, in bytes.", 0, 1e15)
_BY = Parameter("by", str, "What to group by.", choices=tuple(COLUMNS))
_FROM = Parameter("from", float, "Unix seconds.", 0, 1e11)
_TO = Parameter("to", float, "Unix seconds.", 0, 1e11)
_UNDO = Parameter(
    "undo", str, "Whether it can be undone for a while; a command's share need not.", choices=("true", "false")
)
_KINDS = ("kernel", "cluster", "job", "server")

_KERNEL = (
    Parameter("kernel_id", str, "A kernel's id."),
    Parameter("path", str, "A notebook's path."),
)
_OFFERS = (
    _MEMORY,
    Parameter("flavor", str, "One flavor only."),
    Parameter("count", int, "Shares that are needed.", 1, 512),
    Parameter("kind", str, "What they are for.", choices=_KINDS),
    Parameter("duration_s", float, "For how long, in seconds.", 60, 2_678_400),
    # for whose notebook: its last runs may tell that less would do
    *_KERNEL,
)
_HISTORY = (
    Parameter("device", str, "UUID of a device or MIG device."),
    Parameter("session", str, "A session's id."),
    _FROM,
    _TO,
    Parameter("points", int, "Points at most.", 1, 2000),
)
_STREAM = (
    Parameter("topics", str, f"Comma-separated, of {', '.join(STREAM_TOPICS)}; all when not named."),
    Parameter("limit", int, "End after so many events.", 1, 1_000_000),
    Parameter(
        "changes",
        str,
        "Tell what has changed since the event before, instead of all.",
        choices=("true", "false"),
    ),
)

_CHANGE = (404, 409)

ROUTES: tuple[Route, ...] = (
    Route("GET", "/offers", "Where can I get this?", wire.Offers, calls.get_offers, query=_OFFERS),
    Route("GET", "/pools", "Pools with their flavors, counted.", wire.Pools, calls.get_pools),
    Route("GET", "/processes", "Processes on devices, and whose they are.", wire.Processes, calls.get_processes),
    Route(
        "GET",
        "/devices",
        "Devices with their latest sample, here and, where it is set up, on the site.",
        wire.Devices,
        calls.get_devices,
    ),
    Route("GET", "/sessions", "My sessions.", wire.Sessions, calls.get_sessions),
    Route(
        "POST",
        "/sessions",
        "Ask for shares. Honours Idempotency-Key.",
        wire.SessionView,
        calls.post_session,
        wire.SessionRequest,
        success=201,
        refusals=(404, 409, 422),
    ),
    Route("GET", "/sessions/{id}", "One session.", wire.SessionView, calls.get_session, refusals=(404,)),
    Route(
        "DELETE",
        "/sessions/{id}",
        "Give it back.",
        wire.SessionView,
        calls.delete_session,
        query=(_UNDO,),
        refusals=(404,),
    ),
    Route(
        "POST",
        "/sessions/{id}/attach",
        "Put a kernel on it.",
        wire.SessionView,
        calls.post_attach,
        wire.AttachRequest,
        refusals=_CHANGE,
    ),
    Route(
        "POST",
        "/sessions/{id}/detach",
        "Take a kernel off it.",
        wire.SessionView,
        calls.post_detach,
        wire.DetachRequest,
        refusals=_CHANGE,
    ),
    Route(
        "POST",
        "/sessions/{id}/claim",
        "Start the lease without a kernel, for a command.",
        wire.SessionView,
        calls.post_claim,
        wire.Empty,
        refusals=_CHANGE,
    ),
    Route(
        "POST",
        "/sessions/{id}/extend",
        "Make the lease longer.",
        wire.SessionView,
        calls.post_extend,
        wire.ExtendRequest,
        refusals=_CHANGE,
    ),
    Route("POST", "/sessions/{id}/pause", "Pause.", wire.SessionView, calls.post_pause, wire.Empty, refusals=_CHANGE),
    Route(
        "POST", "/sessions/{id}/resume", "Resume.", wire.SessionView, calls.post_resume, wire.Empty, refusals=_CHANGE
    ),
    Route(
        "POST",
        "/sessions/{id}/undo",
        "Undo a release.",
        wire.SessionView,
        calls.post_undo,
        wire.Empty,
        refusals=_CHANGE,
    ),
    Route(
        "POST",
        "/sessions/{id}/scale",
        "Scale a cluster.",
        wire.SessionView,
        calls.post_scale,
        wire.Empty,
        refusals=_CHANGE,
    ),
    Route(
        "POST",
        "/sessions/{id}/look",
        "Have a reading each second for a while.",
        wire.Looking,
        profiling.post_look,
        wire.LookRequest,
        refusals=_CHANGE,
    ),
    Route(
        "POST",
        "/sessions/{id}/profiles",
        "A cell has run: what did it do?",
        wire.ProfileView,
        profiling.post_profile,
        wire.ProfileRequest,
        refusals=_CHANGE,
    ),
    Route(
        "GET",
        "/sessions/{id}/profiles",
        "What its profiled cells did.",
        wire.Profiles,
        profiling.get_profiles,
        refusals=(404,),
    ),
    Route("GET", "/sessions/{id}/explain", "Why?", wire.Explanation, calls.get_explain, refusals=(404,)),
    Route(
        "GET", "/history", "A down-sampled series.", wire.History, calls.get_history, query=_HISTORY, refusals=(404,)
    ),
    Route("GET", "/usage", "What was held.", wire.Usage, calls.get_usage, query=(_BY, _FROM, _TO), csv=True),
    Route("GET", "/demand", "What was asked for.", wire.Demand, calls.get_demand, query=(_BY, _FROM, _TO), csv=True),
    Route(
        "GET",
        "/kernels/preview",
        "What attaching would do to a kernel.",
        wire.KernelPreview,
        calls.get_preview,
        query=_KERNEL,
        refusals=(404, 409),
    ),
    Route("GET", "/stream", "Server-sent events.", None, query=_STREAM),
    Route("GET", "/openapi.json", "This document.", None),
)
