"""All that the broker remembers, and what changed since the last journal entry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..domain.devices import PoolInventory, Share
from ..domain.sessions import Session
from .index import Index
from .policy import Policy

__all__ = ["Account", "BrokerState", "Changes", "Look"]


@dataclass(frozen=True)
class Look:
    """The largest thing that somebody looked at lately: whoever then takes less has settled."""

    at: float
    memory_bytes: int


@dataclass(frozen=True)
class Account:
    """Device-seconds that somebody has held and given back, as of ``at``: they fade from then on."""

    at: float
    held_s: float


@dataclass(frozen=True)
class Changes:
    """What one event changed: rows by table, None for a row that is gone. Enough to reload without deciding again."""

    now: float
    next_number: int
    held_fractions: tuple[float, ...]
    policy: Policy
    pools: dict[str, PoolInventory | None]
    sessions: dict[str, Session | None]
    keys: dict[str, tuple[str, float] | None]
    looks: dict[str, Look | None]
    accounts: dict[str, Account | None] = field(default_factory=dict)
    wait_ratios: tuple[float, ...] = ()


#: the tables of the state, each a dict with string keys in order of insertion
TABLES = ("pools", "sessions", "keys", "looks", "accounts")


@dataclass
class BrokerState:
    """Dicts of frozen values, so a copy is shallow and cheap, and a journal entry can name what changed.

    Attributes
    ----------
    keys : dict
        ``"user\\x00idempotency key"`` to ``(session id, at)``.
    accounts : dict
        ``"u:user"`` and ``"g:group"`` to what they have held.
    held_fractions : tuple of float
        For the last sessions that ended: the part of its lease that each was held (for estimates).
    wait_ratios : tuple of float
        For the last that waited: how long that took, of what had been foreseen (for estimates).
    """

    now: float = 0.0
    next_number: int = 1
    policy: Policy = field(default_factory=Policy)
    pools: dict[str, PoolInventory] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    keys: dict[str, tuple[str, float]] = field(default_factory=dict)
    looks: dict[str, Look] = field(default_factory=dict)
    held_fractions: tuple[float, ...] = ()
    accounts: dict[str, Account] = field(default_factory=dict)
    wait_ratios: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        self._touched: dict[tuple[str, str], None] = {}
        #: made when it is first asked for: a copy that is only kept needs none
        self._index: Index | None = None

    @property
    def index(self) -> Index:
        """What follows from the tables."""
        if self._index is None:
            self._index = Index(self)
        return self._index

    # -- changing ---------------------------------------------------------------------------------

    def put(self, table: str, key: str, value: Any) -> None:
        """Set one row, remember that it changed."""
        rows: dict[str, Any] = getattr(self, table)
        before = rows.get(key)
        rows[key] = value
        self._touched[(table, key)] = None
        if self._index is not None:
            if table == "sessions":
                self._index.session_changed(before, value)
            elif table == "pools":
                self._index.pool_changed(value)

    def drop(self, table: str, key: str) -> None:
        """Remove one row, remember that it is gone."""
        rows: dict[str, Any] = getattr(self, table)
        gone = rows.pop(key, None)
        self._touched[(table, key)] = None
        if self._index is not None and gone is not None and table == "sessions":
            self._index.session_changed(gone, None)

    def put_session(self, session: Session) -> None:
        self.put("sessions", session.id, session)

    def set_policy(self, policy: Policy) -> None:
        self.policy = policy
        if self._index is not None:
            self._index.policy_changed()

    @property
    def changed(self) -> bool:
        """Whether rows have changed since the last `take_changes`."""
        return bool(self._touched)

    def take_changes(self) -> Changes:
        """What changed since the last call."""
        rows: dict[str, dict[str, Any]] = {table: {} for table in TABLES}
        for table, key in self._touched:
            rows[table][key] = getattr(self, table).get(key)
        self._touched.clear()
        return Changes(
            self.now, self.next_number, self.held_fractions, self.policy, wait_ratios=self.wait_ratios, **rows
        )

    def apply(self, changes: Changes) -> None:
        """Bring a loaded state forward by one journal entry, without deciding anything again."""
        self._index = None
        self.now = changes.now
        self.next_number = changes.next_number
        self.held_fractions = changes.held_fractions
        self.wait_ratios = changes.wait_ratios
        self.policy = changes.policy
        for table in TABLES:
            for key, row in getattr(changes, table).items():
                if row is None:
                    self.drop(table, key)
                else:
                    self.put(table, key, row)
        self._touched.clear()

    def copy(self) -> BrokerState:
        """A copy that later changes do not reach."""
        return BrokerState(
            now=self.now,
            next_number=self.next_number,
            policy=self.policy,
            pools=dict(self.pools),
            sessions=dict(self.sessions),
            keys=dict(self.keys),
            looks=dict(self.looks),
            held_fractions=self.held_fractions,
            accounts=dict(self.accounts),
            wait_ratios=self.wait_ratios,
        )

    # -- asking -----------------------------------------------------------------------------------

    def live(self) -> Iterator[Session]:
        """Sessions that have not ended, in order of arrival."""
        return iter(sorted((self.sessions[i] for i in self.index.live), key=lambda s: s.number))

    def held_on(self, device_uuid: str) -> Iterator[Share]:
        """The shares that are held on a device."""
        return self.index.held_on(device_uuid)

    def holder(self, share: Share) -> str | None:
        """The id of the session that holds a share."""
        return self.index.holder(share)
