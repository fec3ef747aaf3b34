"""Sessions, what can be had, and why somebody waits."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from ..domain.sessions import EndCause
from .names import Kind, State

__all__ = [
    "Collection",
    "Ends",
    "Estimate",
    "Explanation",
    "FlavorView",
    "KernelPreview",
    "NameAndWhy",
    "Notice",
    "Offer",
    "Offers",
    "Pool",
    "Pools",
    "Problem",
    "QuotaUse",
    "ReasonView",
    "ReservationView",
    "SessionView",
    "Sessions",
    "ShareView",
    "StackFinding",
]


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
    """The first thing that will end a session, as far as is known; ``title`` is the reservation's, where one will."""

    at: float
    cause: EndCause
    title: str | None = None


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


class Sessions(Struct):
    items: list[SessionView]
    as_of: float
