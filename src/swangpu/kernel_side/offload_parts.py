"""What can be moved off a device and what can't, in words that all frameworks share.

A `Piece` is one allocation with all arrays that lie in it. Two libraries can use the same memory (DLPack, the CUDA
array interface); one of them then knows an address that must go on being right. So whatever overlaps with memory that
stays, stays too: `settle` decides that, for all frameworks together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Found", "Framework", "Piece", "Stay", "grouped", "settle"]

#: how many lines say what stays; the rest is added up in the last one
LINES = 20


@dataclass(frozen=True)
class Stay:
    """Something that stays on the device, and why."""

    framework: str
    what: str
    size_bytes: int
    why: str
    #: where it lies, 0 if that is not known
    address: int = 0


class Piece(ABC):
    """One allocation on a device, moved as a whole. Nothing of it is freed before all pieces have been copied.

    Attributes
    ----------
    framework, what : str
    size_bytes : int
    address : int
        Where it lies on the device.
    host_bytes : int
        What its copy takes in host memory; 0 before there is one.
    """

    framework: str
    what: str
    size_bytes: int
    address: int
    host_bytes: int = 0

    def pinned_bytes(self) -> int:
        """What a copy would take in pinned memory: torch and cupy round that up to a power of two."""
        return 1 << (self.size_bytes - 1).bit_length()

    @abstractmethod
    def copy(self, pinned: bool) -> None:
        """Make a copy in host memory; in pinned memory if that is wanted and can be had. Sets ``host_bytes``."""

    @abstractmethod
    def free(self) -> None:
        """Give the device's memory up. Safe to call twice."""

    @abstractmethod
    def back(self) -> None:
        """Take memory on the device again and fill it from the copy, which is kept. Safe to call twice."""

    @abstractmethod
    def drop(self) -> None:
        """Forget the copy."""


@dataclass
class Found:
    """What a framework has on devices."""

    pieces: list[Piece] = field(default_factory=list)
    stays: list[Stay] = field(default_factory=list)


class Framework(ABC):
    """A library that has memory on a device."""

    name: str

    @abstractmethod
    def find(self, objects: Sequence[Any], names: dict[int, str]) -> Found:
        """Look among all objects of this process; ``names`` has those of the notebook's variables by id."""

    @abstractmethod
    def wait(self) -> None:
        """Until the devices have done all that they were asked to do."""

    @abstractmethod
    def give_back(self) -> None:
        """Give cached memory back, on the device and in the host."""

    @abstractmethod
    def held_bytes(self) -> int | None:
        """What its arrays take on devices now, by its own count; None if it does not count."""

    @abstractmethod
    def cached_bytes(self) -> int:
        """What it holds on devices beyond that."""


#: libraries that take arrays of others by DLPack or by address, keep them, and leave no trace that can be seen
BORROWERS = ("tensorflow", "paddle", "mxnet", "tvm", "dgl", "cudf", "pycuda", "warp", "mindspore")


def in_doubt(found: Found, loaded: Container[str]) -> str | None:
    """Why nothing can be moved soundly: a library may use what would move, and does not say where its own is. Pure.

    Parameters
    ----------
    found : Found
    loaded : container of str
        The names of modules that this process has imported.
    """
    moving = {piece.framework for piece in found.pieces}
    if not moving:
        return None
    silent = {stay.framework for stay in found.stays if not stay.address} - moving
    silent |= {name for name in BORROWERS if name in loaded} - moving
    if not silent:
        return None
    names, others = " and ".join(sorted(silent)), " and ".join(sorted(moving))
    return f"{names} may use arrays of {others}, and does not tell which: nothing was moved."


def settle(found: Iterable[Found]) -> Found:
    """All that moves, and all that stays because it shares memory with something that does. Pure."""
    pieces: list[Piece] = []
    stays: list[Stay] = []
    for one in found:
        pieces += one.pieces
        stays += one.stays
    new = [stay for stay in stays if stay.address]
    while new:
        fixed, new = new, []
        still = []
        for piece in pieces:
            other = next((stay for stay in fixed if _overlap(piece, stay)), None)
            if other is None:
                still.append(piece)
                continue
            whose = other.framework if other.framework != piece.framework else "something else"
            why = f"{whose} uses the same memory and knows it by its address"
            new.append(Stay(piece.framework, piece.what, piece.size_bytes, why, piece.address))
        pieces, stays = still, stays + new
    return Found(pieces, stays)


def grouped(stays: Iterable[Stay]) -> list[dict[str, Any]]:
    """``[{"what", "bytes", "why"}]``, one line for all that stay for one reason, the largest first. Pure.

    What lies in one and the same memory is counted once.
    """
    lines: dict[tuple[str, str], list[Stay]] = {}
    seen: set[int] = set()
    for stay in sorted(stays, key=lambda one: -one.size_bytes):
        if stay.address in seen:
            continue
        if stay.address:
            seen.add(stay.address)
        lines.setdefault((stay.framework, stay.why), []).append(stay)
    out: list[dict[str, Any]] = []
    for (framework, why), several in lines.items():
        more = f" and {len(several) - 1} more" if len(several) > 1 else ""
        size = sum(stay.size_bytes for stay in several)
        out.append({"what": f"{framework}: {several[0].what}{more}", "bytes": size, "why": why})
    out.sort(key=lambda line: -line["bytes"])
    rest = out[LINES - 1 :]
    if len(rest) > 1:
        size = sum(line["bytes"] for line in rest)
        out[LINES - 1 :] = [{"what": f"{len(rest)} other kinds", "bytes": size, "why": "for other reasons"}]
    return out


def _overlap(piece: Piece, stay: Stay) -> bool:
    return piece.address < stay.address + max(stay.size_bytes, 1) and stay.address < piece.address + piece.size_bytes
