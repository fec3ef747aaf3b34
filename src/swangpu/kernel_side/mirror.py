"""The same objects in two processes: what one of them changed goes to the other, and nothing goes twice.

A pickler and the unpickler that reads it number the objects that they meet in the same order. These numbers are kept,
so both sides have one name for each object that has ever gone from one to the other. What both have and has not changed
since is sent as its number alone. What has changed is sent once, and taken over by the very object that has it there:
whoever holds it under another name, or in a container, sees the change.

What has changed is found by comparing: plain containers and objects of Python classes by the identity of what they
hold; anything else by a hash of its pickle, with the contents of its buffers and without what both sides know.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import content, packer, pickling
from .packing import CHANGES, Again, Failed, Packing, Parcel

__all__ = ["Arrival", "Mirror", "Unreadable"]

Json = dict[str, Any]


class Unreadable(Exception):
    """A variable that has come can't be made here."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name)
        self.name = name
        self.why = why


@dataclass
class Arrival:
    """What has come.

    Attributes
    ----------
    apply : callable
        Brings everything up to date, and answers with the variables by name.
    lost : dict of str to str
        Which variables' objects could then not take over what they are now, and why.
    """

    apply: Callable[[], dict[str, Any]]
    lost: dict[str, str]


class Mirror:
    """One side's view of the objects that both have.

    Parameters
    ----------
    namespace : dict
        The variables of this side; functions of the notebook have it as their globals on both.
    leads : bool
        Of the notebook's side: it sends what functions use too, and says what both can forget.
    """

    def __init__(self, namespace: dict[str, Any], leads: bool) -> None:
        self.namespace = namespace
        self.leads = leads
        self.objects: dict[int, Any] = {}
        self.numbers: dict[int, int] = {}
        self.seen: dict[int, Any] = {}
        #: what is something else on the other side than here, and has not gone since
        self.differing: set[int] = set()
        #: what the other side is still to be told of
        self.forgotten: list[int] = []
        self.following = 0

    # -- sending ----------------------------------------------------------------------------------

    def pack(
        self,
        roots: dict[str, Any],
        also: Mapping[str, Any] | None = None,
        follow: bool = True,
        apart: Mapping[str, Any] | None = None,
    ) -> Parcel:
        """Make a parcel of variables, and of what has changed in them.

        Parameters
        ----------
        roots : dict of str to object
            Variables whose names are told.
        also : mapping of str to object, optional
            Variables that are looked through for changes besides.
        follow : bool
            Whether the notebook's side also sends variables that functions in it use.
        apart : mapping of str to object, optional
            Variables of which is only told that they have changed here: the other side does not get that, and sends its
            own the next time.
        """
        left: dict[str, str] = {}
        stale: dict[int, str] = {}
        first: dict[str, Any] = {}
        if self.leads:
            self._forget()
        while True:
            chosen = {name: thing for name, thing in {**first, **roots}.items() if name not in left}
            packing = Packing(self, chosen, also or {}, left, stale, apart or {})
            packing.follow = follow and self.leads
            try:
                with quiet():
                    return packing.run(list(self.forgotten))
            except Again as again:
                first = {**{name: self.namespace[name] for name in again.names}, **first}
            except Failed as failed:
                left.setdefault(failed.name, failed.why)
                if failed.identity is not None:
                    stale[failed.identity] = failed.why
            finally:
                packing.close()

    def has_changed(self, number: int) -> bool:
        """Whether an object is not as both sides know it."""
        thing = self.objects[number]
        before = self.seen.get(number)
        kind = content.kind_of(type(thing))
        if kind == "fixed":
            return False
        if number in self.differing:
            return True
        if kind in ("own", "whole"):
            return not isinstance(before, packer.Hash) or before.digest != packer.Hash.of(self, thing).digest
        return not isinstance(before, content.Shallow) or not content.same(kind, thing, before)

    def look(self, things: Mapping[int, Any]) -> dict[int, Any]:
        """What objects hold now, to compare with; those that are new have their numbers meanwhile."""
        found: dict[int, Any] = {}
        hashed = []
        for number, thing in things.items():
            kind = content.kind_of(type(thing))
            if kind in ("own", "whole"):
                hashed.append(number)
            elif kind != "fixed":
                found[number] = content.snapshot(kind, thing)
        if hashed:
            new = {id(thing): number for number, thing in things.items() if id(thing) not in self.numbers}
            self.numbers.update(new)
            try:
                found.update((number, packer.Hash.of(self, things[number])) for number in hashed)
            finally:
                # a Stop too must not leave numbers here that the other side has not agreed to
                for identity in new:
                    del self.numbers[identity]
        return found

    def below(self, number: int) -> Iterable[Any]:
        """What an object held when both sides knew it last."""
        thing, seen = self.objects[number], self.seen.get(number)
        kind = type(thing)
        if kind.__module__ == "__main__":
            yield kind
        yield from content.children(thing) if seen is None else seen.below

    def agree(self, things: Mapping[int, Any], seen: Mapping[int, Any], following: int) -> None:
        """Both sides have these now, as they are."""
        self.objects.update(things)
        for number, thing in things.items():
            self.numbers.setdefault(id(thing), number)
        self.seen.update(seen)
        self.differing.difference_update(seen)
        self.following = following

    def _forget(self) -> None:
        """Leave out what nobody but us holds any more."""
        while lonely := _lonely(self.objects):
            # told before it is done: a Stop in between must not leave it there for good
            self.forgotten += lonely
            self.drop(lonely)

    def drop(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            thing = self.objects.pop(number, None)
            if thing is not None and self.numbers.get(id(thing)) == number:
                del self.numbers[id(thing)]
            self.seen.pop(number, None)
            self.differing.discard(number)

    # -- receiving --------------------------------------------------------------------------------

    def unpack(self, head: Json, parts: list[Any]) -> Arrival:
        """Read a parcel; nothing of the notebook's is changed before its ``apply`` is called.

        Raises
        ------
        Unreadable
        """
        builtins = self.namespace.get("__builtins__")
        unpickler = packer.Unpacker(self, parts[0], parts[1:])
        found: list[tuple[str, Any, Any]] = []
        try:
            for form, key, origin in head["order"]:
                try:
                    found.append((form, key, unpickler.load()))
                    if form == "name" and not self.leads:
                        # what comes next may be made by code that uses it
                        self.namespace[key] = found[-1][2]
                except Exception as error:
                    raise Unreadable(origin, pickling.why_lost(error)) from None
        finally:
            # cloudpickle sets it in the globals of each function it makes
            if builtins is not None:
                self.namespace["__builtins__"] = builtins
        lost: dict[str, str] = {}

        def apply() -> dict[str, Any]:
            with quiet():
                return self._apply(head, found, unpickler.memo.copy(), lost)

        return Arrival(apply, lost)

    def _apply(
        self, head: Json, found: list[tuple[str, Any, Any]], memo: dict[int, Any], lost: dict[str, str]
    ) -> dict[str, Any]:
        self.drop(head["forgotten"])
        replaced: dict[int, tuple[Any, Any]] = {}
        differs = list(head["differs"])
        origins = {key: origin for form, key, origin in head["order"] if form in CHANGES}
        changed = [(form, number, new) for form, number, new in found if form in CHANGES]
        for form, number, new in sorted(changed, key=lambda one: CHANGES.index(one[0])):
            thing = self.objects[number]
            try:
                taken = self._take(form, thing, new)
            except Exception:  # a person's class may raise here what it likes
                lost[origins[number]] = f"a {type(thing).__name__} could not take over what it is there"
                differs.append(number)
                continue
            if not taken:
                replaced[id(thing)] = (thing, new)
                self.numbers.pop(id(thing), None)
                self.objects[number] = new
                self.numbers[id(new)] = number
        values = {name: new for form, name, new in found if form == "name"}
        skipped, first = set(head["skipped"]), int(head["first"])
        fresh = {
            first + place: thing
            for place, thing in memo.items()
            if place not in skipped and packer.worth_a_number(thing)
        }
        self.objects.update(fresh)
        if replaced:
            values = {name: replaced.get(id(value), (None, value))[1] for name, value in values.items()}
            self._replace(replaced)
        seen = self.look({**fresh, **{number: self.objects[number] for _, number, _ in changed}})
        self.agree({number: self.objects[number] for number in fresh}, seen, first + len(memo))
        self.differing.update(number for number in differs if number in self.objects)
        return values

    @staticmethod
    def _take(form: str, thing: Any, new: Any) -> bool:
        """Let an object take over what it is on the other side; False where another has to stand for it."""
        if form == "whole":
            return content.become(thing, new)
        if form == "state":
            content.set_state(thing, new)
        else:
            content.fill(thing, content.kind_of(type(thing)), new)
        return True

    def _replace(self, replaced: dict[int, tuple[Any, Any]]) -> None:
        """Let all that holds an old object hold the new one: variables, and containers that both sides know."""
        while replaced:
            further: dict[int, tuple[Any, Any]] = {}
            content.exchange(self.namespace, "dict", replaced)
            for number, thing in list(self.objects.items()):
                kind = content.kind_of(type(thing))
                if type(thing) is tuple and any(id(one) in replaced for one in thing):
                    new = tuple(replaced.get(id(one), (None, one))[1] for one in thing)
                    further[id(thing)] = (thing, new)
                    self.numbers.pop(id(thing), None)
                    self.objects[number] = new
                    self.numbers[id(new)] = number
                elif content.exchange(thing, kind, replaced):
                    self.seen.update(self.look({number: thing}))
            replaced = further


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the garbage collector: it would go through all objects again and again while many are made."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _lonely(table: dict[int, Any]) -> list[int]:
    """Whose objects nobody holds but the table."""
    counts = {number: sys.getrefcount(thing) for number, thing in {**table, -1: object()}.items()}
    # the copy holds those of the table once more
    return [number for number, count in counts.items() if count <= counts[-1] + 1 and number >= 0]
