"""Counts what the broker knows for the metrics page: what is now, and sums since this server leads.

`SiteMeter` is the thin part, which asks at the right moments; `Tally` adds up and `flavor_counts` counts, both without
a clock of their own.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from .._version import __version__
from ..broker.deadline import computes
from ..broker.fairness import waits_since
from ..broker.placement import free_shares
from ..broker.queue import candidates, everybody_waiting
from ..broker.state import BrokerState
from ..domain.sessions import EndReason, Session, SessionState
from ..runtime import Runtime
from ..telemetry.prometheus import FlavorCounts, PoolCounts, SiteCounts, UserCounts, Waits

__all__ = ["MAX_FLAVORS", "MAX_POOLS", "MAX_USERS", "OTHER", "SiteMeter", "Slots", "Tally", "flavor_counts"]

K = TypeVar("K", bound=Hashable)

#: rows of the page; what comes later goes into one row more, named `OTHER`
MAX_POOLS, MAX_FLAVORS, MAX_USERS = 50, 200, 100
OTHER = "other"
#: upper bounds of the waits' buckets, in seconds
WAIT_BOUNDS_S = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0)


class Slots(Generic[K]):
    """Rows for the first so many keys, for good, and one row for all others.

    For good, since a counter whose parts move to another row would seem to fall.
    """

    def __init__(self, limit: int, other: K) -> None:
        self._limit = limit
        self._other = other
        self._rows: set[K] = set()

    def row(self, key: K) -> K:
        if key not in self._rows:
            if len(self._rows) >= self._limit:
                return self._other
            self._rows.add(key)
        return key


@dataclass(frozen=True)
class _Holding:
    user: str
    where: tuple[str, str]
    shares: int
    busy: bool


class Tally:
    """Sums over time: share-seconds, waits and ends. It is shown the sessions whenever something has changed.

    Sessions that had ended or got their shares before the first look are not counted: that was before this server.
    """

    def __init__(self) -> None:
        self.held_s: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.busy_s: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.user_held_s: defaultdict[str, float] = defaultdict(float)
        self.ended: Counter[str] = Counter({reason.value: 0 for reason in EndReason})
        self._wait_numbers = [0] * (len(WAIT_BOUNDS_S) + 1)
        self._wait_sum_s = 0.0
        self._users: Slots[str] = Slots(MAX_USERS, OTHER)
        self._flavors: Slots[tuple[str, str]] = Slots(MAX_FLAVORS, (OTHER, OTHER))
        self._holdings: list[_Holding] = []
        self._looked_at: float | None = None
        self._served: set[str] = set()
        self._ended: set[str] = set()

    @property
    def waits(self) -> Waits:
        return Waits(WAIT_BOUNDS_S, tuple(self._wait_numbers), self._wait_sum_s)

    def user(self, name: str) -> str:
        """The row of a user."""
        return self._users.row(name)

    def flavor(self, pool: str, name: str) -> tuple[str, str]:
        """The row of a flavor."""
        return self._flavors.row((pool, name))

    def look(self, sessions: Iterable[Session], at_s: float) -> None:
        """What was held until now was held as seen last; from now on it is this.

        Parameters
        ----------
        sessions : iterable of Session
            All that the broker remembers, the ended ones too.
        at_s : float
            Monotonic seconds.
        """
        known = list(sessions)
        first, since = self._looked_at is None, self._looked_at
        self._looked_at = at_s
        self._add_up(max(0.0, at_s - since) if since is not None else 0.0)
        self._holdings = [
            _Holding(self.user(s.user), self.flavor(s.pool or "", s.flavor or ""), len(s.shares), computes(s))
            for s in known
            if s.shares
        ]
        served = {s.id: s for s in known if s.ready_at is not None}
        ended = {s.id: s for s in known if s.state is SessionState.ENDED}
        if not first:
            for session_id in served.keys() - self._served:
                self._add_wait(served[session_id])
            self.ended.update((ended[i].end_reason or EndReason.RELEASED).value for i in ended.keys() - self._ended)
        # Once is once, also when the ledger fails and the broker goes back to where it was.
        there = {s.id for s in known}
        self._served, self._ended = (self._served | served.keys()) & there, (self._ended | ended.keys()) & there

    def _add_up(self, passed_s: float) -> None:
        for holding in self._holdings:
            held_s = passed_s * holding.shares
            self.held_s[holding.where] += held_s
            self.user_held_s[holding.user] += held_s
            self.busy_s[holding.where] += held_s if holding.busy else 0.0

    def _add_wait(self, session: Session) -> None:
        waited_s = max(0.0, (session.ready_at or session.created_at) - session.created_at)
        self._wait_numbers[bisect_left(WAIT_BOUNDS_S, waited_s)] += 1
        self._wait_sum_s += waited_s


def flavor_counts(
    state: BrokerState, row: Callable[[str, str], tuple[str, str]]
) -> dict[tuple[str, str], FlavorCounts]:
    """Every share of a flavor in exactly one of free, busy, held idle and taken, as in the panel; and who waits for it.

    Parameters
    ----------
    state : BrokerState
    row : callable
        Pool and flavor to the row that they are counted in.
    """
    undoable = frozenset(
        share.id
        for session in state.sessions.values()
        if session.state is SessionState.ENDING and session.undo_until is not None
        for share in session.shares
    )
    uses: dict[tuple[str, str], Counter[str]] = {}
    for inventory in state.pools.values():
        for flavor in inventory.flavors:
            uses.setdefault(row(inventory.pool, flavor.name), Counter())
        named = {flavor.name for flavor in inventory.flavors}
        free = {share.id for share in free_shares(state, inventory, None, ignoring=undoable)}
        for share in inventory.shares:
            if share.flavor in named:
                holder = state.sessions.get(state.holder(share) or "")
                use = "free" if share.id in free else "taken"
                if holder is not None and share.id not in free:
                    use = "busy" if computes(holder) else "held_idle"
                uses[row(inventory.pool, share.flavor)][use] += 1
    for where, number in _waiting(state, row).items():
        uses.setdefault(where, Counter())["queued"] += number
    return {where: FlavorCounts(**counted) for where, counted in uses.items()}


def _waiting(state: BrokerState, row: Callable[[str, str], tuple[str, str]]) -> Counter[tuple[str, str]]:
    """By row, the sessions that wait and that it could serve; each is counted once in a row."""
    alike = Counter(_key(s) for s in everybody_waiting(state))
    requests = {_key(s): s.request for s in everybody_waiting(state)}
    out: Counter[tuple[str, str]] = Counter()
    for key, number in alike.items():
        for where in {row(c.pool, c.flavor.name) for c in candidates(state, requests[key])}:
            out[where] += number
    return out


def _key(session: Session) -> Hashable:
    """The same for sessions that the same shares could serve."""
    return session.request.flavor, session.request.memory_bytes, session.request.pools


class SiteMeter:
    """Counts for one runtime until that stops.

    Parameters
    ----------
    runtime : Runtime
    user_names : bool
        Whether users are counted by name.
    """

    def __init__(self, runtime: Runtime, *, user_names: bool = False) -> None:
        self._runtime = runtime
        self._user_names = user_names
        self._tally = Tally()
        #: a scrape may come on another thread
        self._lock = threading.Lock()
        runtime.subscribe(lambda change: self._look())
        self._look()

    def counts(self) -> SiteCounts:
        """What is known now. On any thread."""
        self._look()
        # a copy, since the loop may change the original meanwhile
        state, runtime, now = self._runtime.broker.state.copy(), self._runtime, self._runtime.now()
        sessions = Counter({s.value: 0 for s in SessionState if s is not SessionState.ENDED})
        sessions.update(s.state.value for s in state.live())
        waiting = everybody_waiting(state)
        pools = {
            name: PoolCounts(inventory.available, runtime.pool_as_of(name))
            for name, inventory in sorted(state.pools.items())[:MAX_POOLS]
        }
        with self._lock:
            return SiteCounts(
                version=__version__,
                simulated=runtime.simulated,
                sessions=dict(sessions),
                ended=dict(self._tally.ended),
                queue_length=len(waiting),
                oldest_wait_s=max(0.0, now - min(waits_since(s) for s in waiting)) if waiting else None,
                waits=self._tally.waits,
                pools=pools,
                flavors=self._flavors(state),
                users=self._users(state) if self._user_names else {},
            )

    def _look(self) -> None:
        with self._lock:
            sessions = list(self._runtime.broker.state.sessions.values())
            self._tally.look(sessions, self._runtime.clock.monotonic())

    def _flavors(self, state: BrokerState) -> Mapping[tuple[str, str], FlavorCounts]:
        """With the sums of before, also of flavors that are gone: a counter does not vanish while it can come back."""
        tally, now = self._tally, flavor_counts(state, self._tally.flavor)
        rows = {**dict.fromkeys(tally.held_s, FlavorCounts()), **now}
        return {w: replace(c, held_s=tally.held_s[w], busy_s=tally.busy_s[w]) for w, c in rows.items()}

    def _users(self, state: BrokerState) -> Mapping[str, UserCounts]:
        tally = self._tally
        sessions = Counter(tally.user(s.user) for s in state.live())
        names = sessions.keys() | tally.user_held_s.keys()
        return {name: UserCounts(sessions[name], tally.user_held_s[name]) for name in names}
