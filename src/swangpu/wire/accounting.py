"""Who has held what, and what was asked for."""

from __future__ import annotations

from msgspec import Struct

__all__ = [
    "Demand",
    "DemandRow",
    "Usage",
    "UsageRow",
]


class UsageRow(Struct):
    key: str
    sessions: int
    held_gpu_s: float
    busy_s: float | None


class DemandRow(Struct):
    key: str
    looked: int
    granted: int
    refused: int
    given_up: int
    unclaimed: int
    settled: int
    failed: int
    waited_p50_s: float | None
    waited_p90_s: float | None


class Usage(Struct):
    items: list[UsageRow]
    as_of: float


class Demand(Struct):
    items: list[DemandRow]
    as_of: float
