"""The schemes that are compared: who gets a GPU for how long, and what is done when nobody computes on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..broker.policy import Group, Policy, Reclaim, ReclaimMode
from .site import Site
from .workload import DAY_S, HOUR_S

__all__ = ["SCHEMES", "Scheme", "policy_for", "site_for"]


@dataclass(frozen=True)
class Scheme:
    """One way to run a site.

    Attributes
    ----------
    bound : bool
        GPUs are bound to sessions, as in today's services; the broker has no part in it.
    cull_s, idle_kill_s : float or None
        A bound session ends so long after its last cell, or after the last that used its GPU.
    sharers : int
        So many bound sessions share a device in turns.
    methods : tuple of str
        Ways of putting a session aside, in the order in which they are tried.
    resident : bool
        What would be offloaded stays on its device, where there is room for it beside who comes.
    idle_pause_s, residency_s, idle_release_s, moves : float
        Policy of the broker; see `swangpu.broker.policy.Reclaim`.
    lease_s : float
        For how long people ask, and by how much they extend while they have more to do.
    shipped : bool
        The broker's rules are those that it comes with, but that it enforces.
    """

    name: str
    title: str
    bound: bool = False
    cull_s: float = 4 * HOUR_S
    idle_kill_s: float | None = None
    sharers: int = 1
    methods: tuple[str, ...] = ()
    remap: bool = False
    resident: bool = False
    instant: bool = False
    idle_pause_s: float = Reclaim.idle_pause_s
    residency_s: float = Reclaim.residency_s
    idle_release_s: float = 1800.0
    lease_s: float = 2 * HOUR_S
    moves: int = 16
    shipped: bool = False


SCHEMES = {
    s.name: s
    for s in (
        Scheme("A", "Today: a GPU for the session's life, culled after 4 h", bound=True),
        Scheme("B", "The same, killed after 1 h of GPU idleness", bound=True, idle_kill_s=HOUR_S),
        Scheme("C", "Time-slices, four sessions on each device", bound=True, sharers=4),
        Scheme("E0", "Leases and release of idle sessions"),
        Scheme("E1", "Also offload and carry", methods=("offload", "carry")),
        Scheme("E1-stay", "Also stay on the device where there is room", methods=("offload", "carry"), resident=True),
        Scheme(
            "E1-default", "As it comes, with reclaim = enforce", methods=("offload",), resident=True,
            moves=Reclaim.moves, shipped=True,
        ),
        Scheme("E2-same", "Also checkpoints, back on the same device", methods=("checkpoint", "offload", "carry")),
        Scheme(
            "E2", "Also checkpoints, back on any equal device", methods=("checkpoint", "carry", "offload"), remap=True
        ),
        Scheme(
            "O", "Free and instant moves: the bound", methods=("move",), instant=True, idle_pause_s=0.0, residency_s=0.0
        ),
    )
}  # fmt: skip


def policy_for(scheme: Scheme, groups: Sequence[str] = ()) -> Policy:
    """The broker's rules under a scheme.

    With ways of putting aside, nothing is ever released for being idle: a process that can't be put aside keeps its
    GPU until its lease ends. As it comes, what can't be put aside is released, after a warning.
    """
    rule = Reclaim(
        ReclaimMode.ENFORCE,
        idle_pause_s=scheme.idle_pause_s,
        idle_release_s=30 * DAY_S if scheme.methods and not scheme.shipped else scheme.idle_release_s,
        residency_s=scheme.residency_s,
        moves=10**6 if scheme.instant else scheme.moves,
        methods=scheme.methods,
        resident=scheme.resident,
    )
    if scheme.shipped:
        return Policy(version=2, reclaim=(("*", rule),), groups=tuple(Group(name) for name in groups))
    return Policy(
        version=2,
        default_lease_s=scheme.lease_s,
        max_lease_s=14 * DAY_S,
        reclaim=(("*", rule),),
        groups=tuple(Group(name) for name in groups),
        max_sessions_per_user=10_000,
        keep_ended_s=60.0,
        keep_paused_s=DAY_S,
    )


def site_for(scheme: Scheme, site: Site) -> Site:
    """The site as the scheme finds it."""
    if not scheme.instant:
        return site
    return replace(site, bandwidth_bytes_s=float("inf"), offload_s=0.0, host_bytes=None)
