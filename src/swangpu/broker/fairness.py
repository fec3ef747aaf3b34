"""Who is served before whom: by what each has held lately, within the shares of their groups.

GPU-time held fades with a half-life. Who holds ``f`` devices (a part of one counts as that part) from ``t0`` on has at
``t`` held ``f K (1 - 2**(-(t - t0) / h))`` faded device-seconds, where ``h`` is the half-life and ``K = h / ln 2``: the
integral of what is left of each second.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

from ..domain.sessions import Priority, Session, SessionKind
from .policy import Policy
from .state import Account, BrokerState

__all__ = ["held_lately", "in_order", "priority_of", "settle", "waits_since"]

#: a new request goes behind cells that wait for their GPU back, until it has itself waited so long, in seconds
NEW_WAITS_S = 30.0

_RANK = {Priority.INTERACTIVE: 0, Priority.JOB: 1, Priority.BACKFILL: 2}


def priority_of(s: Session) -> Priority:
    """That of its kind, or what was asked for where that is less: a job that calls itself interactive is a job."""
    own = Priority.JOB if s.request.kind is SessionKind.JOB else Priority.INTERACTIVE
    return max(own, s.request.priority or own, key=_RANK.__getitem__)


def held_lately(state: BrokerState, key: str, now: float) -> float:
    """Faded device-seconds of ``"u:user"`` or ``"g:group"``, up to now."""
    half_life_s = state.policy.half_life_s
    account = state.accounts.get(key)
    total = account.held_s * _faded(now - account.at, half_life_s) if account is not None else 0.0
    for devices, since in _holds(state, key):
        total += _of_hold(devices, since, now, half_life_s)
    return total


def settle(state: BrokerState, session: Session, now: float) -> None:
    """Write down what a session has held, just before it lets go of it."""
    half_life_s = state.policy.half_life_s
    held_s = _of_hold(_devices(session), session.held_from, now, half_life_s) if session.held_from is not None else 0.0
    for key in (f"u:{session.user}", f"g:{session.group}"):
        before = state.accounts.get(key)
        faded = before.held_s * _faded(now - before.at, half_life_s) if before is not None else 0.0
        state.put("accounts", key, Account(now, faded + held_s))


def in_order(state: BrokerState, now: float) -> list[Session]:
    """Everybody in the queue, in the order in which they are served.

    By priority first, then groups in turn by what each has held for its weight, then people within the group. Whoever
    is further up counts as having what they wait for, so that many requests of one person, or of one group, come one
    after the other with those of others between them.
    """
    rows = [state.sessions[i] for i in state.index.waiting]
    if len(rows) < 2:
        return rows
    policy = state.policy
    ranks: dict[tuple[int, bool], list[Session]] = {}
    for session in sorted(rows, key=_arrival):
        ranks.setdefault(_rank(policy, session, now), []).append(session)
    groups: dict[str, float] = {}
    users: dict[str, float] = {}
    out: list[Session] = []
    for rank in sorted(ranks):
        out += _in_turn(state, ranks[rank], groups, users, now)
    return out


def _rank(policy: Policy, s: Session, now: float) -> tuple[int, bool]:
    waited_s = now - _arrival(s)[0]
    promoted = int(waited_s // policy.promote_s) if policy.promote_s > 0 else 0
    new = s.pause is None and waited_s < NEW_WAITS_S
    return max(0, _RANK[priority_of(s)] - promoted), new


def waits_since(s: Session) -> float:
    """Since when somebody in the queue waits (Unix seconds): for a first share, or for one to go on with."""
    return s.pause.wanted_at if s.pause is not None and s.pause.wanted_at is not None else s.created_at


def _arrival(s: Session) -> tuple[float, int]:
    return waits_since(s), s.number


@dataclass
class _Turns:
    """The people of one group, by what they have held."""

    people: list[tuple[float, tuple[float, int], str]]
    queues: dict[str, list[Session]]


def _in_turn(
    state: BrokerState, rows: list[Session], groups: dict[str, float], users: dict[str, float], now: float
) -> list[Session]:
    """Sessions of one rank; what ``groups`` and ``users`` have is looked up once, and grows with what they get."""
    turns: dict[str, _Turns] = {}
    for session in rows:
        name, user = session.group, session.user
        if name not in groups:
            groups[name] = held_lately(state, f"g:{name}", now)
        if user not in users:
            users[user] = held_lately(state, f"u:{user}", now)
        turns.setdefault(name, _Turns([], {})).queues.setdefault(user, []).append(session)
    heap: list[tuple[float, tuple[float, int], str]] = []
    for name, turn in turns.items():
        for user, queue in turn.queues.items():
            queue.reverse()
            turn.people.append((users[user], _arrival(queue[-1]), user))
        heapq.heapify(turn.people)
        heap.append((groups[name] / _weight(state.policy, name), turn.people[0][1], name))
    heapq.heapify(heap)
    out: list[Session] = []
    while heap:
        _, _, name = heapq.heappop(heap)
        turn = turns[name]
        _, _, user = heapq.heappop(turn.people)
        session = turn.queues[user].pop()
        out.append(session)
        foreseen = session.request.count * min(session.request.duration_s, state.policy.half_life_s)
        groups[name] += foreseen
        users[user] += foreseen
        if turn.queues[user]:
            heapq.heappush(turn.people, (users[user], _arrival(turn.queues[user][-1]), user))
        if turn.people:
            heapq.heappush(heap, (groups[name] / _weight(state.policy, name), turn.people[0][1], name))
    return out


def _weight(policy: Policy, name: str) -> float:
    group = policy.group(name)
    return max(1e-9, group.weight) if group is not None else 1.0


def _holds(state: BrokerState, key: str) -> list[tuple[float, float]]:
    """Devices and since when, of each session that somebody holds something with; kept while that stays so."""
    index = state.index
    known = index.holds.get(key)
    if known is None:
        held = index.held_by_user if key.startswith("u:") else index.held_by_group
        # in the order of their numbers: a sum of floats must not depend on how the state was loaded
        rows = sorted((state.sessions[i] for i in held.get(key[2:], ())), key=lambda s: s.number)
        known = index.holds[key] = [(_devices(s), s.held_from) for s in rows if s.held_from is not None]
    return known


def _devices(session: Session) -> float:
    return math.fsum(share.fraction for share in session.shares)


def _of_hold(devices: float, since: float, now: float, half_life_s: float) -> float:
    return devices * half_life_s / math.log(2) * (1.0 - _faded(now - since, half_life_s))


def _faded(passed_s: float, half_life_s: float) -> float:
    return float(2.0 ** (-max(0.0, passed_s) / half_life_s))
