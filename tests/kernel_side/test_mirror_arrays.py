"""Arrays, generators of random numbers and tensors that go to a companion and back."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from mirror_sides import Sides


def test_numpy_arrays_keep_their_memory() -> None:
    numpy = pytest.importorskip("numpy")
    sides = Sides("import numpy as np\na = np.zeros((1000, 100)); view = a[:2]; m = np.eye(3).T")
    sides.local("o = np.empty(2, object); o[1] = [1]")
    a = sides.notebook["a"]
    sides.cell("a += 1; m *= 2; o[1].append(2)")
    assert sides.notebook["a"] is a
    assert (sides.notebook["view"] == 1).all(), "a view of it in the notebook sees the change"
    assert (sides.notebook["m"] == 2 * numpy.eye(3)).all()
    assert sides.notebook["o"][1] == [1, 2]
    sides.local("holder = {'a': a, 't': (a, 1)}")
    sides.cell("holder['a'].shape = (100, 1000)")
    after = sides.notebook
    assert after["a"].shape == (100, 1000)
    assert after["holder"]["a"] is after["a"] is after["holder"]["t"][0], "the new one is where the old one was"
    sides.cell("b = a[1:3]; c = a.T; when = np.array(['2026-01-01'], dtype='M8[D]')")
    assert after["b"].shape == (2, 1000)


def test_numpys_generators_go_on_where_they_were() -> None:
    pytest.importorskip("numpy")
    begin = "import numpy as np\nrng, old = np.random.default_rng(3), np.random.RandomState(3)\nheld = [rng, old]"
    sides, truth = Sides(begin), Sides(begin)
    rng, old = sides.notebook["rng"], sides.notebook["old"]
    draw = "drawn = [rng.random(), held[0].spawn(1)[0].random(), old.rand(), held[1].randint(1000)]"
    for run in (sides.cell, sides.cell, sides.local, sides.cell):
        run(draw)
        truth.local(draw)
        assert sides.notebook["drawn"] == truth.notebook["drawn"]
    assert sides.notebook["held"] == [rng, old], "and are who they were"


def test_a_large_array_is_hashed_in_pieces_and_every_byte_counts() -> None:
    numpy = pytest.importorskip("numpy")
    sides = Sides("import numpy as np\na = np.zeros(9_000_000)")
    sides.cell("a")
    for place in (0, 4_194_304, 8_999_999):
        sides.cell(f"a[{place}] = {place} + 1")
        assert sides.notebook["a"][place] == place + 1
    assert numpy.count_nonzero(sides.notebook["a"]) == 3


TENSORS = """
import sys, types

class Tensor:
    def __init__(self, numbers, device="cpu"):
        self.numbers, self.device, self.dtype = list(numbers), types.SimpleNamespace(type=device), "f8"
    shape = property(lambda self: (len(self.numbers),))
    def copy_(self, other):
        self.numbers[:] = other.numbers
    def detach(self):
        return self
    def cpu(self):
        return Tensor(self.numbers)
    def __reduce_ex__(self, protocol):
        assert self.device.type == "cpu", "there is no GPU in the notebook"
        return rebuilt, (tuple(self.numbers),)

class Parameter(Tensor):
    pass

def rebuilt(numbers):
    return Tensor(numbers)

class no_grad:
    __enter__ = __exit__ = lambda self, *error: None

torch = types.ModuleType("torch")
torch.Tensor, torch.no_grad, torch.nn = Tensor, no_grad, types.SimpleNamespace(Parameter=Parameter)
weight = Tensor([1, 2])
model, optimizer = {"weight": weight}, [weight]
"""


def test_tensors_come_back_from_the_gpu_into_the_ones_that_the_notebook_has(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = Sides(TENSORS)
    sides.cell("len(model)")
    # each side has a library of its own
    theirs = type(sides.companion["model"]["weight"])
    there = types.SimpleNamespace(Tensor=theirs, nn=types.SimpleNamespace(Parameter=()))
    weight = sides.notebook["weight"]

    def on(side: Any, move: Any) -> Any:
        def with_library(*args: Any) -> Any:
            monkeypatch.setitem(sys.modules, "torch", side)
            return move(*args)

        return with_library

    monkeypatch.setattr(sides.theirs, "pack", on(there, sides.theirs.pack))
    monkeypatch.setattr(sides.ours, "unpack", on(sides.notebook["torch"], sides.ours.unpack))
    sides.cell("w = model['weight']; w.numbers[0] = 7; w.device.type = 'cuda'")
    assert (weight.numbers, weight.device.type) == ([7, 2], "cpu")
    assert sides.notebook["model"]["weight"] is weight is sides.notebook["optimizer"][0] is sides.notebook["w"]
