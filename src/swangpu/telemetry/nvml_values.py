"""What NVML's raw values mean."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

__all__ = ["LONG", "MASKS", "by_pid", "value_of"]

#: types of eight bytes without a sign
LONG = (2, 3)
#: by NVML's types without a sign: what of a raw value counts
MASKS = {1: 0xFFFFFFFF, 2: 0xFFFFFFFFFFFFFFFF, 3: 0xFFFFFFFFFFFFFFFF}


def value_of(kind: int, raw: int) -> Any:
    """A value of NVML's union by its type: double, unsigned, unsigned long (two kinds), and signed ones."""
    if kind == 1:
        return raw & 0xFFFFFFFF
    if kind in (2, 3):
        return raw
    if kind == 0:
        return struct.unpack("=d", struct.pack("=Q", raw))[0]
    if kind == 4:
        return raw - (1 << 64) if raw >> 63 else raw
    low = raw & 0xFFFFFFFF
    return (low - (1 << 32) if low >> 31 else low) if kind == 5 else raw & 0xFFFF


def by_pid(found: Sequence[tuple[int, ...]], since_us: int) -> tuple[dict[int, float], int]:
    """Percent by process id of (time, id, percent, …), and the newest time."""
    out: dict[int, float] = {}
    newest = since_us
    for at, pid, percent, *_ in found:
        # Drivers have been seen to leave rubbish in slots that they do not fill.
        if pid and at > since_us and 0 <= percent <= 100:
            if percent >= out.get(pid, 0.0):
                out[pid] = float(percent)
            if at > newest:
                newest = at
    return out, newest
