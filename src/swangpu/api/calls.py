"""What each call does. One function a route: runtime, who asks, and parsed input in; a struct out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .. import wire
from ..broker import events as ev
from ..domain.sessions import Carry, Request, Session, SessionKind
from ..errors import Conflict, NotFound
from ..runtime import Runtime
from ..runtime.kernels import look_for
from . import views
from .context import ApiContext
from .device_views import device_view, driver_view
from .explaining import explanation
from .inputs import check_attach, request_of
from .process_views import processes
from .profiling import advice_for
from .remote_views import remote_devices, remote_trouble

__all__ = ["Call"]

#: the same person looking at the same offers within this time is one look
LOOK_S = 60.0


@dataclass
class Call:
    """One request, authenticated and parsed."""

    context: ApiContext
    runtime: Runtime
    user: str
    operator: bool
    body: Any = None
    query: dict[str, Any] = field(default_factory=dict)
    session_id: str = ""
    key: str | None = None

    def session(self) -> Session:
        """The session that the address names, if the person may see it: others' are as if they were not."""
        found = self.runtime.broker.state.sessions.get(self.session_id)
        if found is None or (found.user != self.user and not self.operator):
            raise NotFound("There is no such session.", hint="It may have ended some time ago.", code="no_such_session")
        return found

    def view(self, session: Session) -> wire.SessionView:
        runtime = self.runtime
        session = runtime.broker.state.sessions.get(session.id, session)
        known = self.context.known(runtime)
        return views.session_view(runtime.broker.state, session, known, for_owner=session.user == self.user)


async def get_offers(call: Call) -> wire.Offers:
    runtime, query = call.runtime, call.query
    await runtime.refresh(max_age_s=2.0)
    flavor = query.get("flavor")
    memory = query.get("memory_bytes")
    request = Request(
        kind=SessionKind(query.get("kind", "kernel")),
        flavor=flavor,
        memory_bytes=None if flavor is not None else int(memory or 0),
        count=query.get("count", 1),
        duration_s=query.get("duration_s", runtime.broker.state.policy.default_lease_s),
    )
    found = views.offers(runtime.broker.state, request, call.context.known(runtime))
    if memory is not None:
        found = [o for o in found if o.memory_bytes >= memory]
    if request.kind.value not in runtime.broker.state.policy.hosted_kinds:
        found = []
    await _record_look(call, request)
    return wire.Offers(items=found, as_of=runtime.now(), advice=await advice_for(call, request))


async def _record_look(call: Call, request: Request) -> None:
    looked, now = call.context.looked, call.runtime.now()
    key = (call.user, request.kind, request.flavor, request.memory_bytes, request.count, request.duration_s)
    if now - looked.get(key, float("-inf")) < LOOK_S:
        return
    for old in [k for k, at in looked.items() if now - at >= LOOK_S]:
        del looked[old]
    looked[key] = now
    await call.runtime.handle(
        ev.Looked(
            user=call.user,
            kind=request.kind.value,
            flavor=request.flavor,
            memory_bytes=request.memory_bytes or None,
            count=request.count,
            duration_s=request.duration_s,
        )
    )


async def get_pools(call: Call) -> wire.Pools:
    await call.runtime.refresh(max_age_s=2.0)
    state, known = call.runtime.broker.state, call.context.known(call.runtime)
    return wire.Pools(items=[views.pool_view(state, p, known) for p in state.pools.values()], as_of=known.now)


async def get_processes(call: Call) -> wire.Processes:
    """One's own by notebook; of others only how many, unless one is an operator."""
    runtime = call.runtime
    await _see_renames(call)
    await runtime.refresh(max_age_s=2.0)
    latest = runtime.telemetry.latest()
    sessions = runtime.broker.state.sessions
    paths = {k.kernel_id: k.path for k in (runtime.kernels.kernels() if runtime.kernels is not None else ())}
    items, hidden = processes(
        latest.devices,
        latest.samples,
        runtime.telemetry.processes(),
        {i: s.user for i, s in sessions.items()},
        paths,
        call.user,
        operator=call.operator,
    )
    return wire.Processes(items=items, hidden=hidden, as_of=latest.as_of)


async def get_devices(call: Call) -> wire.Devices:
    runtime = call.runtime
    await asyncio.gather(runtime.refresh(max_age_s=2.0), runtime.telemetry.look_at_remote())
    latest = runtime.telemetry.latest()
    pools = {s.device_uuid: p for p in runtime.broker.state.pools.values() for s in p.shares}
    items = []
    for info in sorted(latest.devices.values(), key=lambda d: d.index):
        pool = pools.get(info.uuid)
        items.append(
            device_view(
                info,
                latest.samples,
                pool.pool if pool else "",
                simulated=runtime.simulated,
                silent_since=latest.silent_since.get(info.uuid),
            )
        )
    away = None
    if latest.remote is not None:
        items += remote_devices(latest.remote, runtime.now(), operator=call.operator)
        away = remote_trouble(latest.remote)
    return wire.Devices(items=items, as_of=latest.as_of, driver=driver_view(latest.driver), remote=away)


def sessions_of(call: Call) -> list[wire.SessionView]:
    """A person's own sessions; for an operator everybody's."""
    state = call.runtime.broker.state
    return [call.view(s) for s in state.sessions.values() if call.operator or s.user == call.user]


async def get_sessions(call: Call) -> wire.Sessions:
    await _see_renames(call)
    return wire.Sessions(items=sessions_of(call), as_of=call.runtime.now())


async def _see_renames(call: Call) -> None:
    """A notebook that was renamed is shown under its new name."""
    if call.runtime.kernels is not None:
        await call.runtime.kernels.refresh()


async def post_session(call: Call) -> wire.SessionView:
    request = request_of(call.body, call.runtime.broker.state.policy.default_lease_s)
    kernels = call.runtime.kernels
    if kernels is not None and call.body.attach is not None:
        path, kernel_id = request.attach_path, request.attach_kernel_id
        # each that is named is looked for: they may be two
        if path is not None and await look_for(kernels, None, path) is None:
            raise NotFound("The notebook has no running kernel.", hint="Start its kernel first.", code="no_such_kernel")
        if kernel_id is not None and await look_for(kernels, kernel_id, None) is None:
            raise NotFound("There is no such kernel.", hint="Start it first.", code="no_such_kernel")
    return call.view(await call.runtime.request(call.user, request, call.key))


async def get_session(call: Call) -> wire.SessionView:
    await _see_renames(call)
    return call.view(call.session())


async def delete_session(call: Call) -> wire.SessionView:
    session = call.session()
    await call.runtime.handle(ev.Released(session.id, undoable=call.query.get("undo", "true") == "true"))
    return call.view(session)


async def post_attach(call: Call) -> wire.SessionView:
    session, body = call.session(), call.body
    check_attach(body)
    return call.view(
        await call.runtime.attach(session.id, body.kernel_id, body.path, Carry(body.carry), in_place=body.in_place)
    )


async def post_detach(call: Call) -> wire.SessionView:
    session = call.session()
    return call.view(
        await call.runtime.detach(session.id, call.body.kernel_id, Carry(call.body.carry), in_place=call.body.in_place)
    )


async def post_claim(call: Call) -> wire.SessionView:
    return call.view(await call.runtime.claim(call.session().id))


async def post_extend(call: Call) -> wire.SessionView:
    session = call.session()
    await call.runtime.handle(ev.Extended(session.id, call.body.duration_s))
    return call.view(session)


async def post_pause(call: Call) -> wire.SessionView:
    session = call.session()
    kernels = {k.kernel_id: k for k in (call.runtime.kernels.kernels() if call.runtime.kernels is not None else ())}
    if any(k in kernels and kernels[k].agent_pid is None for k in session.kernel_ids):
        raise Conflict(
            "Its kernel took the GPU without a restart, so it cannot be paused.",
            hint="Release it instead.",
            code="cannot_be_paused",
        )
    await call.runtime.handle(ev.Paused(session.id))
    return call.view(session)


async def post_resume(call: Call) -> wire.SessionView:
    session = call.session()
    await call.runtime.handle(ev.Resumed(session.id))
    return call.view(session)


async def post_undo(call: Call) -> wire.SessionView:
    session = call.session()
    await call.runtime.handle(ev.Undone(session.id))
    return call.view(session)


async def post_scale(call: Call) -> wire.SessionView:
    session = call.session()
    raise Conflict(
        f"A session of kind {session.request.kind.value} cannot be scaled.",
        hint="Only clusters can; ask for another session instead.",
        code="cannot_be_scaled",
    )


async def get_explain(call: Call) -> wire.Explanation:
    session = call.session()
    return explanation(call.runtime.broker.state, session, call.context.known(call.runtime))


async def get_history(call: Call) -> wire.History:
    runtime, query = call.runtime, call.query
    device, session_id = query.get("device"), query.get("session")
    if (device is None) == (session_id is None):
        raise NotFound("Name a device or a session, one of the two.", code="device_or_session")
    if session_id is not None:
        call.session_id = session_id
        subject = call.session().id
    else:
        subject = str(device)
        if not _is_device(runtime, subject):
            # of before a restart, perhaps: nobody has asked for the site's GPUs since
            await runtime.telemetry.look_at_remote()
        if not _is_device(runtime, subject):
            raise NotFound("There is no such device.", hint="See /devices for those there are.", code="no_such_device")
    end = query.get("to", runtime.now())
    start = query.get("from", end - 600.0)
    fields = runtime.telemetry.history(subject, min(start, end), end, query.get("points", 240))
    return wire.History(**fields)


def _is_device(runtime: Runtime, uuid: str) -> bool:
    latest = runtime.telemetry.latest()
    here = uuid in latest.devices or uuid in latest.samples
    return here or (latest.remote is not None and uuid in latest.remote.samples)


async def get_usage(call: Call) -> wire.Usage:
    start, end = _range(call)
    rows = await call.runtime.usage(call.query.get("by", "flavor"), start, end, None if call.operator else call.user)
    return wire.Usage(items=msgspec.convert(rows, list[wire.UsageRow]), as_of=call.runtime.now())


async def get_demand(call: Call) -> wire.Demand:
    start, end = _range(call)
    rows = await call.runtime.demand(call.query.get("by", "flavor"), start, end, None if call.operator else call.user)
    return wire.Demand(items=msgspec.convert(rows, list[wire.DemandRow]), as_of=call.runtime.now())


async def get_preview(call: Call) -> wire.KernelPreview:
    query = call.query
    check_attach(wire.Attach(path=query.get("path"), kernel_id=query.get("kernel_id")))
    fields: Any = await call.runtime.preview(query.get("kernel_id"), query.get("path"))
    return wire.KernelPreview(**fields)


def _range(call: Call) -> tuple[float, float]:
    """30 days up to now, unless said otherwise."""
    end = call.query.get("to", call.runtime.now() + 1.0)
    return call.query.get("from", end - 30 * 86400.0), end
