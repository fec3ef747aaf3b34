"""How long somebody waits, with its basis.

What the leases in the way tell is a first guess. How those guesses turned out lately tells how far to believe them: the
median and the ninth decile of (real wait / guess) make p50 and p90, so that they hold whatever makes the guess wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..domain.sessions import PausePhase, Request, Session, SessionState
from .deadline import is_kept, may_pause_at, may_release_at
from .placement import choose, count_by_device, free_shares
from .policy import ReclaimMode
from .queue import ahead_of, candidates, is_on
from .residents import is_leaving, place_of
from .state import BrokerState

__all__ = ["WaitEstimate", "estimate_wait", "foresee", "frees_at", "remember_wait"]

#: fewer ended sessions, or waits, than this say nothing about those to come
MINIMUM_HISTORY, MINIMUM_WAITS = 5, 20
#: so many waits are remembered
WAITS = 300
#: shorter guesses are not told apart: what takes seconds is not foreseen by leases
SHORTEST_S = 30.0
#: putting a session aside, in seconds, before anything is known about it
PAUSING_S = 10.0


@dataclass(frozen=True)
class WaitEstimate:
    """Seconds: half of the cases under ``p50_s``, nine of ten under ``p90_s``.

    ``basis``: ``free_now``, ``lease_ends`` (when the leases in the way end; nobody has to leave earlier),
    ``leases_used`` (the same, scaled by the part of their lease that people really used lately) or ``history`` (scaled
    by how such guesses turned out lately).
    """

    p50_s: float
    p90_s: float
    basis: str


def frees_at(
    state: BrokerState, request: Request, now: float, *, expecting: bool = False, tied: str | None = None
) -> list[float]:
    """When what this request wants comes free, soonest first (Unix seconds): leases end, idle sessions give way.

    Parameters
    ----------
    expecting : bool
        Also reckon with running cells to end: what has run for so long will run for as long again, as is so of whatever
        has a heavy tail.
    tied : str, optional
        Only what is on this device, or is this MIG device: a paused session has to come back there.
    """
    wanted = {(c.pool, c.flavor.name) for c in candidates(state, request)}
    out: list[float] = []
    for session in state.live():
        if (session.pool, session.flavor) not in wanted:
            continue
        # who is moved out of what it has stayed on is in the way there like who holds it
        shares = place_of(session) if is_leaving(session) else session.shares
        if not shares or (tied is not None and not any(is_on(share, tied) for share in shares)):
            continue
        if session.state is SessionState.ENDING:
            end = now
        elif session.pause is not None and session.pause.phase is PausePhase.SAVING:
            end = now + PAUSING_S
        elif session.state is SessionState.READY:
            end = (session.claim_by or now) + session.request.duration_s
        else:
            end = session.lease_until or now
            gives_way_at = _gives_way_at(state, session, now, expecting)
            if gives_way_at is not None:
                end = min(end, max(now, gives_way_at) + PAUSING_S)
        out.extend([max(end, now)] * len(shares))
    return sorted(out)


def estimate_wait(
    state: BrokerState, request: Request, ahead: int, now: float, *, tied: str | None = None
) -> WaitEstimate | None:
    """Estimate for a request with ``ahead`` shares asked for before it; ``tied`` as in `frees_at`.

    Returns
    -------
    WaitEstimate or None
        None where there is nothing to go by: what is in the way is not ours, or the queue is longer than the leases
        that we know of and too few have waited lately.
    """
    if ahead == 0 and tied is None and _fits_now(state, request):
        return WaitEstimate(0.0, 0.0, "free_now")
    guess_s = _guess(state, request, ahead, now, tied)
    if guess_s is None:
        return None
    ratios = sorted(state.wait_ratios)
    if len(ratios) >= MINIMUM_WAITS:
        base_s = max(SHORTEST_S, guess_s)
        p50_s = base_s * ratios[len(ratios) // 2]
        return WaitEstimate(
            p50_s, max(p50_s, base_s * ratios[min(len(ratios) - 1, (9 * len(ratios)) // 10)]), "history"
        )
    ends = frees_at(state, request, now, tied=tied)
    if len(ends) < ahead + request.count:
        return None
    if len(state.held_fractions) < MINIMUM_HISTORY:
        # "at the latest" is said of it: that a cell may end soon is a guess, and no reason to promise anything
        latest_s = ends[ahead + request.count - 1] - now
        return WaitEstimate(latest_s, latest_s, "lease_ends")
    used = sorted(state.held_fractions)
    p50_s = guess_s * used[len(used) // 2]
    p90_s = guess_s * used[min(len(used) - 1, (9 * len(used)) // 10)]
    return WaitEstimate(p50_s, max(p50_s, p90_s), "leases_used")


def foresee(state: BrokerState, session: Session, now: float) -> float | None:
    """The first guess of how long a session will wait, in seconds; 0 when it need not. Kept with the session."""
    ahead = sum(s.request.count for s in ahead_of(state, session))
    if ahead == 0 and _fits_now(state, session.request):
        return 0.0
    return _guess(state, session.request, ahead, now)


def remember_wait(state: BrokerState, session: Session, now: float) -> None:
    """Somebody's turn has come: how the guess turned out is remembered."""
    if session.foreseen_s is None or session.foreseen_s <= 0.0 or now <= session.created_at:
        # who was served at once was told nothing
        return
    ratio = max(0.0, now - session.created_at) / max(SHORTEST_S, session.foreseen_s)
    state.wait_ratios = (*state.wait_ratios, ratio)[-WAITS:]


def _guess(state: BrokerState, request: Request, ahead: int, now: float, tied: str | None = None) -> float | None:
    """When leases end; behind a queue that is longer than that, whole rounds of leases more."""
    ends = frees_at(state, request, now, expecting=True, tied=tied)
    if not ends:
        return None
    rounds, place = divmod(ahead + request.count - 1, len(ends))
    return ends[place] - now + rounds * max(SHORTEST_S, sum(ends) / len(ends) - now)


def _gives_way_at(state: BrokerState, session: Session, now: float, expecting: bool) -> float | None:
    rule = state.policy.reclaim_of(session.pool or "")
    kept = is_kept(session)
    if not (session.state is SessionState.ACTIVE or kept) or rule.mode is not ReclaimMode.ENFORCE:
        return None
    if not session.busy:
        # what could not be put aside when its owner wanted that may not be later either
        pause_at = may_pause_at(state.policy, session) if not kept else None
        if pause_at is not None or not expecting:
            return pause_at
        if session.idle_ends_at is not None:
            return session.idle_ends_at
        release_at = may_release_at(state.policy, session)
        return max(now, release_at) + rule.grace_s if release_at is not None else None
    if not expecting or session.busy_from is None:
        return None
    ends = now + max(SHORTEST_S, now - session.busy_from)
    if set(session.pause_methods) & set(rule.methods):
        return ends + rule.idle_pause_s
    return ends + rule.idle_release_s + rule.grace_s


def _fits_now(state: BrokerState, request: Request) -> bool:
    for option in candidates(state, request):
        inventory = state.pools[option.pool]
        free = free_shares(state, inventory, option.flavor.name)
        if len(free) >= request.count and choose(
            free, request.count, count_by_device(free_shares(state, inventory, None))
        ):
            return True
    return False
