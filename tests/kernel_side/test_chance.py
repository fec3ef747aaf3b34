"""The common random number generators come back as they were, or their names do."""

from __future__ import annotations

import json
import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from swangpu.kernel_side import chance


def test_what_is_drawn_next_is_the_same() -> None:
    random.seed(1)
    np.random.seed(1)
    kept = json.loads(json.dumps(chance.states()))
    drawn = random.random(), np.random.random()
    assert chance.give_back({name: kept[name] for name in ("random", "numpy")}) == []
    assert (random.random(), np.random.random()) == drawn


def test_one_that_can_not_be_read_is_named_when_the_others_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    kept = json.loads(json.dumps(chance.states()))
    drawn = random.random()
    assert chance.give_back({name: kept[name] for name in ("random", "torch")}) == ["torch"]
    assert random.random() == drawn
