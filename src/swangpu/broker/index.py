"""What can be worked out from the broker's tables, kept up to date so that a step costs little however many there are.

Nothing here is stored: after a reload it is built anew from the tables, and is then the same.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from ..domain.devices import PoolInventory, Share
from ..domain.sessions import PausePhase, Session, SessionState
from .deadline import deadline_of, gives_way_at, is_idle, is_kept
from .exclusion import conflict

if TYPE_CHECKING:
    from .state import BrokerState

__all__ = ["Index", "PoolIndex", "excluded", "waits"]


def waits(s: Session) -> bool:
    """Whether a session is in the queue: for its first share, or for one to go on with."""
    if s.state is SessionState.QUEUED:
        return True
    return s.state is SessionState.PAUSED and s.pause is not None and s.pause.phase is PausePhase.WANTED


def excluded(on_device: Mapping[str, Iterable[Share]], wanted: Iterable[Share]) -> frozenset[str]:
    """Ids of these shares, and of all on their devices that can't be held together with one of them."""
    return frozenset(
        other.id for share in wanted for other in on_device.get(share.device_uuid, ()) if conflict(other, share)
    )


class PoolIndex:
    """The shares of one pool: by flavor, by device, and which are free.

    Parameters
    ----------
    inventory : PoolInventory
    held : callable
        The shares that are held on a device.
    """

    def __init__(self, inventory: PoolInventory, held: Iterable[Share]) -> None:
        self.inventory = inventory
        self.by_flavor: dict[str, list[Share]] = {}
        self.on_device: dict[str, list[Share]] = {}
        for share in inventory.shares:
            self.by_flavor.setdefault(share.flavor, []).append(share)
            self.on_device.setdefault(share.device_uuid, []).append(share)
        self.blocked = frozenset(inventory.taken) | frozenset(inventory.lost)
        usable = inventory.available and inventory.managed
        self._in_the_way = dict.fromkeys((s.id for s in inventory.shares), 0 if usable else 1)
        self.free: dict[str, dict[str, Share]] = {flavor: {} for flavor in self.by_flavor}
        self.free_on_device: dict[str, int] = dict.fromkeys(self.on_device, 0)
        for share in inventory.shares:
            if share.id in self.blocked:
                self._in_the_way[share.id] += 1
            if not self._in_the_way[share.id]:
                self._freed(share)
        self._excluded: dict[str, frozenset[str]] = {}
        for share in held:
            self.hold(share)

    def excluded_by(self, flavor: str) -> frozenset[str]:
        """Ids of the shares of a flavor, and of all that can't be held together with one of them."""
        known = self._excluded.get(flavor)
        if known is None:
            known = self._excluded[flavor] = excluded(self.on_device, self.by_flavor.get(flavor, ()))
        return known

    def hold(self, held: Share) -> None:
        for share in self.on_device.get(held.device_uuid, ()):
            if conflict(share, held):
                self._in_the_way[share.id] += 1
                if self._in_the_way[share.id] == 1:
                    del self.free[share.flavor][share.id]
                    self.free_on_device[share.device_uuid] -= 1

    def let_go(self, held: Share) -> None:
        for share in self.on_device.get(held.device_uuid, ()):
            if conflict(share, held):
                self._in_the_way[share.id] -= 1
                if not self._in_the_way[share.id]:
                    self._freed(share)

    def _freed(self, share: Share) -> None:
        self.free[share.flavor][share.id] = share
        self.free_on_device[share.device_uuid] += 1


class Index:
    """Derived from a `BrokerState`; changed by its ``put`` and ``drop`` only.

    Attributes
    ----------
    dirty : bool
        Something has changed that may let somebody in the queue be served.
    waiting : dict of str to None
        Ids of sessions in the queue.
    idle : dict of str to float or None
        Ids of sessions that hold something on which nobody computes, and when they can be asked to give way.
    coming : dict of str to None
        Ids of sessions whose shares will be free when what they do now is done.
    moving : dict of str to str
        Ids of sessions that are being put aside or brought back, with their pools.
    residents : dict of str to dict
        By device, ids of paused sessions that have stayed there though they hold nothing.
    """

    def __init__(self, state: BrokerState) -> None:
        self._state = state
        self._by_device: dict[str, dict[str, tuple[Share, str]]] = {}
        self._device_of: dict[str, str] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._due_at: dict[str, float] = {}
        self.waiting: dict[str, None] = {}
        self.idle: dict[str, float | None] = {}
        self.coming: dict[str, None] = {}
        self.moving: dict[str, str] = {}
        self.residents: dict[str, dict[str, None]] = {}
        self._resident_on: dict[str, str] = {}
        self.live: dict[str, None] = {}
        #: ids of sessions that a policy which only advises would have taken
        self.advised: dict[str, None] = {}
        self.of_user: dict[str, dict[str, None]] = {}
        self.held_by_user: dict[str, dict[str, None]] = {}
        self.held_by_group: dict[str, dict[str, None]] = {}
        #: what `fairness` has worked out of what somebody holds
        self.holds: dict[str, list[tuple[float, float]]] = {}
        self.dirty = True
        #: shares were let go since the queue was gone through last
        self.freed = False
        #: when the queue was gone through last, and when old rows were forgotten (Unix seconds)
        self.considered_at = float("-inf")
        self.swept_at = float("-inf")
        self.pools: dict[str, PoolIndex] = {}
        self.options: dict[object, object] = {}
        self.reserved: dict[str, dict[str, tuple[int, ...]]] | None = None
        for session in sorted(state.sessions.values(), key=lambda s: s.number):
            self._add(session)
        for inventory in state.pools.values():
            self.pool_changed(inventory)

    # -- the tables have changed -------------------------------------------------------------------

    def pool_changed(self, inventory: PoolInventory) -> None:
        devices = {s.device_uuid for s in inventory.shares}
        held = [share for uuid in sorted(devices) for share, _ in self._by_device.get(uuid, {}).values()]
        self.pools[inventory.pool] = PoolIndex(inventory, held)
        self.options.clear()
        self.reserved = None
        self.dirty = True

    def policy_changed(self) -> None:
        """Windows may be longer or shorter now."""
        self.reserved = None
        self.dirty = True
        for session in self._state.sessions.values():
            self._mark(session)
            self._schedule(session)

    def session_changed(self, before: Session | None, after: Session | None) -> None:
        """A row of the table of sessions was replaced, added (no ``before``) or dropped (no ``after``)."""
        if before is not None and after is not None and before.shares is after.shares:
            self._mark(after)
            if before.idle_ends_at is not None and after.idle_ends_at is None:
                # somebody counted on it; another one has to be asked
                self.dirty = True
        else:
            if before is not None:
                self._let_go(before)
            if after is not None:
                self._hold(after)
                self._mark(after)
        if after is None:
            assert before is not None  # noqa: S101 - one of the two is there
            self._unmark(before)
            self._due_at.pop(before.id, None)
        else:
            self._schedule(after)

    # -- asking ------------------------------------------------------------------------------------

    def held_on(self, device_uuid: str) -> Iterator[Share]:
        return (share for share, _ in self._by_device.get(device_uuid, {}).values())

    def holder(self, share: Share) -> str | None:
        found = self._by_device.get(share.device_uuid, {}).get(share.id)
        return found[1] if found else None

    def devices_of(self, share_ids: Iterable[str]) -> list[str]:
        """The devices on which some of these shares are held, in an order that is the same in every process."""
        return sorted({self._device_of[i] for i in share_ids if i in self._device_of})

    def next_due(self) -> float | None:
        """When the first session is due (Unix seconds)."""
        while self._heap and self._due_at.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: float) -> list[str]:
        """Ids of the sessions that are due, soonest first; each is told once."""
        out = []
        while (at := self.next_due()) is not None and at <= now:
            _, _, session_id = heapq.heappop(self._heap)
            del self._due_at[session_id]
            out.append(session_id)
        return out

    def reschedule(self, session_id: str) -> None:
        """A due session was looked at, and nothing came of it."""
        session = self._state.sessions.get(session_id)
        if session is not None and session_id not in self._due_at:
            self._schedule(session)

    # -- inside ------------------------------------------------------------------------------------

    def _add(self, session: Session) -> None:
        self._hold(session)
        self._mark(session)
        self._schedule(session)

    def _hold(self, session: Session) -> None:
        for share in session.shares:
            self._by_device.setdefault(share.device_uuid, {})[share.id] = (share, session.id)
            self._device_of[share.id] = share.device_uuid
            for pool in self.pools.values():
                pool.hold(share)
        if session.shares:
            self.held_by_user.setdefault(session.user, {})[session.id] = None
            self.held_by_group.setdefault(session.group, {})[session.id] = None
            self._forget_holds(session)

    def _let_go(self, session: Session) -> None:
        for share in session.shares:
            held = self._by_device.get(share.device_uuid, {})
            # A journal entry may name the new holder before the old one: only the holder's own mark goes.
            if share.id in held and held[share.id][1] == session.id:
                del held[share.id]
                del self._device_of[share.id]
            for pool in self.pools.values():
                pool.let_go(share)
        if session.shares:
            self.held_by_user[session.user].pop(session.id, None)
            self.held_by_group[session.group].pop(session.id, None)
            self._forget_holds(session)
            self.dirty = self.freed = True

    def _forget_holds(self, session: Session) -> None:
        self.holds.pop(f"u:{session.user}", None)
        self.holds.pop(f"g:{session.group}", None)

    def _mark(self, s: Session) -> None:
        if s.state is SessionState.ENDED:
            self._unmark(s)
            return
        self.live[s.id] = None
        self.of_user.setdefault(s.user, {})[s.id] = None
        if waits(s):
            if s.id not in self.waiting:
                self.waiting[s.id] = None
                self.dirty = True
        elif s.id in self.waiting:
            del self.waiting[s.id]
            self.dirty = True
        if (s.state is SessionState.ACTIVE or is_kept(s)) and is_idle(s):
            if s.id not in self.idle:
                self.dirty = True
            self.idle[s.id] = gives_way_at(self._state.policy, s)
        else:
            self.idle.pop(s.id, None)
        phase = s.pause.phase if s.pause is not None and s.state is SessionState.PAUSED else None
        if s.advised_from is not None:
            self.advised[s.id] = None
        else:
            self.advised.pop(s.id, None)
        if s.shares and (s.state is SessionState.ENDING or phase is PausePhase.SAVING):
            self.coming[s.id] = None
            self.dirty = self.dirty or s.undo_until is not None
        else:
            self.coming.pop(s.id, None)
        self._stay(s.id, s.pause.resident_on if s.pause is not None and not s.shares else None)
        if phase in (PausePhase.SAVING, PausePhase.RESTORING):
            self.moving[s.id] = s.pool or ""
        elif self.moving.pop(s.id, None) is not None:
            self.dirty = True

    def _unmark(self, s: Session) -> None:
        for ids in (self.live, self.waiting, self.idle, self.coming, self.advised):
            ids.pop(s.id, None)
        self.moving.pop(s.id, None)
        self._stay(s.id, None)
        mine = self.of_user.get(s.user)
        if mine is not None:
            mine.pop(s.id, None)
            if not mine:
                del self.of_user[s.user]

    def _stay(self, session_id: str, on: Share | None) -> None:
        """Where a paused session has stayed, if anywhere."""
        before = self._resident_on.get(session_id)
        after = on.device_uuid if on is not None else None
        if before == after:
            return
        if before is not None:
            del self._resident_on[session_id]
            del self.residents[before][session_id]
            if not self.residents[before]:
                del self.residents[before]
        if after is not None:
            self._resident_on[session_id] = after
            self.residents.setdefault(after, {})[session_id] = None
        # what has stayed was in the way of somebody, perhaps
        self.dirty = True

    def _schedule(self, session: Session) -> None:
        at = deadline_of(self._state.policy, session, self._state.now)
        if at is None:
            self._due_at.pop(session.id, None)
        elif self._due_at.get(session.id) != at:
            self._due_at[session.id] = at
            heapq.heappush(self._heap, (at, session.number, session.id))
