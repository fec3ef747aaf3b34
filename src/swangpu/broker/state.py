"""All that the broker remembers, and what changed since the last journal entry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..domain.devices import PoolInventory, Share
from ..domain.sessions import Session, SessionState
from .policy import Policy

__all__ = ["BrokerState", "Changes", "Look"]


@dataclass(frozen=True)
class Look:
    """The largest thing that somebody looked at lately: whoever then takes less has settled."""

    at: float
    memory_bytes: int


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


#: the tables of the state, each a dict with string keys in order of insertion
TABLES = ("pools", "sessions", "keys", "looks")


@dataclass
class BrokerState:
    """Dicts of frozen values, so a copy is shallow and cheap, and a journal entry can name what changed.

    Attributes
    ----------
    keys : dict
        ``"user\\x00idempotency key"`` to ``(session id, at)``.
    held_fractions : tuple of float
        For the last sessions that ended: the part of its lease that each was held (for estimates).
    """

    now: float = 0.0
    next_number: int = 1
    policy: Policy = field(default_factory=Policy)
    pools: dict[str, PoolInventory] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    keys: dict[str, tuple[str, float]] = field(default_factory=dict)
    looks: dict[str, Look] = field(default_factory=dict)
    held_fractions: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        self._touched: dict[tuple[str, str], None] = {}
        self._by_device: dict[str, dict[str, tuple[Share, str]]] = {}
        for session in self.sessions.values():
            self._index(session)

    # -- changing ---------------------------------------------------------------------------------

    def put(self, table: str, key: str, value: Any) -> None:
        """Set one row, remember that it changed."""
        rows: dict[str, Any] = getattr(self, table)
        if table == "sessions":
            before = rows.get(key)
            if before is not None:
                self._unindex(before)
            self._index(value)
        rows[key] = value
        self._touched[(table, key)] = None

    def drop(self, table: str, key: str) -> None:
        """Remove one row, remember that it is gone."""
        rows: dict[str, Any] = getattr(self, table)
        gone = rows.pop(key, None)
        if gone is not None and table == "sessions":
            self._unindex(gone)
        self._touched[(table, key)] = None

    def put_session(self, session: Session) -> None:
        self.put("sessions", session.id, session)

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
        return Changes(self.now, self.next_number, self.held_fractions, self.policy, **rows)

    def apply(self, changes: Changes) -> None:
        """Bring a loaded state forward by one journal entry, without deciding anything again."""
        self.now = changes.now
        self.next_number = changes.next_number
        self.held_fractions = changes.held_fractions
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
        )

    # -- asking -----------------------------------------------------------------------------------

    def live(self) -> Iterator[Session]:
        """Sessions that have not ended, in order of arrival."""
        return (s for s in self.sessions.values() if s.state is not SessionState.ENDED)

    def held_on(self, device_uuid: str) -> Iterator[Share]:
        """The shares that are held on a device."""
        return (share for share, _ in self._by_device.get(device_uuid, {}).values())

    def holder(self, share: Share) -> str | None:
        """The id of the session that holds a share."""
        found = self._by_device.get(share.device_uuid, {}).get(share.id)
        return found[1] if found else None

    def _index(self, session: Session) -> None:
        for share in session.shares:
            self._by_device.setdefault(share.device_uuid, {})[share.id] = (share, session.id)

    def _unindex(self, session: Session) -> None:
        for share in session.shares:
            held = self._by_device.get(share.device_uuid, {})
            # A journal entry may name the new holder before the old one: only the holder's own mark goes.
            if share.id in held and held[share.id][1] == session.id:
                del held[share.id]
