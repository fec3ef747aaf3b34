"""Whether a request can ever be served, decided at once: what never can is refused, not queued for ever."""

from __future__ import annotations

from ..domain.sessions import Request, SessionKind, SessionState
from .commands import Reject
from .placement import choose, count_by_device
from .queue import Candidate, candidates
from .quotas import never
from .state import BrokerState

__all__ = ["refusal"]


def refusal(state: BrokerState, user: str, group: str, request: Request) -> Reject | None:
    """Why this request is refused, or None when it may queue."""
    policy = state.policy
    if request.kind.value not in policy.hosted_kinds:
        return Reject(
            "kind_not_hosted",
            f"No pool here hosts sessions of kind {request.kind.value}.",
            "Ask for a kernel or a job, or ask the operator for a pool that hosts clusters.",
            (("kind", request.kind.value),),
        )
    for pool in request.pools:
        if pool not in state.pools:
            known = ", ".join(state.pools) or "none"
            return Reject("unknown_pool", "There is no such pool.", f"Pools here: {known}.", (("pool", pool),))
    if request.duration_s > policy.max_lease_s:
        hours = policy.max_lease_s / 3600
        return Reject(
            "lease_too_long",
            f"A lease here is at most {hours:g} h.",
            "Ask for less; a session can be extended while nobody is refused for it.",
            (("max_lease_s", policy.max_lease_s),),
        )
    if request.kind is SessionKind.KERNEL and request.count != 1:
        return _one_per_kernel(state, request)
    mine = len(state.index.of_user.get(user, ()))
    if mine >= policy.max_sessions_per_user:
        return Reject(
            "too_many_sessions",
            f"You have {mine} sessions already.",
            "Release one of them first.",
            (("limit", policy.max_sessions_per_user),),
        )
    options = candidates(state, request)
    return _capacity_refusal(state, request, options) or _quota_refusal(state, group, request, options)


def taken_kernel(state: BrokerState, request: Request) -> str | None:
    """The id of the session that has the kernel which a request names."""
    wanted = request.attach_kernel_id
    if wanted is None:
        return None
    holders = [
        session
        for session in (state.sessions[i] for i in state.index.live)
        if session.state is not SessionState.ENDING
        and (wanted in session.kernel_ids or wanted == session.request.attach_kernel_id)
    ]
    return min(holders, key=lambda s: s.number).id if holders else None


def _quota_refusal(state: BrokerState, group: str, request: Request, options: list[Candidate]) -> Reject | None:
    limits = [never(state, group, request.count, c.flavor.name, c.fraction) for c in options]
    if not limits or None in limits:
        return None
    limit = next(one for one in limits if one is not None)
    whose = "you" if limit.whose == "you" else f"group {limit.whose}"
    return Reject(
        "more_than_the_quota",
        f"The quota here for {whose} is {limit.quota.limit:.3g}, and this is more.",
        "Ask for fewer or smaller ones, or ask the operator for a larger quota.",
        (("whose", limit.whose), ("limit", limit.quota.limit), ("count", request.count)),
    )


def _one_per_kernel(state: BrokerState, request: Request) -> Reject | None:
    options = candidates(state, request)
    if any(c.flavor.max_per_kernel >= request.count for c in options):
        return _capacity_refusal(state, request, [c for c in options if c.flavor.max_per_kernel >= request.count])
    return Reject(
        "too_many_per_kernel",
        "A kernel can use one such share only: CUDA sees one MIG device, and slices of a device do not add up.",
        "Ask for one larger share, or for whole devices.",
        (("count", request.count),),
    )


def _capacity_refusal(state: BrokerState, request: Request, options: list[Candidate]) -> Reject | None:
    for option in options:
        shares = [s for s in state.pools[option.pool].shares if s.flavor == option.flavor.name]
        if choose(shares, request.count, count_by_device(shares)) is not None:
            return None
    pools = [p for name, p in state.pools.items() if not request.pools or name in request.pools]
    away = [p for p in pools if not p.available and not p.shares]
    if away and len(away) == len(pools):
        first = away[0]
        return Reject(
            first.reason_code or "pool_unavailable",
            first.reason_text or f"{first.title} is not available.",
            first.hint or "Try another pool.",
            (("pool", first.pool),),
        )
    if request.flavor is not None and not options:
        known = sorted({f.name for p in pools for f in p.flavors})
        return Reject(
            "unknown_flavor",
            "There is no such flavor.",
            f"Flavors here: {', '.join(known) or 'none'}.",
            (("flavor", request.flavor),),
        )
    largest = max((f.memory_bytes for p in pools if p.managed for f in p.flavors), default=0)
    if request.memory_bytes is not None and largest < request.memory_bytes:
        return Reject(
            "more_memory_than_there_is",
            f"The largest share here has {largest / 1e9:.0f} GB.",
            "Ask for less memory, or for several shares in a cluster.",
            (("memory_bytes", request.memory_bytes), ("largest_bytes", largest)),
        )
    most = max((o.total for o in options), default=0)
    return Reject(
        "more_than_there_is",
        f"There are only {most} of these here, free or not.",
        "Ask for fewer.",
        (("count", request.count), ("total", most)),
    )
