"""What people and groups may hold: nominal amounts, what they borrow, and what is wanted back."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ..domain.sessions import Session, SessionState
from .policy import Policy, Quota
from .state import BrokerState

__all__ = ["QuotaUse", "borrowers", "borrows", "never", "over", "uses"]


@dataclass(frozen=True)
class QuotaUse:
    """What is held of a quota, in its own unit: why somebody can't have more of a flavor now."""

    whose: str
    quota: Quota
    held: float


def over(state: BrokerState, session: Session, flavor: str, fraction: float) -> QuotaUse | None:
    """The quota that a session would exceed with shares of a flavor, or None.

    Parameters
    ----------
    fraction : float
        The part of a device that one share of the flavor is.
    """
    count = session.request.count
    for whose, quotas, held in _limits(state, session):
        for quota in quotas:
            if quota.matches(flavor) and quota.limit != math.inf:
                has = _amount(state, quota, held)
                if has + _of(quota, count, fraction) > quota.limit + 1e-9:
                    return QuotaUse(whose, quota, has)
    return None


def uses(state: BrokerState, session: Session) -> list[QuotaUse]:
    """All quotas that concern a session, each with what is held of it."""
    return [
        QuotaUse(whose, quota, _amount(state, quota, held))
        for whose, quotas, held in _limits(state, session)
        for quota in quotas
    ]


def never(state: BrokerState, group: str, count: int, flavor: str, fraction: float) -> QuotaUse | None:
    """The quota that so many shares exceed even when nothing else is held, or None."""
    whole = state.policy.group(group)
    limits = [("you", state.policy.user_quotas), (group, whole.quotas if whole is not None else ())]
    for whose, quotas in limits:
        for quota in quotas:
            if quota.matches(flavor) and _of(quota, count, fraction) > quota.limit + 1e-9:
                return QuotaUse(whose, quota, 0.0)
    return None


def borrows(state: BrokerState, session: Session, flavor: str, fraction: float) -> bool:
    """Whether a session that waits would hold more of a flavor than is its group's own; no quota, nothing is lent."""
    group = state.policy.group(session.group)
    count = session.request.count
    return any(
        _amount(state, q, state.index.held_by_group.get(session.group, ())) + _of(q, count, fraction) > q.nominal + 1e-9
        for q in (group.quotas if group is not None else ())
        if q.matches(flavor)
    )


def borrowers(state: BrokerState, flavor: str) -> list[Session]:
    """Sessions of a flavor that groups hold beyond what is their own, the newest of each first."""
    out: list[Session] = []
    for group in state.policy.groups:
        for quota in group.quotas:
            if not quota.matches(flavor):
                continue
            held = state.index.held_by_group.get(group.name, {})
            beyond = _amount(state, quota, held) - quota.nominal
            rows = sorted((state.sessions[i] for i in held), key=lambda s: -s.number)
            for session in rows:
                if beyond <= 1e-9:
                    break
                if session.flavor is not None and quota.matches(session.flavor):
                    beyond -= _amount(state, quota, (session.id,))
                    if session.flavor == flavor and session.state is not SessionState.ENDING:
                        out.append(session)
    return list({s.id: s for s in out}.values())


def _limits(state: BrokerState, session: Session) -> list[tuple[str, tuple[Quota, ...], Iterable[str]]]:
    policy: Policy = state.policy
    out: list[tuple[str, tuple[Quota, ...], Iterable[str]]] = []
    if policy.user_quotas:
        out.append(("you", policy.user_quotas, state.index.held_by_user.get(session.user, ())))
    group = policy.group(session.group)
    if group is not None and group.quotas:
        out.append((group.name, group.quotas, state.index.held_by_group.get(group.name, ())))
    return out


def _amount(state: BrokerState, quota: Quota, ids: Iterable[str]) -> float:
    """What these sessions hold, in the quota's unit: shares of its flavor, or devices."""
    shares = [share for i in ids for share in state.sessions[i].shares if quota.matches(share.flavor)]
    return math.fsum(s.fraction for s in shares) if quota.flavor == "*" else float(len(shares))


def _of(quota: Quota, count: int, fraction: float) -> float:
    return count * fraction if quota.flavor == "*" else float(count)
