"""Who there is in the world of the property tests, what they may, and what they ask for."""

from __future__ import annotations

import random
from typing import Any

from broker.fleet import GB
from swangpu.broker.policy import Group, Policy, Quota, Reclaim, ReclaimMode
from swangpu.domain.sessions import Priority, Request, SessionKind

__all__ = ["DEVICE_BYTES", "GROUPS", "PAUSED_BYTES", "USERS", "policy", "random_request"]

USERS = ("alice", "bob", "carol")

#: alice and bob have half of the whole devices each; carol belongs to nobody
GROUPS = (
    Group("physics", 2.0, ("alice",), (Quota("t4*", 1.0, None),)),
    Group("chemistry", 1.0, ("bob",), (Quota("t4*", 1.0, 1.0),), idle_pause_s=5.0),
)
DEVICE_BYTES = {"A": 15 * GB, "T1": 16 * GB, "T2": 16 * GB}
#: room for two or three that are paused
PAUSED_BYTES = 9 * GB
RULES = (("*", Reclaim(ReclaimMode.ENFORCE, idle_pause_s=20.0, idle_release_s=300.0, grace_s=60.0, residency_s=5.0)),)


def policy(version: int = 2, **kwargs: Any) -> Policy:
    """Everything at once: groups with quotas, limits for people, reclaim."""
    return Policy(
        version=version,
        max_sessions_per_user=8,
        groups=GROUPS,
        user_quotas=(Quota("*", 2.5, 0.0),),
        reclaim=RULES,
        keep_paused_s=7200.0,
        paused_memory_bytes=PAUSED_BYTES,
        **kwargs,
    )


def random_request(rng: random.Random) -> Request:
    """A request such as people make, some of them absurd."""
    flavor = rng.choice([None, "a100-40gb/1g.5gb", "t4", "t4/time-2", "t4", "no-such"])
    kind = rng.choice([SessionKind.KERNEL, SessionKind.KERNEL, SessionKind.JOB, SessionKind.CLUSTER])
    return Request(
        kind=kind,
        flavor=flavor,
        memory_bytes=None if flavor is not None else rng.choice([1, 5, 8, 9, 16, 17, 500]) * GB,
        count=rng.choice([1, 1, 1, 1, 2, 3, 1000]),
        duration_s=rng.choice([60.0, 600.0, 7200.0, 43200.0, 1e9]),
        pools=rng.choice([(), (), (), ("local",), ("nowhere",)]),
        priority=rng.choice([None, None, Priority.BACKFILL]),
    )
