"""Why fields were not known: a few changes beside the rows of an hour, so that each gap keeps its own reason. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

__all__ = ["MOST_CHANGES", "Missing", "Reasons", "changes"]

Missing = Mapping[str, str] | Sequence[tuple[str, str]]

#: kept of an hour; of more, the newest takes the place of the one before
MOST_CHANGES = 16
_MOST_FIELDS = 64


class Reasons:
    """The reasons of one hour: each holds from its second on until the next."""

    def __init__(self) -> None:
        self._changes: list[tuple[int, Missing]] = []
        #: the second after the newest row: what comes later was not read
        self._until = 0

    def put(self, first: int, last: int, missing: Missing) -> None:
        """Of the rows from ``first`` to ``last``, both included."""
        if self._changes and self._changes[-1][1] and first > self._until:
            self._change(self._until, ())
        self._until = max(self._until, last + 1)
        before = self._changes[-1][1] if self._changes else ()
        # The same few tuples come again and again.
        if before is not missing and dict(before) != dict(missing):
            self._change(first, missing)

    def forget_from(self, second: int) -> None:
        """The clock was set back to this second."""
        self._changes = [change for change in self._changes if change[0] < second]
        self._until = min(self._until, second)

    def over(self, other: Reasons) -> Reasons:
        """Both in one; where both tell something, ours counts."""
        ours, theirs = dict(self.told()), dict(other.told())
        made = Reasons()
        here: dict[str, str] = {}
        there: dict[str, str] = {}
        for second, end in pairwise(sorted({0, *ours, *theirs})):
            here, there = ours.get(second, here), theirs.get(second, there)
            made.put(second, end - 1, here or there)
        return made

    def told(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Second of the hour and reasons, in order; nothing is missing, or was read, where there are none."""
        for second, missing in self._changes:
            yield second, dict(missing)
        yield self._until, {}

    def _change(self, second: int, missing: Missing) -> None:
        while self._changes and (self._changes[-1][0] >= second or len(self._changes) >= MOST_CHANGES):
            second = min(second, self._changes.pop()[0])
        self._changes.append((second, missing))

    # -- for a file -------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """For a file; `load` reads it."""
        return json.dumps([self._until, [[second, dict(missing)] for second, missing in self._changes]]).encode()

    @classmethod
    def load(cls, content: bytes) -> Reasons:
        """Without what does not make sense."""
        made = cls()
        try:
            until, listed = json.loads(content)
            for second, missing in listed[:MOST_CHANGES]:
                pairs = tuple((str(name), str(why)) for name, why in list(missing.items())[:_MOST_FIELDS])
                made._changes.append((int(second), pairs))
            made._until = int(until)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            return cls()
        return made


def changes(
    hours: Iterable[tuple[int, Reasons]], start: float, end: float
) -> tuple[tuple[float, Mapping[str, str]], ...]:
    """From when on which fields were missing, and why, from ``start`` to before ``end`` (Unix seconds).

    Parameters
    ----------
    hours : iterable of (int, Reasons)
        By the first second of the hour (Unix), in order.
    """
    # Where an hour ends nothing is told any more, unless the next one goes on.
    told = {float(begin + second): missing for begin, reasons in hours for second, missing in reasons.told()}
    now: Mapping[str, str] = {}
    out: list[tuple[float, Mapping[str, str]]] = []
    for at, missing in sorted(told.items(), key=lambda one: one[0]):
        if at >= end:
            break
        if missing != now:
            now = missing
            if at <= start:
                out = [(start, now)] if now else []
            else:
                out.append((at, now))
    return tuple(out)
