"""The broker's state in the words of the wire. Pure: state and readings in, structs out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .. import wire
from ..broker.deadline import at_longest, computes, is_idle
from ..broker.estimate import WaitEstimate, estimate_wait
from ..broker.index import waits
from ..broker.lifecycle import title_of
from ..broker.placement import free_shares
from ..broker.queue import ahead_of, candidates, everybody_waiting, options_of, tied_to, wanted_by
from ..broker.reasons import waiting_reason
from ..broker.residents import rests
from ..broker.state import BrokerState
from ..domain.devices import Flavor, PoolInventory, Share
from ..domain.sessions import EndCause, PausePhase, Reason, Request, Session, SessionState
from .endings import about_to_end, ends

__all__ = ["Known", "offers", "pool_view", "session_view"]

HOLDING = (SessionState.ACTIVE, SessionState.PAUSED)

#: what can be done with a session in each state; the names are those of the calls
ACTIONS: Mapping[SessionState, tuple[str, ...]] = {
    SessionState.QUEUED: ("release",),
    SessionState.READY: ("claim", "attach", "release"),
    SessionState.ACTIVE: ("attach", "detach", "extend", "pause", "release"),
    SessionState.PAUSED: ("resume", "extend", "release"),
    SessionState.ENDING: (),
    SessionState.ENDED: (),
}


@dataclass(frozen=True)
class Known:
    """What a view needs beside the state.

    Attributes
    ----------
    path : callable
        The notebook of a session, or None.
    environment : callable
        The environment of a session's shares; called for its owner only.
    other_ends : callable
        What beside the lease will end a session, as ``(at, cause)``: the server's or kernel's idle limit.
    warnings : mapping of str to Reason
        By session id: what its person should know now.
    """

    now: float
    pool_as_of: Callable[[str], float] = lambda pool: 0.0
    path: Callable[[Session], str | None] = lambda session: None
    environment: Callable[[Session], dict[str, str]] = lambda session: {}
    other_ends: Callable[[Session], list[tuple[float, EndCause]]] = lambda session: []
    warnings: Mapping[str, Reason] = field(default_factory=dict)


def reason_view(reason: Reason) -> wire.ReasonView:
    return wire.ReasonView(code=reason.code, params=dict(reason.params), text=reason.text)


def _coarse(seconds: float) -> float:
    """As exact as a waiting time can be; a figure that ticks by the second would be sent by the second."""
    step = 1.0 if seconds < 60 else 10.0 if seconds < 3600 else 60.0
    return math.ceil(seconds / step) * step


def estimate_view(estimate: WaitEstimate | None) -> wire.Estimate | None:
    if estimate is None:
        return None
    return wire.Estimate(p50_s=_coarse(estimate.p50_s), p90_s=_coarse(estimate.p90_s), basis=estimate.basis)


def session_view(state: BrokerState, session: Session, known: Known, *, for_owner: bool) -> wire.SessionView:
    """One session as its owner sees it, or (``for_owner`` false) an operator."""
    waiting = waits(session)
    ahead = ahead_of(state, session) if waiting else []
    reason = waiting_reason(state, session) if waiting else session.reason or paused(session)
    inventory = state.pools.get(session.pool or "")
    if session.shares:
        memory: int | None = sum(s.memory_bytes for s in session.shares)
    else:
        memory = session.request.memory_bytes
    warning = known.warnings.get(session.id)
    return wire.SessionView(
        id=session.id,
        kind=session.request.kind.value,
        state=session.state.value,
        end_reason=session.end_reason.value if session.end_reason else None,
        reason=reason_view(reason) if reason else None,
        pool=session.pool,
        flavor=session.flavor or session.request.flavor,
        title=title_of_view(state, session),
        count=session.request.count,
        memory_bytes=memory,
        duration_s=session.request.duration_s,
        created_at=session.created_at,
        started_at=session.started_at,
        claim_by=session.claim_by if session.claimed_at is None else None,
        ends=ends(state, session, known.now, known.other_ends),
        lease_until=session.lease_until if session.state in HOLDING and session.shares else None,
        idle_since=session.idle_since if session.state in HOLDING and is_idle(session) else None,
        queue_position=len(ahead) + 1 if waiting else None,
        queue_length=queue_length(state, session) if waiting else None,
        estimate=estimate_view(estimate(state, session, ahead, known.now)) if waiting else None,
        shares=[
            wire.ShareView(id=s.id, device_uuid=s.device_uuid, mig_uuid=s.mig_uuid, profile=s.profile)
            for s in session.shares
        ],
        kernel_ids=list(session.kernel_ids),
        path=known.path(session),
        user=session.user,
        mine=for_owner,
        actions=_actions(session, known.now),
        undo_until=session.undo_until,
        simulated=bool(inventory.simulated if inventory else any(p.simulated for p in state.pools.values())),
        purpose=session.request.purpose,
        project=session.request.project,
        warning=reason_view(warning) if warning else about_to_end(state, session, known.now),
        environment=known.environment(session) if for_owner else {},
    )


def offers(state: BrokerState, request: Request, known: Known) -> list[wire.Offer]:
    """Where a request could be served, best first: free now, then the shortest wait, then the smallest share."""
    out = []
    # Who can go on with one device only takes none of the others.
    waiting = [s for s in everybody_waiting(state) if tied_to(s) is None]
    for option in candidates(state, request):
        inventory = state.pools[option.pool]
        if not inventory.available or option.total < request.count:
            continue
        only_here = Request(
            kind=request.kind,
            flavor=option.flavor.name,
            count=request.count,
            duration_s=request.duration_s,
            pools=(option.pool,),
        )
        before = sum(s.request.count for s in waiting if _competes(state, s, option.pool, option.flavor.name))
        out.append(
            wire.Offer(
                pool=option.pool,
                pool_title=inventory.title,
                flavor=option.flavor.name,
                title=option.flavor.title,
                memory_bytes=option.flavor.memory_bytes,
                free=len(_free(state, inventory, option.flavor)),
                total=option.total,
                estimate=estimate_view(_offer_estimate(state, inventory, option.flavor, only_here, before, known.now)),
                cost_per_hour=option.flavor.cost_per_hour,
                currency=option.flavor.currency,
                as_of=known.pool_as_of(option.pool),
                simulated=inventory.simulated,
                capacity_id=_capacity_id(inventory, option.flavor),
            )
        )
    return sorted(out, key=_rank)


def pool_view(state: BrokerState, inventory: PoolInventory, known: Known) -> wire.Pool:
    """A pool with its flavors counted; nobody's name is in it.

    A pool that works can have a reason too: one of its devices is away, or something of it can't be seen.
    """
    reason = None
    if not inventory.available or inventory.reason_text:
        text = inventory.reason_text or "It does not answer."
        reason = wire.ReasonView(code=inventory.reason_code or "pool_unavailable", params={}, text=text)
    return wire.Pool(
        name=inventory.pool,
        title=inventory.title,
        managed=inventory.managed,
        available=inventory.available,
        reason=reason,
        hint=_hint(state, inventory),
        simulated=inventory.simulated,
        as_of=known.pool_as_of(inventory.pool),
        flavors=[flavor_view(state, inventory, flavor) for flavor in inventory.flavors],
    )


def _hint(state: BrokerState, inventory: PoolInventory) -> str | None:
    """What helps, and what can be done meanwhile."""
    others = any(p.available and p.shares for p in state.pools.values() if p.pool != inventory.pool)
    if inventory.available or not others:
        return inventory.hint
    return f"Other pools work. {inventory.hint or ''}".rstrip()


def flavor_view(state: BrokerState, inventory: PoolInventory, flavor: Flavor) -> wire.FlavorView:
    """Every share of a flavor is in exactly one of free, busy, held idle and taken."""
    total = busy = held_idle = 0
    free = {s.id for s in _free(state, inventory, flavor)}
    for share in inventory.shares:
        if share.flavor != flavor.name:
            continue
        total += 1
        holder_id = state.holder(share)
        holder = state.sessions.get(holder_id) if holder_id else None
        if share.id in free or holder is None:
            continue
        if computes(holder):
            busy += 1
        else:
            held_idle += 1
    return wire.FlavorView(
        name=flavor.name,
        title=flavor.title,
        memory_bytes=flavor.memory_bytes,
        kind=flavor.kind.value,
        total=total,
        free=len(free),
        busy=busy,
        held_idle=held_idle,
        taken=total - len(free) - busy - held_idle,
        queued=sum(1 for s in everybody_waiting(state) if _competes(state, s, inventory.pool, flavor.name)),
        cost_per_hour=flavor.cost_per_hour,
        currency=flavor.currency,
    )


_PAUSE_WORDS = {
    PausePhase.SAVING: Reason("pausing", "Its variables are being put aside."),
    PausePhase.SAVED: Reason("paused", "Paused, variables kept. The next cell gets a GPU back."),
    PausePhase.WANTED: Reason("waits_for_gpu", "A cell waits for its GPU."),
    PausePhase.RESTORING: Reason("resuming", "Getting your GPU back."),
}

STATE_WORDS = {
    SessionState.QUEUED: "It waits.",
    SessionState.READY: "Its turn has come; it is held until you start it.",
    SessionState.ACTIVE: "It holds its shares.",
    SessionState.PAUSED: "It is paused; variables are kept.",
    SessionState.ENDING: "It is being given back.",
    SessionState.ENDED: "It has ended.",
}


def title_of_view(state: BrokerState, session: Session) -> str:
    if session.flavor is None and session.request.flavor is None and session.request.memory_bytes is not None:
        return f"GPU with {session.request.memory_bytes / 1e9:.3g} GB"
    return title_of(state, session)


def _actions(session: Session, now: float) -> list[str]:
    if session.state is SessionState.READY and session.claimed_at is not None:
        return ["release"]
    if session.state is SessionState.ENDING and session.undo_until is not None and session.undo_until > now:
        return ["undo"]
    out = list(ACTIONS[session.state])
    if "extend" in out and at_longest(session):
        out.remove("extend")
    if "resume" in out and session.pause is not None and session.pause.phase is not PausePhase.SAVED:
        # it is on its way already
        out.remove("resume")
    if "detach" in out and not session.kernel_ids:
        out.remove("detach")
    return out


def paused(session: Session) -> Reason | None:
    """How far a pause has come."""
    if session.pause is None or session.state is not SessionState.PAUSED:
        return None
    phase = session.pause.phase
    if phase is PausePhase.SAVED and session.shares:
        return Reason("paused_held", "Paused; its GPU is kept for it.")
    if phase is PausePhase.SAVED and rests(session):
        return Reason("paused", "Paused, variables kept on the GPU. The next cell gets it back when it is free.")
    return _PAUSE_WORDS[phase]


def estimate(state: BrokerState, session: Session, ahead: list[Session], now: float) -> WaitEstimate | None:
    return estimate_wait(state, wanted_by(session), sum(s.request.count for s in ahead), now, tied=tied_to(session))


def _offer_estimate(
    state: BrokerState, inventory: PoolInventory, flavor: Flavor, request: Request, before: int, now: float
) -> WaitEstimate | None:
    if before == 0 and len(_free(state, inventory, flavor)) >= request.count:
        return WaitEstimate(0.0, 0.0, "free_now")
    return estimate_wait(state, request, before, now)


def queue_length(state: BrokerState, session: Session) -> int:
    """How many wait for some of the same shares, this one among them."""
    mine = {(c.pool, c.flavor.name) for c in options_of(state, session)}
    rows = [s for s in everybody_waiting(state) if s.id != session.id]
    return 1 + sum(1 for s in rows if mine & {(c.pool, c.flavor.name) for c in options_of(state, s)})


def _competes(state: BrokerState, session: Session, pool: str, flavor: str) -> bool:
    return any((c.pool, c.flavor.name) == (pool, flavor) for c in options_of(state, session))


def _free(state: BrokerState, inventory: PoolInventory, flavor: Flavor) -> list[Share]:
    """Shares that somebody who asks gets at once: those in an undo window are given up for whoever asks."""
    undoable = frozenset(
        share.id
        for session in state.sessions.values()
        if session.state is SessionState.ENDING and session.undo_until is not None
        for share in session.shares
    )
    return free_shares(state, inventory, flavor.name, ignoring=undoable)


def _capacity_id(inventory: PoolInventory, flavor: Flavor) -> str:
    """The same for the same hardware seen through two pools: made from the devices, not from the pool."""
    devices = sorted({s.device_uuid for s in inventory.shares if s.flavor == flavor.name})
    return f"{flavor.name}@{devices[0] if devices else inventory.pool}+{len(devices)}"


def _rank(offer: wire.Offer) -> tuple[bool, float, float, int, str]:
    wait_s = offer.estimate.p50_s if offer.estimate is not None else float("inf")
    return (offer.free == 0, wait_s, offer.cost_per_hour or 0.0, offer.memory_bytes, offer.flavor)
