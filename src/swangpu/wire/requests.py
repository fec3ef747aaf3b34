"""What a client sends. Fields that are not known are refused by name."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from .names import Kind, Name

__all__ = [
    "Attach",
    "AttachRequest",
    "DetachRequest",
    "Empty",
    "ExtendRequest",
    "LookRequest",
    "ProfileRequest",
    "SessionRequest",
]


class Attach(Struct, forbid_unknown_fields=True):
    """The kernel to put on a session: by notebook path or by kernel id, one of the two."""

    path: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    kernel_id: Name | None = None
    carry: Literal["all", "none"] = "none"


class SessionRequest(Struct, forbid_unknown_fields=True):
    """Body of ``POST /sessions``: flavor or memory, one of the two; empty ``pools`` means any, first wins."""

    kind: Kind = "kernel"
    flavor: Name | None = None
    memory_bytes: Annotated[float, Meta(gt=0, le=1e15)] | None = None
    count: Annotated[int, Meta(ge=1, le=512)] = 1
    duration_s: Annotated[float, Meta(ge=60, le=2_678_400)] | None = None
    pools: Annotated[list[Name], Meta(max_length=50)] = []
    project: Name | None = None
    purpose: Annotated[str, Meta(max_length=1000)] | None = None
    attach: Attach | None = None
    on_ready: Literal["hold", "notify"] = "hold"
    options: dict[Name, Annotated[str, Meta(max_length=1000)]] = {}
    priority: Literal["interactive", "job", "backfill"] | None = None


class AttachRequest(Attach, forbid_unknown_fields=True):
    """Body of ``POST /sessions/{id}/attach``. ``in_place``: the kernel has put itself on the share already."""

    in_place: bool = False


class DetachRequest(Struct, forbid_unknown_fields=True):
    """Body of ``POST /sessions/{id}/detach``; no kernel means all of them.

    ``in_place``: the kernel has not used the share and has taken itself off it already, so it need not restart.
    """

    kernel_id: Name | None = None
    carry: Literal["all", "none"] = "none"
    in_place: bool = False


class ExtendRequest(Struct, forbid_unknown_fields=True):
    """Body of ``POST /sessions/{id}/extend``."""

    duration_s: Annotated[float, Meta(ge=60, le=2_678_400)] = 3600.0


class LookRequest(Struct, forbid_unknown_fields=True):
    """Body of ``POST /sessions/{id}/look``: have a reading each second for so long; ask again to go on."""

    for_s: Annotated[float, Meta(ge=1, le=30)] = 30.0


class ProfileRequest(Struct, forbid_unknown_fields=True):
    """Body of ``POST /sessions/{id}/profiles``: a cell has run. Times are Unix seconds.

    ``allocator_peak_bytes`` is what the frameworks in ``allocators`` say that the cell needed (``allocator_at_most``:
    no more than that), ``run_peak_bytes`` the highest of the run so far. ``run_id`` is the same for all cells of one
    process; ``every_cell``: all cells of it that ran on a GPU are profiled, not this one alone.
    """

    started_at: Annotated[float, Meta(ge=0, le=1e11)]
    ended_at: Annotated[float, Meta(ge=0, le=1e11)]
    run_id: Annotated[str, Meta(min_length=1, max_length=64)]
    kernel_id: Name | None = None
    every_cell: bool = False
    allocators: Annotated[list[Name], Meta(max_length=8)] = []
    allocator_peak_bytes: Annotated[int, Meta(ge=0, le=10**15)] | None = None
    allocator_at_most: bool = False
    run_peak_bytes: Annotated[int, Meta(ge=0, le=10**15)] | None = None


class Empty(Struct, forbid_unknown_fields=True):
    """The body of calls that take none."""
