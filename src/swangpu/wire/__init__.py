"""What goes over the wire: the only schema source.

OpenAPI (``api/openapi.py``) and the TypeScript types (``wire_ts.py``) are generated from these structs. Times are
Unix seconds (float, UTC); sizes, durations and powers carry their unit in the name.
"""

from __future__ import annotations

import msgspec

from .accounting import Demand, DemandRow, Usage, UsageRow
from .requests import (
    Attach,
    AttachRequest,
    DetachRequest,
    Empty,
    ExtendRequest,
    LookRequest,
    ProfileRequest,
    SessionRequest,
)
from .sessions import (
    Collection,
    Ends,
    Estimate,
    Explanation,
    FlavorView,
    KernelPreview,
    NameAndWhy,
    Notice,
    Offer,
    Offers,
    Pool,
    Pools,
    Problem,
    QuotaUse,
    ReasonView,
    ReservationView,
    Sessions,
    SessionView,
    ShareView,
    StackFinding,
)
from .stream import ChangesEvent, Hello, NoticesEvent, PoolsEvent, SessionsEvent, TelemetryEvent
from .telemetry import (
    Device,
    Devices,
    HiddenProcesses,
    History,
    Looking,
    MigDeviceView,
    PodsView,
    PodView,
    Processes,
    ProcessView,
    Profiles,
    ProfileView,
    RemoteView,
    SampleView,
    UnknownSince,
)

__all__ = [
    "Attach",
    "AttachRequest",
    "ChangesEvent",
    "Collection",
    "Demand",
    "DemandRow",
    "DetachRequest",
    "Device",
    "Devices",
    "Empty",
    "Ends",
    "Estimate",
    "Explanation",
    "ExtendRequest",
    "FlavorView",
    "Hello",
    "HiddenProcesses",
    "History",
    "KernelPreview",
    "LookRequest",
    "Looking",
    "MigDeviceView",
    "NameAndWhy",
    "Notice",
    "NoticesEvent",
    "Offer",
    "Offers",
    "PodView",
    "PodsView",
    "Pool",
    "Pools",
    "PoolsEvent",
    "Problem",
    "ProcessView",
    "Processes",
    "ProfileRequest",
    "ProfileView",
    "Profiles",
    "QuotaUse",
    "ReasonView",
    "RemoteView",
    "ReservationView",
    "SampleView",
    "SessionRequest",
    "SessionView",
    "Sessions",
    "SessionsEvent",
    "ShareView",
    "StackFinding",
    "TelemetryEvent",
    "UnknownSince",
    "Usage",
    "UsageRow",
    "encode",
]


def encode(value: object) -> bytes:
    """JSON of a struct."""
    return msgspec.json.encode(value)
