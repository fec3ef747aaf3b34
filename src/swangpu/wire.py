"""What goes over the wire: the only schema source.

OpenAPI (``api/openapi.py``) and the TypeScript types (``wire_ts.py``) are generated from these structs. Times are
Unix seconds (float, UTC); sizes, durations and powers carry their unit in the name.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from .domain.sessions import EndCause

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

Kind = Literal["kernel", "cluster", "job", "server"]
State = Literal["queued", "ready", "active", "paused", "ending", "ended"]
Name = Annotated[str, Meta(min_length=1, max_length=200)]


class Attach(Struct, forbid_unknown_fields=True):
    """The kernel to put on a session: by notebook path or by kernel id, one of the two."""

    path: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    kernel_id: Name | None = None
    carry: Literal["all", "none"] = "none"


class SessionRequest(Struct, forbid_unknown_fields=True):
    """Body of ``POST /sessions``: flavor or memory, one of the two; empty ``pools`` means any, first wins."""

    kind: Kind = "kernel"
    flavor: Name | None = None
    memory_bytes: Annotated[float, Meta(gt=0, le=1e15)] | None = None
    count: Annotated[int, Meta(ge=1, le=512)] = 1
    duration_s: Annotated[float, Meta(ge=60, le=2_678_400)] | None = None
    pools: Annotated[list[Name], Meta(max_length=50)] = []
    project: Name | None = None
    purpose: Annotated[str, Meta(max_length=1000)] | None = None
    attach: Attach | None = None
    on_ready: Literal["hold", "notify"] = "hold"
    options: dict[Name, Annotated[str, Meta(max_length=1000)]] = {}
    priority: Literal["interactive", "job", "backfill"] | None = None


class AttachRequest(Attach, forbid_unknown_fields=True):
    """Body of ``POST /sessions/{id}/attach``. ``in_place``: the kernel has put itself on the share already."""

    in_place: bool = False


class DetachRequest(Struct, forbid_unknown_fields=True):
    """Body of ``POST /sessions/{id}/detach``; no kernel means all of them.

    ``in_place``: the kernel has not used the share and has taken itself off it already, so it need not restart.
    """

    kernel_id: Name | None = None
    carry: Literal["all", "none"] = "none"
    in_place: bool = False


class ExtendRequest(Struct, forbid_unknown_fields=True):
    """Body of ``POST /sessions/{id}/extend``."""

    duration_s: Annotated[float, Meta(ge=60, le=2_678_400)] = 3600.0


class LookRequest(Struct, forbid_unknown_fields=True):
    """Body of ``POST /sessions/{id}/look``: have a reading each second for so long; ask again to go on."""

    for_s: Annotated[float, Meta(ge=1, le=30)] = 30.0


class ProfileRequest(Struct, forbid_unknown_fields=True):
    """Body of ``POST /sessions/{id}/profiles``: a cell has run. Times are Unix seconds.

    ``allocator_peak_bytes`` is what the frameworks in ``allocators`` say that the cell needed (``allocator_at_most``:
    no more than that), ``run_peak_bytes`` the highest of the run so far. ``run_id`` is the same for all cells of one
    process; ``every_cell``: all cells of it that ran on a GPU are profiled, not this one alone.
    """

    started_at: Annotated[float, Meta(ge=0, le=1e11)]
    ended_at: Annotated[float, Meta(ge=0, le=1e11)]
    run_id: Annotated[str, Meta(min_length=1, max_length=64)]
    kernel_id: Name | None = None
    every_cell: bool = False
    allocators: Annotated[list[Name], Meta(max_length=8)] = []
    allocator_peak_bytes: Annotated[int, Meta(ge=0, le=10**15)] | None = None
    allocator_at_most: bool = False
    run_peak_bytes: Annotated[int, Meta(ge=0, le=10**15)] | None = None


class Empty(Struct, forbid_unknown_fields=True):
    """The body of calls that take none."""


class ReasonView(Struct):
    """Why something is so: a code to translate, its numbers, and the English sentence."""

    code: str
    params: dict[str, str | int | float | None]
    text: str


class Estimate(Struct):
    """Waiting time in seconds: half of the cases under ``p50_s``, nine of ten under ``p90_s``."""

    p50_s: float
    p90_s: float
    basis: str


class Ends(Struct):
    """The first thing that will end a session, as far as is known."""

    at: float
    cause: EndCause


class ShareView(Struct):
    id: str
    device_uuid: str
    mig_uuid: str | None
    profile: str | None


class SessionView(Struct):
    """One session, as its owner or an operator sees it. ``actions`` are the calls that would work now."""

    id: str
    kind: Kind
    state: State
    end_reason: str | None
    reason: ReasonView | None
    pool: str | None
    flavor: str | None
    title: str
    count: int
    memory_bytes: int | None
    duration_s: float
    created_at: float
    started_at: float | None
    claim_by: float | None
    ends: Ends | None
    lease_until: float | None
    idle_since: float | None
    queue_position: int | None
    queue_length: int | None
    estimate: Estimate | None
    shares: list[ShareView]
    kernel_ids: list[str]
    path: str | None
    user: str
    mine: bool
    actions: list[str]
    undo_until: float | None
    simulated: bool
    purpose: str | None
    project: str | None
    #: a memory overuse on a time-slice, a lost device, a failed start: what the person should know now
    warning: ReasonView | None
    #: environment for the work, for its owner only; empty while nothing is held
    environment: dict[str, str]


class Offer(Struct):
    """One line of the answer to "where can I get this?"."""

    pool: str
    pool_title: str
    flavor: str
    title: str
    memory_bytes: int
    free: int
    total: int
    estimate: Estimate | None
    cost_per_hour: float | None
    currency: str | None
    as_of: float
    simulated: bool
    capacity_id: str


class FlavorView(Struct):
    """One flavor in one pool, counted in shares. ``busy``, ``held_idle`` and ``taken`` add to ``total`` with ``free``.

    ``taken``: used by processes that are not ours; ``queued``: sessions that wait for it.
    """

    name: str
    title: str
    memory_bytes: int
    kind: str
    total: int
    free: int
    busy: int
    held_idle: int
    taken: int
    queued: int
    cost_per_hour: float | None
    currency: str | None


class Pool(Struct):
    name: str
    title: str
    managed: bool
    available: bool
    reason: ReasonView | None
    hint: str | None
    simulated: bool
    as_of: float
    flavors: list[FlavorView]


class SampleView(Struct):
    """One reading. A field that is null has its reason in ``missing``."""

    taken_at: float
    utilization_percent: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    power_mw: int | None
    temperature_c: int | None
    process_count: int | None
    utilization_percent_max: float | None
    sm_activity_percent: float | None
    sm_clock_mhz: int | None
    throttle_reasons: list[str] | None
    pcie_tx_bytes_per_s: float | None
    pcie_rx_bytes_per_s: float | None
    nvlink_tx_bytes_per_s: float | None
    nvlink_rx_bytes_per_s: float | None
    ecc_uncorrected_count: int | None
    last_xid: int | None
    last_xid_at: float | None
    missing: dict[str, str]


class PodView(Struct):
    namespace: str
    name: str


class PodsView(Struct):
    """Which pods hold a GPU of the site: how many, and for operators which. None is not known, and has a reason."""

    count: int | None
    items: list[PodView] | None
    reason: ReasonView | None


class RemoteView(Struct):
    """Where a GPU is that is not this machine's, as the site's Prometheus knows it. It can be watched, not got.

    ``age_s``: how long ago its newest value was scraped, in seconds.
    """

    host: str
    age_s: float | None
    pods: PodsView


class MigDeviceView(Struct):
    uuid: str
    profile: str
    memory_bytes: int
    sample: SampleView | None
    #: of a GPU of another machine
    pods: PodsView | None


class Device(Struct):
    """A GPU. ``pool`` is empty for one that can't be got here."""

    uuid: str
    index: int
    name: str
    memory_bytes: int
    pool: str
    simulated: bool
    mig_devices: list[MigDeviceView]
    sample: SampleView | None
    #: why the device does not answer now
    lost: ReasonView | None
    #: of a GPU of another machine
    remote: RemoteView | None


class ProcessView(Struct):
    """A process on a device or MIG device. ``kind``: ``mine``, ``others`` (an operator sees them), or ``unheld``: it
    holds no session. ``how`` it was found to be a session's: ``tree``, ``environment`` or ``cgroup``."""

    device_uuid: str
    mig_uuid: str | None
    pid: int
    name: str
    kind: Literal["mine", "others", "unheld"]
    session_id: str | None
    kernel_id: str | None
    path: str | None
    how: str | None
    memory_bytes: int | None
    sm_percent: float | None


class HiddenProcesses(Struct):
    """What can't be told one by one of a device: how many are others', or why processes are not seen at all."""

    device_uuid: str
    mig_uuid: str | None
    count: int | None
    memory_bytes: int | None
    reason: ReasonView | None


class Processes(Struct):
    items: list[ProcessView]
    hidden: list[HiddenProcesses]
    as_of: float


class UnknownSince(Struct):
    """From when on which fields were not known, and why, until the next of them."""

    since: float
    missing: dict[str, str]


class History(Struct):
    """A down-sampled series: parallel lists, null where nothing is known; ``_max`` keeps the peaks.

    ``missing`` says why of the newest reading, ``reasons`` of all; where neither says anything, nothing was read.
    """

    subject: str
    interval_s: float
    times: list[float]
    utilization_percent: list[float | None]
    utilization_percent_min: list[float | None]
    utilization_percent_max: list[float | None]
    memory_used_bytes: list[int | None]
    memory_used_bytes_max: list[int | None]
    power_mw: list[int | None]
    temperature_c_max: list[int | None]
    sm_activity_percent: list[float | None]
    missing: dict[str, str]
    reasons: list[UnknownSince]


class Looking(Struct):
    """Until when there is a reading each second."""

    until: float


class ProfileView(Struct):
    """What one cell did on a GPU. A figure that is null has its reason in ``missing``.

    ``busy_percent_min`` and ``_max`` are certain, whatever happened between ``samples``; ``memory_source`` is
    ``allocator`` or ``allocator_at_most`` (of what ``allocators`` names), ``device``, or ``processes``. ``shared``:
    others use the same device, and the figures are those of the session's own processes.
    """

    session_id: str
    path: str | None
    kernel_id: str | None
    started_at: float
    ended_at: float
    wall_s: float
    busy_percent: float | None
    busy_percent_min: float | None
    busy_percent_max: float | None
    memory_peak_bytes: int | None
    memory_source: str | None
    allocators: list[str]
    energy_mj: int | None
    samples: int
    shared: bool
    missing: dict[str, str]
    #: a plain sentence where it is certain
    verdict: ReasonView | None
    simulated: bool


class QuotaUse(Struct):
    """A quota that concerns a session. ``whose``: ``you`` or a group; ``limit`` null is without limit."""

    whose: str
    flavor: str
    held: float
    nominal: float
    limit: float | None


class ReservationView(Struct):
    """Shares that are set aside for a time; for whom is not told."""

    title: str
    start: float
    end: float
    flavor: str
    count: int
    for_you: bool


class Explanation(Struct):
    """Why a session is where it is: the numbers behind the sentence.

    ``held_device_s`` and ``group_held_device_s``: device-seconds held lately by its owner and the group; what was held
    a half-life ago counts half. Who has held less, for the group's weight, goes first.
    """

    session_id: str
    reason: ReasonView
    queue_position: int | None
    queue_length: int | None
    ahead: list[str]
    estimate: Estimate | None
    candidates: list[FlavorView]
    next_free_at: list[float]
    priority: str
    held_device_s: float
    group: str | None
    group_held_device_s: float | None
    group_weight: float | None
    half_life_s: float
    quotas: list[QuotaUse]
    reservations: list[ReservationView]


class NameAndWhy(Struct):
    name: str
    why: str


class StackFinding(Struct):
    """A GPU library found in the kernel's environment: ``cuda`` false means that it cannot use a GPU."""

    package: str
    version: str | None
    cuda: bool | None
    text: str


class KernelPreview(Struct):
    """What attaching would do to a kernel. Answer of ``GET /kernels/preview``."""

    kernel_id: str
    restart_needed: bool
    carry_supported: bool
    carried: list[str]
    left: list[NameAndWhy]
    stack: list[StackFinding]
    #: a sentence when the environment can't use a GPU
    warning: ReasonView | None


class Notice(Struct):
    """Something a person should know, with what can be done about it."""

    id: str
    at: float
    code: str
    level: Literal["info", "success", "warning", "error"]
    text: str
    params: dict[str, str | int | float | None]
    session_id: str | None
    actions: list[str]


class Collection(Struct):
    """Documentation only: collections answer ``{"items": [...], "as_of": t}``."""

    items: list[Any]
    as_of: float


class Problem(Struct):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    hint: str
    params: dict[str, Any]


class Offers(Struct):
    items: list[Offer]
    as_of: float
    #: where less than is asked for would do, by what this notebook's last runs needed
    advice: ReasonView | None = None


class Pools(Struct):
    items: list[Pool]
    as_of: float


class Devices(Struct):
    items: list[Device]
    as_of: float
    driver: ReasonView | None
    #: why the site's other GPUs are not all here, where they are asked for
    remote: ReasonView | None


class Profiles(Struct):
    items: list[ProfileView]
    as_of: float


class Sessions(Struct):
    items: list[SessionView]
    as_of: float


class UsageRow(Struct):
    key: str
    sessions: int
    held_gpu_s: float
    busy_s: float | None


class DemandRow(Struct):
    key: str
    looked: int
    granted: int
    refused: int
    given_up: int
    unclaimed: int
    settled: int
    failed: int
    waited_p50_s: float | None
    waited_p90_s: float | None


class Usage(Struct):
    items: list[UsageRow]
    as_of: float


class Demand(Struct):
    items: list[DemandRow]
    as_of: float


class TelemetryEvent(Struct):
    """``event: telemetry``: what each session uses, by id; with the topic ``devices`` the latest samples, by UUID."""

    as_of: float
    samples: dict[str, SampleView]
    sessions: dict[str, SampleView]


class ChangesEvent(Struct, omit_defaults=True):
    """``event: changes``, where it was asked for: what of a topic differs from the event before.

    ``changed`` has the changed fields only: of ``telemetry`` under ``samples`` and ``sessions`` by id, of ``sessions``
    and ``pools`` under ``items`` by id or name, a pool's ``flavors`` by name. ``gone``: paths of what is there no more.
    A sample's ``taken_at`` is only told (null: as of the event) when it stops or starts to be as new as the event.
    """

    topic: Literal["telemetry", "sessions", "pools"]
    as_of: float
    changed: dict[str, Any]
    gone: list[list[str]] = []


class SessionsEvent(Struct):
    """``event: sessions``: all of a person's sessions that are not long ended."""

    as_of: float
    items: list[SessionView]


class PoolsEvent(Struct):
    """``event: pools``."""

    as_of: float
    items: list[Pool]


class NoticesEvent(Struct):
    """``event: notices``."""

    as_of: float
    items: list[Notice]


class Hello(Struct):
    """``event: hello``, the first of a stream: ``snapshot`` is false when it continues from ``Last-Event-ID``."""

    epoch: str
    snapshot: bool
    server: str
    simulated: bool


def encode(value: object) -> bytes:
    """JSON of a struct."""
    return msgspec.json.encode(value)
