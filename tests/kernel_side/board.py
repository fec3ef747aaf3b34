"""A device made of a dictionary, and a library that has arrays on it: for what is the same for every framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swangpu.kernel_side.offload_parts import Found, Framework, Piece, Stay


class Board:
    """Memory by address. ``fails`` has the numbers of the calls that fail, counted from 1, and with what."""

    def __init__(self, contents: dict[int, bytes], fails: dict[int, BaseException] | None = None) -> None:
        self.memory: dict[int, bytearray] = {address: bytearray(data) for address, data in contents.items()}
        self.fails = dict(fails or {})
        self.calls = 0

    def call(self) -> None:
        self.calls += 1
        if self.calls in self.fails:
            raise self.fails[self.calls]


class Allocation(Piece):
    framework = "board"

    def __init__(self, board: Board, address: int) -> None:
        self.board, self.address = board, address
        self.what, self.size_bytes = f"array {address}", len(board.memory[address])
        self.host: bytes | None = None
        self.pinned = False

    def copy(self, pinned: bool) -> None:
        self.board.call()
        self.host, self.pinned = bytes(self.board.memory[self.address]), pinned
        self.host_bytes = self.pinned_bytes() if pinned else self.size_bytes

    def free(self) -> None:
        if self.address in self.board.memory:
            self.board.call()
            del self.board.memory[self.address]

    def back(self) -> None:
        if self.address not in self.board.memory:
            self.board.call()
            assert self.host is not None, "the only copy was thrown away"
            self.board.memory[self.address] = bytearray(self.host)

    def drop(self) -> None:
        self.host = None


class Library(Framework):
    name = "board"

    def __init__(self, board: Board, stays: Sequence[Stay] = (), cached: int = 0) -> None:
        self.board, self.stays, self.cached = board, list(stays), cached
        self.found: list[Allocation] = []

    def find(self, objects: Sequence[Any], names: dict[int, str]) -> Found:
        self.found = [Allocation(self.board, address) for address in sorted(self.board.memory)]
        return Found(list(self.found), list(self.stays))

    def wait(self) -> None:
        self.board.call()

    def give_back(self) -> None:
        self.cached = 0

    def held_bytes(self) -> int | None:
        return sum(len(data) for data in self.board.memory.values()) + sum(stay.size_bytes for stay in self.stays)

    def cached_bytes(self) -> int:
        return self.cached
