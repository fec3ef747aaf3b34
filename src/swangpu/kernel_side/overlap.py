"""Which arrays share memory with others: saved one by one, each would have its own afterwards."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

__all__ = ["Spans"]


class Spans:
    """Where the arrays lie that go to a pickle."""

    def __init__(self) -> None:
        numpy, cupy = (getattr(sys.modules.get(name), "ndarray", None) for name in ("numpy", "cupy"))
        torch: Any = sys.modules.get("torch")
        self._numpy: Any = numpy or ()
        self._cupy: Any = cupy or ()
        self._storage: Any = getattr(torch, "UntypedStorage", ())
        self._storages: set[int] = set()
        self._found: list[tuple[int, int, str]] = []

    def look(self, name: str, thing: Any) -> None:
        """Note where an array lies that belongs to this variable; anything else is left alone."""
        # one that has broken something of its library is saved as it says itself
        with contextlib.suppress(Exception):
            if isinstance(thing, self._numpy):
                # what nobody can write to is the same for all
                if thing.flags.writeable:
                    self._add(name, thing.__array_interface__["data"][0], thing)
            elif isinstance(thing, self._cupy):
                self._add(name, int(thing.data.ptr), thing)
            elif isinstance(thing, self._storage) and thing.nbytes():
                start = int(thing.data_ptr())
                if start not in self._storages:
                    # tensors share it again afterwards
                    self._storages.add(start)
                    self._found.append((start, start + int(thing.nbytes()), name))

    def _add(self, name: str, start: int, array: Any) -> None:
        if not array.size:
            return
        steps = [array.strides[axis] * (array.shape[axis] - 1) for axis in range(array.ndim)]
        low, high = start + sum(s for s in steps if s < 0), start + sum(s for s in steps if s > 0)
        self._found.append((low, high + int(array.itemsize), name))

    def shared(self) -> list[dict[str, str]]:
        """The variables that share memory, as those that can't be carried are named."""
        why: dict[str, str] = {}
        end, before = 0, ""
        for start, stop, name in sorted(self._found):
            if start < end:
                other = f"with {before}" if before != name else "in parts of it"
                why.setdefault(name, f"it shares memory {other}, which would be lost")
            if stop > end:
                end, before = stop, name
        return [{"name": name, "why": said} for name, said in sorted(why.items())]
