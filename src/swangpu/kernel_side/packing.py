"""Making a parcel for the other process: variables, and whatever has changed below them."""

from __future__ import annotations

import io
import sys
import types
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import content, packer, pickling, reading

if TYPE_CHECKING:
    from .mirror import Mirror

__all__ = ["CHANGES", "Again", "Failed", "Packing", "Parcel"]

Json = dict[str, Any]

#: how an object is told that has changed, in the order in which they are taken over: what an object makes of its state
#: may depend on what it holds
CHANGES = ("fill", "whole", "state")


@dataclass
class Parcel:
    """What goes to the other side.

    Attributes
    ----------
    head : dict
        Plain JSON: what is in it, in order.
    stream : bytes
        The pickles.
    buffers : list
        What large arrays hold, not copied.
    left : dict of str to str
        Variables that can't go, and why.
    agree : callable
        To be called when the other side has taken it over.
    """

    head: Json
    stream: bytes
    buffers: list[Any]
    left: dict[str, str]
    agree: Callable[[], None] = field(repr=False)

    @property
    def parts(self) -> list[Any]:
        return [self.stream, *self.buffers]


class Failed(Exception):
    def __init__(self, name: str, why: str, identity: int | None = None) -> None:
        super().__init__(name)
        self.name = name
        self.why = why
        self.identity = identity


class Again(Exception):
    """Code of the notebook makes objects while they are read: the variables that it uses have to be there before."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names


class Packing:
    """One attempt at a parcel."""

    def __init__(
        self,
        mirror: Mirror,
        roots: dict[str, Any],
        also: Mapping[str, Any],
        left: dict[str, str],
        stale: dict[int, str],
        apart: Mapping[str, Any],
    ) -> None:
        self._mirror = mirror
        self._roots = roots
        self._also = also
        self._left = left
        self._stale = stale
        self._apart = apart
        #: what has changed here and does not go
        self._differs: list[int] = []
        self._sends = True
        self._stream = io.BytesIO()
        self._buffers: list[Any] = []
        self._order: list[list[Any]] = []
        self._work: deque[tuple[Any, str]] = deque()
        self._visited: set[int] = set()
        self._temporary: list[Any] = []
        self._needs: set[str] = set()
        self._name = ""
        self._by_value = False
        self._known: dict[int, bool] = {}
        self.follow = False
        self._pickler = packer.new(self._stream, mirror, self._number, self._buffers.append, self._needs)

    def run(self, forgotten: list[int]) -> Parcel:
        for name, value in self._roots.items():
            self._dump_root(name, value)
        for name, thing in self._also.items():
            self._name = name
            self._visit(thing)
        done = {*self._roots, *self._left}
        while True:
            while self._work:
                thing, self._name = self._work.popleft()
                self._go_through(thing)
            names = sorted(n for n in self._needs if n not in done and reading.is_theirs(n))
            names = [name for name in names if name in self._mirror.namespace] if self.follow else []
            if not names:
                self._look_apart()
                return self._parcel(forgotten)
            if self._pickler.makes:
                raise Again(names)
            for name in names:
                done.add(name)
                self._dump_root(name, self._mirror.namespace[name])

    def _look_apart(self) -> None:
        self._sends = False
        for name, thing in self._apart.items():
            self._name = name
            self._visit(thing)
        while self._work:
            thing, self._name = self._work.popleft()
            self._go_through(thing)

    def close(self) -> None:
        """Let go of all that was packed: the pickler and we hold each other."""
        self._pickler.clear_memo()
        del self._pickler

    def _dump_root(self, name: str, value: Any) -> None:
        self._name = name
        self._visit(value)
        self._dump("name", name, value)

    def _dump(self, form: str, key: Any, value: Any, own: bool = False) -> None:
        try:
            (self._pickler.dump_own if own else self._pickler.dump)(value)
        except Exception as error:
            why = str(error) if isinstance(error, packer.Unsendable) else pickling.why_not(value, error)
            identity = id(self._mirror.objects[key]) if form in CHANGES else None
            raise Failed(self._name, why, identity) from None
        self._order.append([form, key, self._name])

    def _number(self, thing: Any) -> int | None:
        """The number to write instead of an object, if it has one."""
        number = self._mirror.numbers.get(id(thing))
        if number is None:
            return None
        self._visit(thing)
        return None if self._by_value and self._has_changed(number) else number

    def _has_changed(self, number: int) -> bool:
        if number not in self._known:
            self._known[number] = self._mirror.has_changed(number)
        return self._known[number]

    def _visit(self, thing: Any) -> None:
        identity = id(thing)
        if identity in self._visited:
            return
        number = self._mirror.numbers.get(identity)
        if number is None:
            return
        self._visited.add(identity)
        kind = type(thing)
        if kind is list or kind is dict:
            # of these there may be millions, and nothing is below most of them
            seen = self._mirror.seen.get(number)
            same = seen is not None and not seen.below and content.same(content.kind_of(kind), thing, seen)
            if same and number not in self._mirror.differing:
                return
        self._work.append((thing, self._name))

    def _go_through(self, thing: Any) -> None:
        mirror, number = self._mirror, self._mirror.numbers[id(thing)]
        if isinstance(thing, types.FunctionType) and thing.__globals__ is mirror.namespace:
            self._needs.update(reading.globals_of(thing.__code__))
        for one in mirror.below(number):
            self._visit(one)
        changed, kind = self._has_changed(number), content.kind_of(type(thing))
        if not changed and kind in ("own", "whole") and content.copies(type(thing)):
            known = [mirror.numbers.get(id(one)) for one in mirror.below(number)]
            changed = any(one is not None and self._has_changed(one) for one in known)
        if not changed:
            return
        if self._sends and id(thing) not in self._stale:
            self._dump_changed(kind, number, thing)
        elif mirror.leads:
            # a cell must not run on what was
            raise Failed(self._name, self._stale[id(thing)])
        else:
            self._differs.append(number)

    def _dump_changed(self, kind: str, number: int, thing: Any) -> None:
        if kind == "whole":
            # what makes it there would find what it holds as it was before
            self._by_value = content.copies(type(thing))
            try:
                self._dump("whole", number, thing, own=True)
            finally:
                self._by_value = False
            return
        if kind in ("state", "own"):
            try:
                state = thing.__reduce_ex__(pickling.PROTOCOL)[2]
            except Exception as error:
                raise Failed(self._name, pickling.why_not(thing, error), id(thing)) from None
            self._temporary.append(state)
            self._dump("state", number, state)
            return
        held = content.held(kind, thing)
        self._temporary.append(held)
        self._dump("fill", number, held)

    def _parcel(self, forgotten: list[int]) -> Parcel:
        # nobody but the pickler holds this one, as is so for all that was made on the way
        self._dump("end", None, [])
        mirror, memo = self._mirror, self._pickler.memo.copy()
        counts = {identity: sys.getrefcount(thing) for identity, (_, thing) in memo.items()}
        least = counts[max(memo, key=lambda identity: memo[identity][0])]
        aside = {id(one) for one in self._temporary}
        # what is not the object itself on the other side
        aside.update(id(_attributes(one)) for _, one in memo.values() if content.has_attributes(type(one)))
        first, following = mirror.following, mirror.following + len(memo)
        told, skipped = set(forgotten), []
        fresh: dict[int, Any] = {}
        for identity, (place, thing) in memo.items():
            if not packer.worth_a_number(thing):
                continue
            if identity in mirror.numbers or identity in aside or counts[identity] <= least:
                skipped.append(place)
            else:
                fresh[first + place] = thing
        changed = {number: mirror.objects[number] for form, number, _ in self._order if form in CHANGES}
        seen = mirror.look({**fresh, **changed})

        def agree() -> None:
            mirror.forgotten = [number for number in mirror.forgotten if number not in told]
            mirror.agree(fresh, seen, following)

        head = {"order": self._order, "first": first, "skipped": skipped, "forgotten": forgotten}
        head["differs"] = self._differs
        return Parcel(head, self._stream.getvalue(), self._buffers, dict(self._left), agree)


def _attributes(thing: Any) -> Any:
    try:
        return vars(thing)
    except Exception:  # what a person's class may raise here is its own affair
        return None
