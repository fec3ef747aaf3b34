"""Which shares can be held together, and which of the free ones a session gets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..domain.devices import PoolInventory, Share, ShareKind
from .state import BrokerState

__all__ = ["choose", "conflict", "free_shares"]


def conflict(a: Share, b: Share) -> bool:
    """Whether two shares cannot be held at the same time.

    A whole device excludes everything else on it, and a device is cut in one way at a time: its MIG devices,
    or its MPS shares, or its time-slices.
    """
    if a.device_uuid != b.device_uuid:
        return False
    if a.id == b.id or ShareKind.WHOLE in (a.kind, b.kind):
        return True
    return a.kind is not b.kind or (a.kind is not ShareKind.MIG and a.flavor != b.flavor)


def free_shares(
    state: BrokerState,
    inventory: PoolInventory,
    flavor: str | None,
    *,
    barred: frozenset[str] = frozenset(),
    ignoring: frozenset[str] = frozenset(),
) -> list[Share]:
    """The shares of a flavor, or of any, that could be held now.

    Parameters
    ----------
    barred : frozenset of str
        Ids that an earlier session in the queue waits for.
    ignoring : frozenset of str
        Ids of held shares to look through (those that an undo window keeps, which ends when somebody asks).
    """
    if not inventory.available or not inventory.managed:
        return []
    out = []
    blocked = set(inventory.taken) | set(inventory.lost)
    for share in inventory.shares:
        if (flavor is not None and share.flavor != flavor) or share.id in blocked or share.id in barred:
            continue
        if any(held.id not in ignoring and conflict(share, held) for held in state.held_on(share.device_uuid)):
            continue
        out.append(share)
    return out


def choose(free: Sequence[Share], count: int, free_on_device: dict[str, int]) -> tuple[Share, ...] | None:
    """``count`` shares that can be held together, or None.

    The device with the fewest free shares of any flavor is used first, so that whole devices stay whole and a device
    that can be had as a whole only is not kept while one that could be shared is taken. Several shares of one
    session go to different devices: two slices of one device are not twice the device.
    """
    chosen: list[Share] = []
    used_devices: set[str] = set()
    for share in sorted(free, key=lambda s: (free_on_device.get(s.device_uuid, 0), s.device_uuid, s.id)):
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
