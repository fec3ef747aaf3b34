"""How long somebody waits, with its basis."""

from __future__ import annotations

from dataclasses import dataclass

from ..domain.sessions import Request, SessionState
from .queue import candidates, place
from .state import BrokerState

__all__ = ["WaitEstimate", "estimate_wait", "frees_at"]

#: fewer ended sessions than this say nothing about how long people hold a lease
MINIMUM_HISTORY = 5


@dataclass(frozen=True)
class WaitEstimate:
    """Seconds: half of the cases under ``p50_s``, nine of ten under ``p90_s``.

    ``basis``: ``free_now``, ``lease_ends`` (when the leases in the way end; nobody has to leave earlier) or
    ``history`` (the same, scaled by the part of their lease that people really used lately).
    """

    p50_s: float
    p90_s: float
    basis: str


def frees_at(state: BrokerState, request: Request, now: float) -> list[float]:
    """When the leases end that hold what this request wants, soonest first (Unix seconds)."""
    wanted = {(c.pool, c.flavor.name) for c in candidates(state, request)}
    out: list[float] = []
    for session in state.live():
        if (session.pool, session.flavor) not in wanted or not session.shares:
            continue
        if session.state is SessionState.ENDING:
            end = now
        elif session.state is SessionState.READY:
            end = (session.claim_by or now) + session.request.duration_s
        else:
            end = session.lease_until or now
        out.extend([max(end, now)] * len(session.shares))
    return sorted(out)


def estimate_wait(state: BrokerState, request: Request, ahead: int, now: float) -> WaitEstimate | None:
    """Estimate for a request with ``ahead`` shares asked for before it.

    Returns
    -------
    WaitEstimate or None
        None where there is nothing to go by: what is in the way is not ours, or the queue is longer than the
        leases that we know of.
    """
    if ahead == 0 and any(place(state, request, c) is not None for c in candidates(state, request)):
        return WaitEstimate(0.0, 0.0, "free_now")
    ends = frees_at(state, request, now)
    needed = ahead + request.count
    if len(ends) < needed:
        return None
    bound = ends[needed - 1] - now
    if len(state.held_fractions) < MINIMUM_HISTORY:
        return WaitEstimate(bound, bound, "lease_ends")
    used = sorted(state.held_fractions)
    p50 = bound * used[len(used) // 2]
    p90 = bound * used[min(len(used) - 1, (9 * len(used)) // 10)]
    return WaitEstimate(p50, max(p50, p90), "history")
