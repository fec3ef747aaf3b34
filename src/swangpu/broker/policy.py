"""The rules that an operator sets. A change is an event, so the journal knows which rule was in force."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache

__all__ = ["Group", "Policy", "Quota", "Reclaim", "ReclaimMode", "Reservation"]


class ReclaimMode(str, Enum):
    """What is done about a session on whose GPU nobody computes while somebody waits for it.

    ``ADVISE`` only counts what would have been recovered, ``WARN`` tells its owner as well, ``ENFORCE`` takes it.
    """

    ADVISE = "advise"
    WARN = "warn"
    ENFORCE = "enforce"


@dataclass(frozen=True)
class Reclaim:
    """When an idle session gives way, in seconds. Nothing of it happens while nobody waits for what it holds.

    Attributes
    ----------
    idle_pause_s : float
        Idle for so long it is paused, where it can be: its variables stay, and its next cell gets a GPU back. Short:
        to bring a session back costs about as long, and with 60 s those who wait would wait for a minute
        (``docs/sharing.md`` tells what the simulation says).
    idle_release_s : float
        Idle for so long its owner is warned, where it can't be paused.
    grace_s : float
        From that warning until it is released.
    residency_s : float
        A session that has just got its GPU keeps it for at least so long.
    moves : int
        So many sessions of a pool are put aside or brought back at a time: they share the way to host memory.
    methods : tuple of str
        The ways of pausing that may be used.
    resident : bool
        What a paused session has may stay on its device, where that and what somebody else asked for fit there
        together.
    """

    mode: ReclaimMode = ReclaimMode.ADVISE
    idle_pause_s: float = 3.0
    idle_release_s: float = 1800.0
    grace_s: float = 300.0
    residency_s: float = 3.0
    moves: int = 4
    methods: tuple[str, ...] = ("offload", "carry", "checkpoint")
    resident: bool = True


@lru_cache(maxsize=4096)
def _matches(flavor: str, pattern: str) -> bool:
    return fnmatchcase(flavor, pattern)


@dataclass(frozen=True)
class Quota:
    """How much of a flavor somebody may hold at a time.

    Attributes
    ----------
    flavor : str
        A flavor, or a pattern such as ``a100-*``; ``*`` counts devices, and a part of a device as that part.
    nominal : float
        What is theirs: wanted back at once when others have borrowed it.
    borrow : float or None
        What they may hold beyond that while nobody whose it is wants it; None is without limit.
    """

    flavor: str = "*"
    nominal: float = 0.0
    borrow: float | None = None

    def matches(self, flavor: str) -> bool:
        return _matches(flavor, self.flavor)

    @property
    def limit(self) -> float:
        """Never more than this; infinite where borrowing is without limit."""
        return float("inf") if self.borrow is None else self.nominal + self.borrow


@dataclass(frozen=True)
class Group:
    """People who share a part of the site.

    Attributes
    ----------
    weight : float
        Its part of what there is, against those of the other groups, when all of them want more than there is.
    members : tuple of str
        Users who belong to it where the front door does not say to which group a request counts.
    idle_pause_s, idle_release_s : float or None
        Instead of the pool's.
    """

    name: str
    weight: float = 1.0
    members: tuple[str, ...] = ()
    quotas: tuple[Quota, ...] = ()
    idle_pause_s: float | None = None
    idle_release_s: float | None = None


@dataclass(frozen=True)
class Reservation:
    """Shares set aside for a time: for the people of an event, or for nobody (maintenance).

    Leases of everybody else on these shares end when it starts. Which shares they are is the same at any time: the
    last ``count`` of the flavor in the order of their ids.
    """

    id: str
    title: str
    start: float
    end: float
    pool: str
    flavor: str
    count: int
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def admits(self, user: str, group: str) -> bool:
        return user in self.users or group in self.groups


@dataclass(frozen=True)
class Policy:
    """Every limit and window, in seconds unless the name says otherwise.

    Attributes
    ----------
    default_lease_s, max_lease_s : float
        A lease when none is named, and what extending cannot pass, counted from the start of the session.
    claim_window_s : float
        How long a session whose turn has come keeps its shares unclaimed.
    undo_s : float
        How long a release can be undone while nobody waits for the shares.
    linger_s : float
        How long a kernel session without a kernel keeps its share (a restart by hand takes seconds).
    lost_grace_s : float
        How long a device may be away before its sessions end as ``lost``.
    warn_s : tuple of float
        How long before the end of a lease its owner is warned, longest first.
    auto_extend_s : float
        The step by which a busy session is carried past its lease while nobody waits.
    hosted_kinds : tuple of str
        The session kinds that managed pools host.
    half_life_s : float
        GPU-time held so long ago counts half.
    promote_s : float
        Who has waited so long is served as the priority before.
    reclaim : tuple of (str, Reclaim)
        By pool; ``*`` is for all others.
    quota_notice_s : float
        How long whoever has borrowed keeps what is wanted back.
    keep_paused_s : float
        A session paused for so long ends.
    paused_memory_bytes : int or None
        What all paused sessions together may have in host memory; None: the site sets no limit.
    """

    version: int = 1
    default_lease_s: float = 7200.0
    max_lease_s: float = 43200.0
    claim_window_s: float = 600.0
    undo_s: float = 10.0
    linger_s: float = 60.0
    lost_grace_s: float = 120.0
    start_retry_s: float = 30.0
    stop_retry_s: float = 10.0
    warn_s: tuple[float, ...] = (600.0, 120.0)
    auto_extend_s: float = 300.0
    keep_ended_s: float = 900.0
    keep_key_s: float = 86400.0
    keep_look_s: float = 600.0
    max_sessions_per_user: int = 64
    hosted_kinds: tuple[str, ...] = ("kernel", "job")
    half_life_s: float = 86400.0
    promote_s: float = 1800.0
    groups: tuple[Group, ...] = ()
    user_quotas: tuple[Quota, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    reclaim: tuple[tuple[str, Reclaim], ...] = ()
    pause_retry_s: float = 300.0
    move_retry_s: float = 120.0
    quota_notice_s: float = 900.0
    keep_paused_s: float = 86400.0
    paused_memory_bytes: int | None = None

    def reclaim_of(self, pool: str) -> Reclaim:
        """What holds for a pool."""
        rules = self._rules
        return rules.get(pool) or rules.get("*") or _ADVISE

    def group(self, name: str) -> Group | None:
        return self._named.get(name)

    def group_of(self, user: str) -> str:
        """The group that somebody belongs to, ``""`` where none is named."""
        return self._member_of.get(user, "")

    # Looked up at every step. Underscored, so that neither JSON nor comparisons see them.

    @cached_property
    def _rules(self) -> dict[str, Reclaim]:
        return dict(self.reclaim)

    @cached_property
    def _named(self) -> dict[str, Group]:
        # the first of a name counts
        return {g.name: g for g in reversed(self.groups)}

    @cached_property
    def _member_of(self) -> dict[str, str]:
        return {user: g.name for g in reversed(self.groups) for user in g.members}


_ADVISE = Reclaim()
