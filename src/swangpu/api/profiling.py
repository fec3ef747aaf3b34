"""The calls behind ``%%gpu --profile``: look while a cell runs, say what it did, and keep that."""

from __future__ import annotations

import math
import posixpath
from typing import TYPE_CHECKING

from .. import wire
from ..broker.rightsize import RUNS_LOOKED_AT, Choice, advise
from ..broker.state import BrokerState
from ..domain.devices import ShareKind
from ..domain.records import ProfileRecord
from ..domain.sessions import Request, Session, SessionState
from ..errors import BadInput, Conflict, SwanGpuError
from ..telemetry.profile import LAG_S, CellProfile, from_series, profile_of, verdict
from .views import offers, reason_view

if TYPE_CHECKING:
    from .calls import Call

__all__ = ["advice_for", "get_profiles", "post_look", "post_profile"]

#: how long the answer waits for the reading that tells of the cell's end, in seconds
WAIT_S = LAG_S + 1.5
#: the next cell may follow so soon that looking on is better than looking anew
LINGER_S = 5.0
#: between two readings while nobody looks, in seconds: the first after the start tells of before, too
UNWATCHED_S = 10.0
#: clocks of one machine, in seconds
SLACK_S = 5.0
SHARED = (ShareKind.MPS, ShareKind.TIME_SLICE)


async def post_look(call: Call) -> wire.Looking:
    session, runtime = call.session(), call.runtime
    if session.state is not SessionState.ACTIVE or runtime.telemetry is None:
        raise Conflict("This session holds no GPU now.", hint="Get one first: `%gpu get 10GB`.", code="not_active")
    return wire.Looking(until=call.context.lookout.look(runtime, session, call.body.for_s))


async def post_profile(call: Call) -> wire.ProfileView:
    session, runtime, body, lookout = call.session(), call.runtime, call.body, call.context.lookout
    start, end = body.started_at, body.ended_at
    if not start < end <= runtime.now() + SLACK_S:
        raise BadInput(
            "A cell ends after it has started, and not in the future.",
            hint="Times are Unix seconds.",
            code="bad_times",
            field="ended_at",
        )
    if session.started_at is None or session.pool is None or session.flavor is None:
        raise Conflict("This session has not held a GPU yet.", hint="Get one first.", code="not_active")
    if end - start >= LAG_S:
        await lookout.read_until(session.id, end + LAG_S, WAIT_S)
    lookout.shorten(runtime, session.id, LINGER_S)
    record = _record(call, session, _measured(call, session, start, end))
    await runtime.add_profile(record)
    return _view(runtime.broker.state, record)


async def get_profiles(call: Call) -> wire.Profiles:
    session, runtime = call.session(), call.runtime
    found = await runtime.profiles(session.id)
    return wire.Profiles(items=[_view(runtime.broker.state, one) for one in found], as_of=runtime.now())


async def advice_for(call: Call, request: Request) -> wire.ReasonView | None:
    """Whether less than what is asked for would do for a notebook, by what its last runs needed."""
    runtime, query = call.runtime, call.query
    kernels = runtime.kernels.kernels() if runtime.kernels is not None else ()
    path = query.get("path") or next((k.path for k in kernels if k.kernel_id == query.get("kernel_id")), None)
    if path is None or request.count != 1:
        return None
    try:
        runs = await runtime.run_peaks(call.user, path, RUNS_LOOKED_AT)
    except SwanGpuError:
        return None  # without advice an offer is as good
    state = runtime.broker.state
    anything = Request(kind=request.kind, memory_bytes=0, duration_s=request.duration_s)
    found = offers(state, anything, call.context.known(runtime)) if runs else []
    choices = [
        Choice(o.title, o.flavor, o.memory_bytes, o.free)
        for o in found
        # in a time-slice nobody's memory is safe, and what others wait for is not free
        if _kind(state, o.pool, o.flavor) is not ShareKind.TIME_SLICE
        and o.estimate is not None
        and o.estimate.p90_s <= 0
    ]
    asked = next((o.memory_bytes for o in found if o.flavor == request.flavor), request.memory_bytes or None)
    said = advise(runs, choices, asked, posixpath.basename(path))
    return reason_view(said) if said is not None else None


def _measured(call: Call, session: Session, start: float, end: float) -> CellProfile:
    """From the readings of the look; where there was none, as after a restart of this server, from the history."""
    runtime = call.runtime
    readings, missing = call.context.lookout.readings(session.id)
    if any(start < reading.until and reading.since < end for reading in readings):
        # of a shared device it is told what the session's processes used of it
        exact = _kind(runtime.broker.state, session.pool, session.flavor) not in SHARED
        return profile_of(readings, start, end, missing, exact=exact)
    begin = start + UNWATCHED_S
    if runtime.telemetry is None or end - begin < UNWATCHED_S:
        return profile_of([], start, end, _of_parts(call, session))
    points = min(2000, math.ceil(end - begin))
    series = runtime.telemetry.history(session.id, begin, end, points)
    missing = {**series["missing"], **_of_parts(call, session)}
    return profile_of(from_series(series, series["interval_s"]), start, end, missing, exact=False)


def _of_parts(call: Call, session: Session) -> dict[str, str]:
    """What is told of whole devices only. The session may have given its shares back by now: its flavor is known."""
    whole = _kind(call.runtime.broker.state, session.pool, session.flavor) is ShareKind.WHOLE
    return {} if whole else {"power_mw": "shared"}


def _kind(state: BrokerState, pool: str | None, flavor: str | None) -> ShareKind:
    """What is not known to be one's own is nobody's."""
    inventory = state.pools.get(pool or "")
    kinds = {f.name: f.kind for f in inventory.flavors} if inventory is not None else {}
    return kinds.get(flavor or "", ShareKind.TIME_SLICE)


def _record(call: Call, session: Session, found: CellProfile) -> ProfileRecord:
    body, runtime = call.body, call.runtime
    missing, memory, source = dict(found.missing), found.memory_peak_bytes, None
    if body.allocator_peak_bytes is not None:
        memory, source = body.allocator_peak_bytes, "allocator_at_most" if body.allocator_at_most else "allocator"
        missing.pop("memory_peak_bytes", None)
    elif memory is not None:
        kind = _kind(runtime.broker.state, session.pool, session.flavor)
        source = "processes" if kind in SHARED else "device"
    kernels = runtime.kernels.kernels() if runtime.kernels is not None else ()
    path = next((k.path for k in kernels if k.kernel_id == body.kernel_id), None) or runtime.kernel_path(session)
    inventory = runtime.broker.state.pools.get(session.pool or "")
    flavors = inventory.flavors if inventory is not None else ()
    return ProfileRecord(
        session_id=session.id,
        user=session.user,
        path=path,
        kernel_id=body.kernel_id or "",
        run_id=body.run_id,
        every_cell=body.every_cell,
        pool=session.pool or "",
        flavor=session.flavor or "",
        share_memory_bytes=max((f.memory_bytes for f in flavors if f.name == session.flavor), default=0),
        started_at=body.started_at,
        ended_at=body.ended_at,
        busy_percent=found.busy_percent,
        busy_percent_min=found.busy_percent_min,
        busy_percent_max=found.busy_percent_max,
        memory_peak_bytes=memory,
        memory_source=source,
        allocators=tuple(body.allocators),
        run_peak_bytes=body.run_peak_bytes,
        energy_mj=found.energy_mj,
        samples=found.samples,
        missing=tuple(sorted(missing.items())),
        simulated=bool(inventory.simulated) if inventory is not None else runtime.simulated,
    )


def _view(state: BrokerState, record: ProfileRecord) -> wire.ProfileView:
    bounds = CellProfile(busy_percent_min=record.busy_percent_min, busy_percent_max=record.busy_percent_max)
    said = verdict(bounds)
    return wire.ProfileView(
        session_id=record.session_id,
        path=record.path,
        kernel_id=record.kernel_id or None,
        started_at=record.started_at,
        ended_at=record.ended_at,
        wall_s=record.ended_at - record.started_at,
        busy_percent=record.busy_percent,
        busy_percent_min=record.busy_percent_min,
        busy_percent_max=record.busy_percent_max,
        memory_peak_bytes=record.memory_peak_bytes,
        memory_source=record.memory_source,
        allocators=list(record.allocators),
        energy_mj=record.energy_mj,
        samples=record.samples,
        shared=_kind(state, record.pool, record.flavor) in SHARED,
        missing=dict(record.missing),
        verdict=reason_view(said) if said is not None else None,
        simulated=record.simulated,
    )
