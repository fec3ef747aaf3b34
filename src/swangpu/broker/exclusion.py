"""Which shares exclude each other."""

from __future__ import annotations

from ..domain.devices import Share, ShareKind

__all__ = ["conflict"]


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
