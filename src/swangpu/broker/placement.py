"""Which of the free shares a session gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..domain.devices import PoolInventory, Share, ShareKind
from .exclusion import conflict
from .state import BrokerState

__all__ = ["choose", "count_by_device", "free_by_device", "free_shares"]


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
    # Elsewhere than on the devices of what is looked through, only what is free can be had.
    devices = state.index.devices_of(ignoring)
    rows = [pool.free.get(flavor, {})] if flavor is not None else list(pool.free.values())
    out = [s for row in rows for s in row.values() if s.id not in barred and s.device_uuid not in devices]
    for device in devices:
        held = [share for share in state.held_on(device) if share.id not in ignoring]
        for share in pool.on_device.get(device, ()):
            if (flavor is not None and share.flavor != flavor) or share.id in pool.blocked or share.id in barred:
                continue
            if not any(conflict(share, other) for other in held):
                out.append(share)
    return out


def free_by_device(
    state: BrokerState, inventory: PoolInventory, ignoring: frozenset[str] | set[str]
) -> Mapping[str, int]:
    """How many shares of any flavor each device would have free."""
    pool = state.index.pools[inventory.pool]
    if not ignoring:
        return pool.free_on_device
    out = dict(pool.free_on_device)
    for device in state.index.devices_of(ignoring):
        if device not in pool.on_device:
            continue
        held = [share for share in state.held_on(device) if share.id not in ignoring]
        out[device] = sum(
            1
            for share in pool.on_device.get(device, ())
            if share.id not in pool.blocked and not any(conflict(share, other) for other in held)
        )
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
