"""What must hold whatever happens, looked at from outside: cheaply at every step, thoroughly every so many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..broker import commands as cmd
from ..broker import reservations
from ..broker.exclusion import conflict
from ..broker.index import Index
from ..broker.policy import Policy
from ..broker.state import BrokerState, Changes
from ..domain.devices import Share, ShareKind
from ..domain.sessions import PausePhase, Session, SessionState
from .machines import Broken

__all__ = ["Audit"]

_CONFLICT = conflict
#: steps between two thorough looks
THOROUGH_STEPS = 500


class Audit:
    """Keeps its own books of who holds what, from what each step says it has changed.

    Parameters
    ----------
    starves_after_s : float
        Nobody waits longer, while something that they could have is given to others.

    Notes
    -----
    Nothing is held twice; nobody is promised memory of a device that somebody else is promised, or has stayed in; what
    is held is what the usage records say, to the second; quotas are never passed by a
    grant; nobody but those admitted is on what is set aside; whoever waits is served within a bound; what is derived
    from the tables (and kept up to date at each step) is what a reload derives from them.
    """

    def __init__(self, starves_after_s: float) -> None:
        self._starves_after_s = starves_after_s
        self._held: dict[str, tuple[tuple[Share, ...], float, float | None]] = {}
        self._on_device: dict[str, dict[str, str]] = {}
        self._shares: dict[str, Share] = {}
        self._held_s: dict[str, float] = {}
        self._waiting: dict[str, float] = {}
        self._whose: dict[str, tuple[str, str]] = {}
        self._on: dict[str, tuple[tuple[str, int], ...]] = {}
        self._promised: dict[str, int] = {}
        self._capacity: dict[str, int] = {}
        self.steps = 0
        self.checks = 0
        self.longest_wait_s = 0.0

    def look(self, state: BrokerState, changes: Changes, commands: Sequence[cmd.Command]) -> None:
        """After each step."""
        self.steps += 1
        now = state.now
        rows = changes.sessions
        # first what was let go, then what was taken: within a step one follows the other
        for session_id, row in rows.items():
            if session_id in self._held and (row is None or row.shares is not self._held[session_id][0]):
                self._let_go(session_id, row, now)
        for session_id, row in rows.items():
            if row is not None:
                if row.shares and session_id not in self._held:
                    self._take(state, row, now)
                self._sane(row)
            self._waits(session_id, row, now)
        self._memory(state, rows)
        for command in commands:
            if isinstance(command, cmd.RecordUsage):
                self._recorded(command)
        if self.steps % THOROUGH_STEPS == 0:
            self.thorough(state)

    def thorough(self, state: BrokerState) -> None:
        """Everything there is, compared with what was kept up to date."""
        self.checks += 1
        held = {s.id: s.shares for s in state.sessions.values() if s.shares}
        if held != {i: row[0] for i, row in self._held.items()}:
            raise Broken("what is held is not what was said step by step")
        for session_id, since in self._waiting.items():
            if state.now - since > self._starves_after_s:
                raise Broken(f"{session_id} has waited {state.now - since:.0f} s")
        self._index(state)
        self._reserved(state)

    def ended(self, state: BrokerState) -> None:
        """After everybody has gone home: nobody is left."""
        self.thorough(state)
        left = [(s.id, s.state.value) for s in state.live()]
        if left or self._held or self._waiting:
            raise Broken(f"not ended: {left[:5]}")

    # -- inside -----------------------------------------------------------------------------------

    def _take(self, state: BrokerState, row: Session, now: float) -> None:
        for share in row.shares:
            there = self._on_device.setdefault(share.device_uuid, {})
            for other, whose in there.items():
                if _CONFLICT(share, self._shares[other]):
                    raise Broken(f"{row.id} and {whose} hold {share.id} and {other}")
            there[share.id] = row.id
            self._shares[share.id] = share
        self._held[row.id] = (row.shares, now, row.claimed_at)
        self._whose[row.id] = (row.user, row.group)
        self._quota(state.policy, row)

    def _let_go(self, session_id: str, row: Session | None, now: float) -> None:
        shares, since, claimed_at = self._held.pop(session_id)
        self._whose.pop(session_id, None)
        for share in shares:
            self._on_device[share.device_uuid].pop(share.id, None)
        claimed_at = row.claimed_at if row is not None else claimed_at
        if claimed_at is not None:
            self._held_s[session_id] = self._held_s.get(session_id, 0.0) + len(shares) * (now - max(since, claimed_at))

    def _memory(self, state: BrokerState, rows: Mapping[str, Session | None]) -> None:
        """What those who hold a device asked for, and what others have left there, is no more than it has."""
        devices: dict[str, None] = {}
        for session_id, row in rows.items():
            before, after = self._on.pop(session_id, ()), _memory_of(row)
            if after:
                self._on[session_id] = after
            for sign, on in ((-1, before), (1, after)):
                for device, size in on:
                    self._promised[device] = self._promised.get(device, 0) + sign * size
                    devices[device] = None
        for device in devices:
            if device not in self._capacity:
                self._capacity[device] = _capacity(state, device)
            if self._promised[device] > self._capacity[device]:
                raise Broken(f"{device} has {self._capacity[device]} bytes, and {self._promised[device]} are promised")

    def _recorded(self, command: cmd.RecordUsage) -> None:
        record = command.record
        mine = self._held_s.pop(record.session_id, 0.0)
        if not math.isclose(mine, record.held_s, rel_tol=1e-9, abs_tol=1e-3):
            raise Broken(f"{record.session_id} has held {mine:.3f} s, and {record.held_s:.3f} s are recorded")

    def _sane(self, row: Session) -> None:
        phase = row.pause.phase if row.pause is not None else None
        if (row.held_from is not None) != bool(row.shares):
            raise Broken(f"{row.id} holds {len(row.shares)} shares since {row.held_from}")
        if row.state in (SessionState.QUEUED, SessionState.ENDED) and row.shares:
            raise Broken(f"{row.id} is {row.state.value} and holds something")
        if row.state in (SessionState.READY, SessionState.ACTIVE) and len(row.shares) != row.request.count:
            raise Broken(f"{row.id} is {row.state.value} with {len(row.shares)} shares")
        if row.state is SessionState.PAUSED and row.busy and phase is not PausePhase.SAVING:
            raise Broken(f"{row.id} computes while it is paused")

    def _quota(self, policy: Policy, row: Session) -> None:
        """What somebody gets does not bring them, or their group, above a limit."""
        group = policy.group(row.group)
        for whose, quotas in ((0, policy.user_quotas), (1, group.quotas if group is not None else ())):
            if not quotas:
                continue
            name = self._whose[row.id][whose]
            held = [s for i, h in self._held.items() if self._whose[i][whose] == name for s in h[0]]
            for quota in quotas:
                mine = [s for s in held if quota.matches(s.flavor)]
                amount = math.fsum(s.fraction for s in mine) if quota.flavor == "*" else float(len(mine))
                if quota.matches(row.shares[0].flavor) and amount > quota.limit + 1e-6:
                    raise Broken(f"{name} holds {amount:.3g}, and the limit is {quota.limit:.3g}")

    def _waits(self, session_id: str, row: Session | None, now: float) -> None:
        waiting = row is not None and (
            row.state is SessionState.QUEUED
            or (row.state is SessionState.PAUSED and row.pause is not None and row.pause.phase is PausePhase.WANTED)
        )
        if waiting:
            self._waiting.setdefault(session_id, now)
        elif session_id in self._waiting:
            self.longest_wait_s = max(self.longest_wait_s, now - self._waiting.pop(session_id))

    def _index(self, state: BrokerState) -> None:
        known, fresh = state.index, Index(state)
        for name in ("waiting", "idle", "coming", "moving", "live"):
            if set(getattr(known, name)) != set(getattr(fresh, name)):
                raise Broken(f"{name} is not what a reload makes of it")
        if known.residents != fresh.residents:
            raise Broken("who has stayed where is not what a reload makes of it")
        for pool, mine in known.pools.items():
            for flavor, free in mine.free.items():
                if set(free) != set(fresh.pools[pool].free[flavor]):
                    raise Broken(f"what is free of {flavor} is not what a reload makes of it")

    def _reserved(self, state: BrokerState) -> None:
        policy = state.policy
        for number, one in enumerate(policy.reservations):
            if not one.start <= state.now < one.end:
                continue
            wanted = reservations.reserved_shares(state, one.pool)
            for session_id, (shares, _, _) in self._held.items():
                row = state.sessions[session_id]
                if row.state is not SessionState.ACTIVE or one.admits(row.user, row.group):
                    continue
                if any(number in wanted.get(s.id, ()) for s in shares):
                    raise Broken(f"{session_id} is on what is set aside")


def _memory_of(row: Session | None) -> tuple[tuple[str, int], ...]:
    """By device, what a session is promised or has left there."""
    if row is None:
        return ()
    stayed = row.pause.resident_on if row.pause is not None else None
    if row.shares:
        asked = row.request.memory_bytes
        return tuple((s.device_uuid, s.memory_bytes if asked is None else asked) for s in row.shares)
    return ((stayed.device_uuid, row.pause.resident_bytes),) if stayed is not None and row.pause is not None else ()


def _capacity(state: BrokerState, device: str) -> int:
    shares = [s for pool in state.pools.values() for s in pool.shares if s.device_uuid == device]
    whole = max((s.memory_bytes for s in shares if s.kind is ShareKind.WHOLE), default=0)
    return whole or sum(s.memory_bytes for s in shares)
