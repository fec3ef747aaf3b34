"""Large data beside a pickle: written as it lies in memory, behind all pickles, and read straight to where it belongs.

In the pickle itself each large array would be copied once more while it is saved.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Chunks", "Shelf", "Taken"]

#: smaller data is kept in the pickle
LARGE = 1 << 16
#: gives data in parts, when it is written
Chunks = Callable[[], Iterator[Any]]
#: a line of the table: where it begins, its bytes, and whether pickle itself asks for it, in this order
Line = tuple[int, int, bool]


@dataclass
class _Put:
    size_bytes: int
    chunks: Chunks
    in_order: bool


class Shelf:
    """Where a pickler puts large data; nothing is copied or written before `write`.

    Parameters
    ----------
    dry : bool
        Only look: forget what is put here at once.
    """

    def __init__(self, dry: bool) -> None:
        self._dry = dry
        self._puts: list[_Put] = []
        #: how many of them pickle itself will ask for
        self.in_order = 0

    def take(self, buffer: pickle.PickleBuffer) -> bool:
        """A pickler's ``buffer_callback``; true says to keep the data in the pickle."""
        if self._dry:
            return False
        try:
            view = buffer.raw()
        except BufferError:
            return True
        if view.nbytes < LARGE:
            return True
        self._puts.append(_Put(view.nbytes, lambda: iter([view]), True))
        self.in_order += 1
        return False

    def put(self, size_bytes: int, chunks: Chunks) -> int:
        """Data that is had in parts when it is written; its place, by which it is found again."""
        self._puts.append(_Put(size_bytes, chunks, False))
        return len(self._puts) - 1

    def write(self, file: Any) -> list[Line]:
        """Write all of it; where each lies now."""
        table: list[Line] = []
        for put in self._puts:
            table.append((file.tell(), put.size_bytes, put.in_order))
            for chunk in put.chunks():
                file.write(chunk)
        return table


class Taken:
    """What was put on a `Shelf`, as it is read.

    Parameters
    ----------
    file : file
        Unbuffered, and read by nobody else.
    table : sequence
        What `Shelf.write` answered.
    """

    def __init__(self, file: Any, table: Sequence[Sequence[Any]]) -> None:
        self._file = file
        self._lines = [(int(start), int(size), bool(in_order)) for start, size, in_order in table]

    def in_order(self, first: int) -> Iterator[bytearray]:
        """What pickle asks for, from there on; an unpickler's ``buffers``."""
        asked = [place for place, (_, _, in_order) in enumerate(self._lines) if in_order]
        for place in asked[first:]:
            start, size, _ = self._lines[place]
            data = bytearray(size)
            self._fill(start, memoryview(data))
            yield data

    def parts(self, place: int, into: memoryview) -> Iterator[tuple[int, int]]:
        """Read data into memory that is given; if that is smaller, as often as needed.

        Yields
        ------
        start, end : int
            Which part of the data is there now, from the beginning of the memory on.
        """
        start, size, _ = self._lines[place]
        done = 0
        while done < size:
            part = min(len(into), size - done)
            self._fill(start + done, into[:part])
            yield done, done + part
            done += part

    def _fill(self, start: int, view: memoryview) -> None:
        self._file.seek(start)
        while view:
            got = self._file.readinto(view)
            if not got:
                raise EOFError("the data ends early")
            view = view[got:]
