"""Which of the free shares a session gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..domain.devices import PoolInventory, Share, ShareKind
from .exclusion import conflict
from .state import BrokerState

__all__ = ["choose", "count_by_device", "free_shares"]


def free_shares(
    state: BrokerState,
    inventory: PoolInventory,
    flavor: str | None,
    *,
    barred: frozenset[str] | set[str] = frozenset(),
    ignoring: frozenset[str] | set[str] = frozenset(),
) -> list[Share]:
    """The shares of a flavor, or of any, that could be held now.

    Parameters
    ----------
    barred : set of str
        Ids that an earlier session in the queue waits for.
    ignoring : set of str
        Ids of held shares to look through: those that will be given up for whoever asks.
    """
    if not inventory.available or not inventory.managed:
        return []
    pool = state.index.pools[inventory.pool]
    if not ignoring:
        rows = [pool.free.get(flavor, {})] if flavor is not None else list(pool.free.values())
        return [share for row in rows for share in row.values() if share.id not in barred]
    out = []
    shares = pool.by_flavor.get(flavor, []) if flavor is not None else inventory.shares
    for share in shares:
        if share.id in pool.blocked or share.id in barred:
            continue
        if any(held.id not in ignoring and conflict(share, held) for held in state.held_on(share.device_uuid)):
            continue
        out.append(share)
    return out


def choose(
    free: Sequence[Share], count: int, free_on_device: Mapping[str, int], later: Mapping[str, object] | None = None
) -> tuple[Share, ...] | None:
    """``count`` shares that can be held together, or None.

    The device with the fewest free shares of any flavor is used first, so that whole devices stay whole and a device
    that can be had as a whole only is not kept while one that could be shared is taken. Several shares of one
    session go to different devices: two slices of one device are not twice the device.

    Parameters
    ----------
    later : mapping with str keys, optional
        Ids of shares that are set aside for later: they are used last.
    """
    soon = later or {}

    def rank(s: Share) -> tuple[bool, int, str, str]:
        return (s.id in soon, free_on_device.get(s.device_uuid, 0), s.device_uuid, s.id)

    if count == 1:
        return (min(free, key=rank),) if free else None
    chosen: list[Share] = []
    used_devices: set[str] = set()
    for share in sorted(free, key=rank):
        if share.device_uuid in used_devices and share.kind is not ShareKind.MIG:
            continue
        if any(conflict(share, other) for other in chosen):
            continue
        chosen.append(share)
        used_devices.add(share.device_uuid)
        if len(chosen) == count:
            return tuple(chosen)
    return None


def count_by_device(shares: Iterable[Share]) -> dict[str, int]:
    """How many shares each device has among these."""
    out: dict[str, int] = {}
    for share in shares:
        out[share.device_uuid] = out.get(share.device_uuid, 0) + 1
    return out
