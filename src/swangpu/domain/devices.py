"""Devices, the shares they are cut into, and what a pool has."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Flavor", "PoolInventory", "Share", "ShareKind"]


class ShareKind(str, Enum):
    """How a part of a device is held.

    ``WHOLE`` and ``MIG`` are enforced by hardware, ``MPS`` limits by CUDA; a ``TIME_SLICE`` is advice.
    """

    WHOLE = "whole"
    MIG = "mig"
    MPS = "mps"
    TIME_SLICE = "time_slice"


@dataclass(frozen=True)
class Share:
    """What can be held: a whole device, a MIG device, an MPS share or a time-slice.

    ``id`` is unique in the site and stable over restarts: the device's UUID, the MIG device's UUID,
    or ``<device uuid>/<kind>-<index>of<parts>``.
    """

    id: str
    pool: str
    flavor: str
    kind: ShareKind
    device_uuid: str
    memory_bytes: int
    mig_uuid: str | None = None
    profile: str | None = None
    #: percent of the device's compute, for MPS (``CUDA_MPS_ACTIVE_THREAD_PERCENTAGE``)
    compute_percent: int = 100
    #: the part of the device's compute that it is, for fair shares and quotas
    fraction: float = 1.0


@dataclass(frozen=True)
class Flavor:
    """A kind of share that can be asked for, such as ``a100-40gb/1g.5gb`` or ``t4/time-4``.

    ``title`` is in plain words ("A100 slice, 5 GB"). ``max_per_kernel`` is 1 for MIG: a CUDA process
    sees one MIG device only.
    """

    name: str
    title: str
    memory_bytes: int
    kind: ShareKind
    max_per_kernel: int = 1
    cost_per_hour: float | None = None
    currency: str | None = None


@dataclass(frozen=True)
class PoolInventory:
    """What one pool has, as its backend last saw it.

    Parameters
    ----------
    shares : tuple of Share
        Everything that exists now, sorted by id. A lost device's shares are absent.
    taken : tuple of str
        Ids of shares used by processes that are not ours; never granted.
    reason_code, reason_text : str or None
        Why ``available`` is false, and in ``hint`` what can be done.
    as_of : float
        Unix seconds at which this was true.
    """

    pool: str
    title: str
    managed: bool
    available: bool
    as_of: float
    shares: tuple[Share, ...] = ()
    flavors: tuple[Flavor, ...] = ()
    taken: tuple[str, ...] = ()
    reason_code: str | None = None
    reason_text: str | None = None
    hint: str | None = None
    simulated: bool = False
    #: ids of shares whose device does not answer now (they may come back)
    lost: tuple[str, ...] = ()
    #: for external pools: how many of each flavor are free, as its own scheduler says
    free: tuple[tuple[str, int], ...] = field(default=())
