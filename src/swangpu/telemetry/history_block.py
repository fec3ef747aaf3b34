"""An hour of one subject: a row of 8 bytes a second, and why what is not known there was not. Pure.

====================  ======  ===========================================
column                bytes   step
====================  ======  ===========================================
power                 2       0.1 W
idle                  1       0.5 %, what is left of the mean utilization over the second
utilization, highest  1       0.5 %, the highest of the driver's own samples
memory used           2       a power of two from 1 MiB on, by the size of the subject's memory (2 MiB for 80 GB)
SM activity           1       0.5 %
temperature           1       1 °C
====================  ======  ===========================================

Each is kept as one more than it is, and 0 means "not known". Rows lie one behind the other, so that a reading is one
write. The order is that in which `history_fold` can add them up, and the idle time is kept for its highest.
"""

from __future__ import annotations

import struct
import sys
from array import array

from .history_reasons import Missing, Reasons

__all__ = ["BLOCK_S", "MOST8", "MOST16", "NOTHING", "ROW_BYTES", "UNKNOWN", "Block", "Row", "memory_step"]

#: seconds in a block
BLOCK_S = 3600
#: steps that a column can tell
MOST8, MOST16 = 0xFE, 0xFFFE

_ROW = struct.Struct("<HBBHBB")
ROW_BYTES = _ROW.size
#: a row of which nothing is known
UNKNOWN = bytes(ROW_BYTES)
_MIB = 1 << 20
_MAGIC = b"SGH4"
_HEAD = 12

#: a row's values as they are kept, in the order of the columns
Row = tuple[int, int, int, int, int, int]
NOTHING: Row = (0, 0, 0, 0, 0, 0)


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
        self._rows = bytearray(self.BYTES)
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
        """The highest utilization of a slot, as it is kept."""
        return self._rows[8 * slot + 3]

    def rows(self, first: int, last: int, memory_step_bytes: int) -> bytes:
        """The slots from ``first`` to ``last``, both included; memory in steps that are no smaller than the block's."""
        rows = self._rows[8 * first : 8 * last + 8]
        return bytes(_in_larger_steps(rows, memory_step_bytes // self.memory_step_bytes))

    def make_room(self, memory_bytes: int) -> None:
        """Let the memory column hold so many bytes: the step was too small if the memory was not known at first."""
        ratio = 1
        while memory_bytes > ratio * self.memory_step_bytes * MOST16:
            ratio *= 2
        self._rows = _in_larger_steps(self._rows, ratio)
        self.memory_step_bytes *= ratio

    def put_under(self, older: Block) -> None:
        """Take from another of the same hour what is not known here."""
        step = max(self.memory_step_bytes, older.memory_step_bytes)
        rows = _in_larger_steps(self._rows, step // self.memory_step_bytes)
        before = _in_larger_steps(older._rows, step // older.memory_step_bytes)
        for at in range(0, self.BYTES, ROW_BYTES):
            if rows[at : at + ROW_BYTES] != UNKNOWN:
                before[at : at + ROW_BYTES] = rows[at : at + ROW_BYTES]
        self._rows, self.memory_step_bytes, self.dirty = before, step, True
        self.reasons = self.reasons.over(older.reasons)

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


def _in_larger_steps(rows: bytearray, ratio: int) -> bytearray:
    """The memory column in units so many times as large. Steps differ where a session came by a larger share."""
    if ratio == 1:
        return rows
    words = array("H", rows)
    if sys.byteorder == "big":
        words.byteswap()
    words[2::4] = array("H", [(unit - 1) // ratio + 1 if unit else 0 for unit in words[2::4]])
    if sys.byteorder == "big":
        words.byteswap()
    return bytearray(words)


def memory_step(memory_bytes: int) -> int:
    """The smallest step with which so many bytes fit into the column."""
    step = _MIB
    while memory_bytes > step * MOST16:
        step *= 2
    return step
