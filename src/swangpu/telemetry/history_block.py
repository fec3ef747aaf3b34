"""An hour of one subject: a row of 8 bytes a second, and why what is not known there was not. Pure.

====================  ======  ===========================================
column                bytes   step
====================  ======  ===========================================
utilization           1       0.5 %, the mean over the second
utilization, highest  1       0.5 %, the highest of the driver's own samples
SM activity           1       0.5 %
temperature           1       1 °C
memory used           2       a power of two from 1 MiB on, by the size of the subject's memory (2 MiB for 80 GB)
power                 2       0.1 W
====================  ======  ===========================================

The largest value of a column means "not known". Rows lie one behind the other, so that a reading is one write.
"""

from __future__ import annotations

import struct
import sys
from array import array
from dataclasses import dataclass

from .history_reasons import Missing, Reasons

__all__ = ["BLOCK_S", "NONE8", "NONE16", "NOTHING", "Block", "Columns", "Row", "memory_step"]

#: seconds in a block
BLOCK_S = 3600
NONE8, NONE16 = 0xFF, 0xFFFF

_ROW = struct.Struct("<BBBBHH")
_UNKNOWN = b"\xff" * _ROW.size
_MIB = 1 << 20
_MAGIC = b"SGH3"
_HEAD = 12

#: a row's values, in the order of the columns
Row = tuple[int, int, int, int, int, int]
NOTHING: Row = (NONE8, NONE8, NONE8, NONE8, NONE16, NONE16)


@dataclass(frozen=True)
class Columns:
    """Some seconds of a block, by column.

    Attributes
    ----------
    small : tuple of bytes
        Utilization, its highest, SM activity and temperature, one byte a second each.
    memory, power : array of int
        One word a second each; ``memory`` in units of ``memory_step_bytes``.
    """

    small: tuple[bytes, bytes, bytes, bytes]
    memory_step_bytes: int
    memory: array[int]
    power: array[int]


class Block:
    """An hour of one subject, one slot a second.

    Parameters
    ----------
    memory_step_bytes : int
        What one unit of the memory column is.
    """

    BYTES = _ROW.size * BLOCK_S

    def __init__(self, memory_step_bytes: int) -> None:
        self.memory_step_bytes = memory_step_bytes
        self._rows = bytearray(_UNKNOWN) * BLOCK_S
        self.reasons = Reasons()
        self.dirty = False

    def put(self, first: int, last: int, row: Row, missing: Missing = ()) -> None:
        """Write one row into the slots from ``first`` to ``last``, both included."""
        self.reasons.put(first, last, missing)
        if first == last:
            _ROW.pack_into(self._rows, 8 * first, *row)
        else:
            self._rows[8 * first : 8 * last + 8] = _ROW.pack(*row) * (last - first + 1)
        self.dirty = True

    def peak(self, slot: int) -> int:
        """The highest utilization of a slot, as it is stored."""
        return self._rows[8 * slot + 1]

    def columns(self, first: int, last: int) -> Columns:
        """The slots from ``first`` to ``last``, both included."""
        cut = bytes(self._rows[8 * first : 8 * last + 8])
        words = array("H", cut)
        if sys.byteorder == "big":
            words.byteswap()
        small = (cut[0::8], cut[1::8], cut[2::8], cut[3::8])
        return Columns(small, self.memory_step_bytes, words[2::4], words[3::4])

    def make_room(self, memory_bytes: int) -> None:
        """Let the memory column hold so many bytes: the step was too small if the memory was not known at first."""
        while memory_bytes > self.memory_step_bytes * (NONE16 - 1):
            units = [u if u == NONE16 else u // 2 for u in self.columns(0, BLOCK_S - 1).memory]
            self._rows[4::8] = bytes([u & 0xFF for u in units])
            self._rows[5::8] = bytes([u >> 8 for u in units])
            self.memory_step_bytes *= 2

    def dump(self) -> bytes:
        """For a file; `load` reads it."""
        return _MAGIC + self.memory_step_bytes.to_bytes(8, "little") + bytes(self._rows) + self.reasons.dump()

    @classmethod
    def load(cls, content: bytes) -> Block | None:
        """None when it is not such a file."""
        if content[:4] != _MAGIC or len(content) < _HEAD + cls.BYTES:
            return None
        block = cls(max(_MIB, int.from_bytes(content[4:_HEAD], "little")))
        block._rows[:] = content[_HEAD : _HEAD + cls.BYTES]
        block.reasons = Reasons.load(content[_HEAD + cls.BYTES :])
        return block


def memory_step(memory_bytes: int) -> int:
    """The smallest step with which so many bytes fit into the column."""
    step = _MIB
    while memory_bytes > step * (NONE16 - 1):
        step *= 2
    return step
