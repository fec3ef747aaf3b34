"""Two processes with the same objects: a cell that runs on one side leaves the other as if it had run there."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mirror_sides import Sides

from swangpu.kernel_side import packer
from swangpu.kernel_side.mirror import Unreadable

COUNTER = """
def counter():
    n = 0
    def up():
        nonlocal n
        n += 1
        return n
    return up
up = counter()
"""


def shape(namespace: dict[str, Any]) -> Any:
    """What the variables are, with a number for each object, so that two names of one are not two that are equal."""
    numbers: dict[int, int] = {}
    alive: list[Any] = []

    def of(thing: Any) -> Any:
        if isinstance(thing, (int, str, type(None))):
            return thing
        if id(thing) in numbers:
            return ("again", numbers[id(thing)])
        numbers[id(thing)] = len(numbers)
        alive.append(thing)
        name = type(thing).__name__
        if isinstance(thing, dict):
            held = [(key, of(value)) for key, value in thing.items()]
        elif hasattr(thing, "__iter__"):
            held = [of(one) for one in thing]
        else:
            held = []
        attributes = dict(vars(thing)) if hasattr(thing, "__dict__") else {}
        if name == "Slotted":
            attributes = {"v": thing.v}
        return (name, held, [(key, of(value)) for key, value in attributes.items() if key != "handle"])

    return {name: of(namespace[name]) for name in ("x0", "x1", "x2", "x3")}


names = st.sampled_from(["x0", "x1", "x2", "x3"])
FORMS = [
    "{a} = {b}",
    "{a} = []",
    "{a} = [{b}, {c}]",
    "{a} = {{'k': {b}, 3: {c}}}",
    "{a} = ({b}, {c})",
    "{a} = Box({b})",
    "{a} = Slotted({b})",
    "{a} = Own({b})",
    "{a} = Many([{b}])",
    "{a} = deque([{b}])",
    "{a} = OrderedDict(k={b})",
    "{a} = defaultdict(list, k={b})",
    "hasattr({a}, 'append') and {a}.append({b})",
    "hasattr({a}, 'clear') and {a}.clear()",
    "isinstance({a}, dict) and {a}.update(n={b})",
    "isinstance({a}, dict) and {a}.pop('k', None)",
    "hasattr({a}, 'v') and setattr({a}, 'v', {b})",
    "hasattr({a}, 'items') and not isinstance({a}, dict) and {a}.items.append(5)",
    "isinstance({a}, Box) and setattr({a}, 'more', {b})",
    "hasattr({a}, 'more') and delattr({a}, 'more')",
    "{a} = {b}; {b} = {c}",
]


statements = st.builds(lambda form, a, b, c: form.format(a=a, b=b, c=c), st.sampled_from(FORMS), names, names, names)
codes = st.lists(statements, min_size=1, max_size=4).map("\n".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.booleans(), codes), min_size=1, max_size=5))
def test_a_cell_elsewhere_leaves_the_notebook_as_if_it_had_run_here(rounds: list[tuple[bool, str]]) -> None:
    sides, truth = Sides(), Sides()
    for here, code in rounds:
        truth.local(code)
        (sides.local if here else sides.cell)(code)
        assert shape(sides.notebook) == shape(truth.notebook), code


def test_who_holds_an_object_sees_its_changes_under_every_name() -> None:
    sides = Sides()
    sides.local("data = [1]; alias = data; deep = {'in': (data, 3)}; counts = {'a': 1}; box = Box(data)")
    data, box, same = (sides.notebook[name] for name in ("data", "box", "Box"))
    sides.cell("data.append(2); counts['b'] = data; box.v = {'new': data}; result = [box]")
    after = sides.notebook
    assert after["data"] is data is after["alias"] is after["deep"]["in"][0] is after["counts"]["b"]
    assert data == [1, 2]
    assert after["box"] is box is after["result"][0]
    assert box.v == {"new": data}
    assert type(after["result"][0]) is same


def test_an_object_that_makes_itself_anew_is_never_left_as_it_was() -> None:
    sides = Sides()
    sides.local("inner = [1]; c = Copying([inner])")
    sides.cell("c.items.append(2)")
    assert sides.notebook["c"].items == [[1], 2]
    sides.cell("c.items[0].append(3)")
    assert sides.notebook["c"].items == [[1, 3], 2]
    sides.local("c.items[0].append(4)")
    sides.cell("seen = [list(c.items[0]), c.items[1]]")
    assert sides.notebook["seen"] == [[1, 3, 4], 2]


KINDS = """
import array, collections, datetime, decimal, random, types

class Named(collections.namedtuple("Named", "x")):
    pass  # it has attributes

class Text(str):
    pass

class Settings(dict):
    pass
"""


@pytest.mark.parametrize(
    ("make", "change", "look"),
    [
        ("Named(1)", "it.more = 5", "it.more"),
        ("Text('a')", "it.more = 5", "it.more"),
        ("Settings(a=1)", "it['b'] = 2; it.more = 3", "sorted(it), it.more"),
        ("bytearray(b'ab')", "it[0] = 99", "bytes(it)"),
        ("array.array('i', [1, 2])", "it.append(3)", "list(it)"),
        ("collections.Counter('ab')", "it['a'] += 5", "it['a']"),
        ("collections.ChainMap({}, {'a': 1})", "it['b'] = 2", "dict(it)"),
        ("types.SimpleNamespace(a=1)", "it.b = 2; del it.a", "vars(it)"),
        ("random.Random(1)", "it.random()", "it.random()"),
        ("{1, 2}", "it.add(3); it.remove(1)", "sorted(it)"),
        ("[datetime.date(2026, 1, 1), decimal.Decimal('1.5')]", "it[0] = it[0].replace(year=2027)", "it"),
        ("ValueError('a')", "it.note = 5", "it.note"),
        ("iter([1, 2, 3])", "next(it)", "list(it)"),
    ],
)
def test_a_change_is_found_in_every_kind_of_object(make: str, change: str, look: str) -> None:
    sides, truth = Sides(KINDS), Sides(KINDS)
    for one in (sides, truth):
        one.local(f"it = {make}; alias = it; held = [it]")
    truth.local(change)
    sides.cell(f"alias, held\n{change}")
    assert eval(look, sides.notebook) == eval(look, truth.notebook)
    after = sides.notebook
    assert after["it"] is after["alias"] is after["held"][0]
    truth.local(f"it = {make}")
    sides.local(f"it = {make}")
    truth.local(change)
    sides.local(change)
    sides.cell(f"seen = {look}")
    assert sides.notebook["seen"] == eval(look, truth.notebook), "nor is one of the notebook missed"


def test_what_has_not_changed_goes_once_and_what_has_goes_alone() -> None:
    sides = Sides("from array import array\nbig = array('d', bytes(8_000_000)); small = [1]; both = {'big': big}")
    sides.cell("x = len(big), small, both")
    assert 8_000_000 < sides.sent[0] < 8_010_000, "once, although two names hold it"
    sides.cell("y = len(big), small, both; small.append(2)")
    sides.cell("z = both, small")
    assert max(sides.sent[1:]) < 1000
    sides.local("small.append(3)")
    sides.cell("both, small.append(4)")
    assert sides.notebook["small"] == [1, 2, 3, 4]
    assert max(sides.sent[1:]) < 1000
    sides.local("big[5] = 1.0")
    sides.cell("big[6] = big[5] + 1")
    assert sides.sent[-2] > 8_000_000, "what the notebook changed goes again"
    assert list(sides.notebook["big"][4:8]) == [0.0, 1.0, 2.0, 0.0]


def test_what_nobody_holds_any_more_is_forgotten_on_both_sides() -> None:
    sides = Sides()
    sides.local("data = [[n] for n in range(100)]")
    sides.cell("len(data)")
    many = len(sides.ours.objects)
    sides.local("del data")
    sides.cell("x0")
    assert len(sides.ours.objects) <= many - 100
    assert set(sides.theirs.objects) == set(sides.ours.objects)


def test_a_stop_while_something_is_made_ready_leaves_both_sides_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = Sides("from array import array\nsmall = [1]; gone = [2]")
    sides.cell("small, gone")
    sides.local("first, second = array('d', bytes(800)), array('d', bytes(800)); del gone")
    look = packer.Hash.of

    def stopped(known: Any, thing: Any) -> Any:
        if thing is sides.notebook["second"]:
            raise KeyboardInterrupt
        return look(known, thing)

    monkeypatch.setattr(packer.Hash, "of", stopped)
    with pytest.raises(KeyboardInterrupt):
        sides.cell("small, first, second")
    monkeypatch.undo()
    sides.cell("small.append(len(first)); first[0] = 5.0; third = second")
    assert (sides.notebook["small"], sides.notebook["first"][0]) == ([1, 100], 5.0)
    assert sides.notebook["third"] is sides.notebook["second"]
    assert sides.theirs.objects.keys() == sides.ours.objects.keys(), "what is gone is gone on both sides"


def test_functions_bring_along_what_they_use_and_see_new_values() -> None:
    sides = Sides()
    sides.local(
        "scale = 2\ndef inner(n):\n    return n * scale\ndef outer(n):\n    return inner(n) + 1\ncalls = [outer]"
    )
    sides.cell("r = calls[0](5)")
    assert sides.notebook["r"] == 11
    sides.local("scale = 10")
    sides.cell("r = outer(5)\ndef made(n):\n    return outer(n) + scale")
    assert sides.notebook["r"] == 51
    sides.local("scale = 1")
    assert sides.notebook["made"](1) == 3, "a function of a cell is one of the notebook afterwards"
    sides.local(COUNTER)
    sides.cell("up(); up()")
    assert sides.notebook["up"]() == 3


def test_what_cannot_go_is_named_and_the_rest_goes() -> None:
    sides = Sides()
    sides.local("import threading\nlock = threading.Lock(); held = [lock]; good = [1]\ndef use():\n    return lock")
    every = {name: sides.notebook[name] for name in ("lock", "held", "good", "use")}
    parcel = sides.ours.pack(every)
    assert set(parcel.left) == {"lock", "held"}
    assert "lock" in parcel.left["held"]
    assert set(sides.move(parcel, sides.theirs)) == {"good", "use"}


def test_a_known_object_that_has_become_unsendable_is_never_sent_as_it_was() -> None:
    sides = Sides()
    sides.local("data = [1]; other = {'data': data}")
    sides.cell("data, other")
    sides.local("data.append(i for i in [1])")
    parcel = sides.ours.pack({name: sides.notebook[name] for name in ("data", "other", "x0")})
    assert set(parcel.left) == {"data", "other"}


@pytest.mark.usefixtures("without_cloudpickle")
def test_without_cloudpickle_what_the_notebook_defines_is_named() -> None:
    sides = Sides()
    sides.local("import json\ndef f():\n    return 1\nbox = Box(1)")
    parcel = sides.ours.pack({name: sides.notebook[name] for name in ("f", "box", "Box", "x0", "json")})
    assert set(parcel.left) == {"f", "box", "Box"}
    assert all("install cloudpickle" in why for why in parcel.left.values())
    assert sides.move(parcel, sides.theirs)["json"].__name__ == "json"


@pytest.fixture
def without_cloudpickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)


class Fragile:
    """Can be sent, and not be made again."""

    def __reduce__(self) -> Any:
        return Fragile.make, ()

    @staticmethod
    def make() -> Any:
        raise OSError("the device is gone")


def test_what_cannot_be_made_there_is_named_and_nothing_is_changed() -> None:
    sides = Sides()
    sides.local("data = [1]")
    sides.cell("data")
    sides.notebook["fragile"] = Fragile()
    sides.local("data.append(2)")
    parcel = sides.ours.pack({name: sides.notebook[name] for name in ("data", "fragile")})
    with pytest.raises(Unreadable) as caught:
        sides.move(parcel, sides.theirs)
    assert caught.value.name == "fragile"
    assert sides.companion["data"] == [1]


PICKY = """
class Picky:
    def __setstate__(self, state):
        if hasattr(self, "n"):
            raise ValueError("once only")
        self.__dict__.update(state)
"""


def test_a_class_that_can_not_take_its_state_back_spoils_nothing_else() -> None:
    sides = Sides()
    sides.local(PICKY)
    sides.local("picky = Picky(); picky.n = 1; data = [1]; before = (picky, data)")
    names = ("picky", "data", "Picky")
    sides.companion.update(sides.move(sides.ours.pack({n: sides.notebook[n] for n in names}), sides.theirs))
    exec("picky.n = 2; data.append(2)", sides.companion)
    back = sides.theirs.pack({}, {n: sides.companion[n] for n in names})
    arrival = sides.ours.unpack(back.head, [bytearray(back.stream)])
    arrival.apply()
    assert set(arrival.lost) == {"picky"}
    assert sides.notebook["data"] == [1, 2]
    assert sides.notebook["picky"].n == 1
