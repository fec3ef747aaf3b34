"""Whether what is on the device may stay there while somebody else computes. The device is a dictionary (`board`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from board import Board, Library

from swangpu.kernel_side import offload
from swangpu.kernel_side.offload import CONTEXT_BYTES, LEFT_BYTES
from swangpu.kernel_side.offload_parts import Stay

CONTENTS = {100: b"a" * 50, 300: b"b" * 70, 500: b"c" * 30}


@pytest.fixture(autouse=True)
def unmoved(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(offload, "gc", SimpleNamespace(collect=lambda: 0, get_objects=list))
    yield
    offload._moved = None


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[Library], None]:
    def put(*libraries: Library) -> None:
        monkeypatch.setattr(offload, "FRAMEWORKS", [lambda one=one: one for one in libraries])

    return put


def test_it_stays_where_all_of_it_fits_with_its_context(on: Callable[[Library], None]) -> None:
    board = Board(CONTENTS)
    on(Library(board))
    found = offload.stays(CONTEXT_BYTES + 150)
    assert (found["ok"], found["resident_bytes"], found["moved_bytes"]) == (True, CONTEXT_BYTES + 150, 0)
    assert board.memory == CONTENTS
    assert offload.state()["state"] == "in", "nothing was moved"
    assert offload.out()["moved_bytes"] == 150, "it can be moved later"


def test_it_does_not_where_it_is_too_much(on: Callable[[Library], None]) -> None:
    on(Library(Board(CONTENTS)))
    found = offload.stays(CONTEXT_BYTES + 149)
    assert not found["ok"]
    assert "may stay" in found["error"]


def test_what_a_library_keeps_for_later_is_given_back_first(on: Callable[[Library], None]) -> None:
    on(Library(Board(CONTENTS), cached=10**9))
    assert offload.stays(CONTEXT_BYTES + 150)["resident_bytes"] == CONTEXT_BYTES + 150


def test_what_could_not_be_moved_later_does_not_stay(on: Callable[[Library], None]) -> None:
    on(Library(Board(CONTENTS), stays=[Stay("board", "graph", LEFT_BYTES + 1, "a graph knows it by its address", 900)]))
    found = offload.stays(10**10)
    assert (found["ok"], found["error"]) == (False, "Not all of it could be moved later.")


def test_what_nobody_can_count_does_not_stay(on: Callable[[Library], None]) -> None:
    class Silent(Library):
        name = "silent"

        def held_bytes(self) -> None:
            return None

    on(Library(Board(CONTENTS)), Silent(Board({})))
    found = offload.stays(10**10)
    assert (found["ok"], found["error"]) == (False, "silent can't say how much memory it has on the device.")


def test_who_has_nothing_there_need_not_stay(on: Callable[[Library], None]) -> None:
    on()
    assert not offload.stays(10**10)["ok"]
    on(Library(Board(CONTENTS)))
    offload.out()
    assert not offload.stays(10**10)["ok"], "it has been moved"
