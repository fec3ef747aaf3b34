"""A notebook and a companion in one process, for tests of what goes between them."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

from swangpu.kernel_side import reading
from swangpu.kernel_side.mirror import Mirror
from swangpu.kernel_side.packing import Parcel

BEGIN = """
from collections import OrderedDict, defaultdict, deque

class Box:
    def __init__(self, v):
        self.v = v

class Slotted:
    __slots__ = ("v",)
    def __init__(self, v):
        self.v = v

class Own:
    def __init__(self, v):
        self.v, self.items = v, [v]
        self.handle = open  # can't go along
    def __getstate__(self):
        return {"v": self.v, "items": self.items}

class Copying:
    def __init__(self, v):
        self.items = list(v) if isinstance(v, list) else [v]
    def __reduce__(self):
        return Copying, (self.items,)

class Many(list):
    pass

x0, x1, x2, x3 = [], {}, Box(1), 7
"""


class Sides:
    """A notebook and a companion in one process; what goes between them goes as bytes."""

    def __init__(self, begin: str = BEGIN) -> None:
        self.notebook: dict[str, Any] = {"__name__": "__main__"}
        self.companion: dict[str, Any] = {"__name__": "__main__"}
        self.ours = Mirror(self.notebook, leads=True)
        self.theirs = Mirror(self.companion, leads=False)
        self.sent: list[int] = []
        exec(begin, self.notebook)

    def local(self, code: str) -> None:
        exec(code, self.notebook)

    def cell(self, code: str) -> Parcel:
        """Run a cell in the companion, as `swangpu.kernel_side.worker` does."""
        names = reading.read(code).reads & set(self.notebook)
        parcel = self.ours.pack({name: self.notebook[name] for name in sorted(names)})
        assert not parcel.left
        for name in [name for name in self.companion if reading.is_theirs(name)]:
            del self.companion[name]
        self.companion.update(self.move(parcel, self.theirs))
        before = {name: one for name, one in self.companion.items() if reading.is_theirs(name)}
        exec(code, self.companion)
        now = {name: one for name, one in self.companion.items() if reading.is_theirs(name)}
        back = self.theirs.pack({n: v for n, v in now.items() if n not in before or before[n] is not v}, before)
        assert not back.left
        self.notebook.update(self.move(back, self.ours))
        return back

    def move(self, parcel: Parcel, to: Mirror) -> dict[str, Any]:
        parts = [bytearray(memoryview(part)) for part in [parcel.stream, *(b.raw() for b in parcel.buffers)]]
        self.sent.append(sum(map(len, parts)))
        # in another process a class of the notebook is another class
        with contextlib.suppress(ImportError):
            importlib.import_module("cloudpickle.cloudpickle")._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
        arrival = to.unpack(parcel.head, parts)
        parcel.agree()
        return arrival.apply()
