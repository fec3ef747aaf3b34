"""Moving to host memory and back: all of it or nothing, told as it is, and asked for twice without harm.

The device is a dictionary here (`board`): that shows what is decided for every framework, and nothing of any of them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from board import Board, Library
from hypothesis import example, given
from hypothesis import strategies as st

from swangpu.kernel_side import offload, offload_memory
from swangpu.kernel_side.offload_memory import MARGIN_BYTES, Room
from swangpu.kernel_side.offload_parts import Found, Stay, grouped, in_doubt, settle

GB = 10**9
CONTENTS = {100: b"a" * 50, 300: b"b" * 70, 500: b"c" * 30}
KEYS = {"ok", "moved_bytes", "stays_bytes", "stays", "frameworks", "seconds", "error"}


@pytest.fixture(autouse=True)
def unmoved(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # the board knows its arrays: looking through all objects of this process would only take time
    monkeypatch.setattr(offload, "gc", SimpleNamespace(collect=lambda: 0, get_objects=list))
    yield
    offload._moved = None


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[Library], None]:
    def put(*libraries: Library) -> None:
        monkeypatch.setattr(offload, "FRAMEWORKS", [lambda one=one: one for one in libraries])

    return put


def test_it_goes_and_comes_back(on: Callable[[Library], None]) -> None:
    board = Board(CONTENTS)
    on(Library(board))
    assert offload.state()["state"] == "in"
    before = offload.preview()
    assert (before["ok"], before["moved_bytes"], len(board.memory)) == (True, 150, 3)
    report = offload.out()
    assert set(report) == {*KEYS, "host_bytes", "untouched"}
    assert not report["untouched"]
    assert (report["ok"], report["moved_bytes"], report["frameworks"], report["error"]) == (
        True,
        150,
        {"board": 150},
        None,
    )
    assert board.memory == {}
    assert offload.state() == {"state": "out", "moved_bytes": 150, "stays_bytes": 0, "stays": []}
    assert offload.back()["moved_bytes"] == 150
    assert board.memory == CONTENTS
    assert offload.state()["state"] == "in"


def test_asked_twice_it_is_done_once(on: Callable[[Library], None]) -> None:
    board = Board(CONTENTS)
    on(Library(board))
    first = offload.out()
    calls = board.calls
    assert {**offload.out(), "seconds": 0} == {**first, "seconds": 0}
    assert board.calls == calls
    offload.back()
    calls = board.calls
    assert offload.back()["moved_bytes"] == 0
    assert board.calls == calls
    assert board.memory == CONTENTS


@pytest.mark.parametrize("budget", [0, 149])
def test_too_small_a_budget_is_refused_with_the_numbers(on: Callable[[Library], None], budget: int) -> None:
    board = Board(CONTENTS)
    on(Library(board))
    report = offload.out(budget_bytes=budget)
    assert not report["ok"]
    assert "150 B" in report["error"]
    assert f"{budget} B are left for paused sessions" in report["error"]
    assert report["code"] == "no_room"
    assert (report["moved_bytes"], report["stays_bytes"]) == (0, 150)
    assert (board.memory, board.calls) == (CONTENTS, 0)
    assert offload.out(budget_bytes=150)["ok"]


def test_a_host_without_room_is_said_before_anything_moves(
    on: Callable[[Library], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(CONTENTS)
    on(Library(board))
    monkeypatch.setattr(offload_memory, "room", lambda: Room(MARGIN_BYTES + 100, "this server's memory limit"))
    for report in (offload.preview(), offload.out()):
        assert not report["ok"]
        assert "150 B" in report["error"]
        assert "this server's memory limit" in report["error"]
        assert not report.get("code"), "that is not what is set aside"
    assert board.calls == 0


# interrupted on the way back, and again while that is undone
@example([b"\x00"], {6, 7}, KeyboardInterrupt())
@given(
    st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6),
    st.sets(st.integers(1, 16), max_size=3),
    st.sampled_from([MemoryError(), RuntimeError("CUDA error: out of memory"), KeyboardInterrupt(), OSError("no")]),
)
def test_wherever_it_fails_nothing_is_lost(data: list[bytes], fails: set[int], how: BaseException) -> None:
    contents = {100 * n: one for n, one in enumerate(data, 1)}
    board = Board(contents, dict.fromkeys(fails, how))
    before, offload.FRAMEWORKS[:] = list(offload.FRAMEWORKS), [lambda: library]
    library = Library(board)
    try:
        for work in (offload.out, offload.back, offload.out, offload.back):
            report = work()
            # what is not on the device is in host memory, and what is there is as it was
            kept = {one.address: one.host for one in offload._moved.pieces} if offload._moved else {}  # type: ignore[attr-defined]
            assert {address: bytes(board.memory.get(address, kept.get(address))) for address in contents} == contents
            assert offload.state()["moved_bytes"] == sum(map(len, kept.values()))
            assert (report["error"] is None) == report["ok"]
            if report["ok"]:
                assert board.memory == ({} if work is offload.out else contents)
        board.fails.clear()
        assert offload.back()["ok"]
        assert board.memory == contents
        assert all(one.host is None for one in library.found)
    finally:
        offload.FRAMEWORKS[:] = before
        offload._moved = None


def test_a_failure_in_the_middle_says_what_is_not_back_yet(on: Callable[[Library], None]) -> None:
    # a wait, three copies, a wait, two arrays freed; the third can't be, and the first does not come back
    board = Board(CONTENTS, {8: RuntimeError("the device is gone"), 9: MemoryError()})
    on(Library(board))
    report = offload.out()
    assert not report["ok"]
    assert "the device is gone" in report["error"]
    assert "50 B of 1 array" in report["error"]
    assert "array 100" in report["error"]
    assert (report["moved_bytes"], offload.state()["moved_bytes"]) == (50, 50)
    assert offload.back()["ok"]
    assert board.memory == CONTENTS


def test_what_does_not_fit_any_more_stays_in_host_memory_as_a_whole(on: Callable[[Library], None]) -> None:
    board = Board(CONTENTS)
    on(Library(board))
    offload.out()
    board.fails = {board.calls + 2: RuntimeError("CUDA error: out of memory")}
    report = offload.back()
    assert not report["ok"]
    assert "not enough memory" in report["error"]
    assert board.memory == {}, "others need what was taken already"
    assert offload.state()["moved_bytes"] == 150
    assert offload.back()["ok"]
    assert board.memory == CONTENTS


def test_an_interrupt_meanwhile_is_not_for_us(on: Callable[[Library], None]) -> None:
    class Interrupted(Board):
        def call(self) -> None:
            super().call()
            os.kill(os.getpid(), signal.SIGINT)

    board = Interrupted(CONTENTS)
    on(Library(board))
    assert offload.out()["ok"]
    assert offload.back()["ok"]
    assert board.memory == CONTENTS
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_pinned_memory_is_bounded_and_a_power_of_two_each(on: Callable[[Library], None]) -> None:
    board = Board(CONTENTS)
    library = Library(board)
    on(library)
    offload.out(pinned_bytes=64 + 32)
    # 50 bytes take 64, 70 would take 128, 30 take 32
    assert [one.pinned for one in library.found] == [True, False, True]


@pytest.mark.parametrize(
    ("budget", "pinned", "host_bytes"),
    [
        (None, [True, True, True], 64 + 128 + 32),
        (224, [True, True, True], 224),
        (167, [True, False, True], 64 + 70 + 32),
        (150, [False, False, False], 150),
    ],
)
def test_what_pinned_memory_is_rounded_up_by_counts_against_the_budget(
    on: Callable[[Library], None], budget: int | None, pinned: list[bool], host_bytes: int
) -> None:
    library = Library(Board(CONTENTS))
    on(library)
    report = offload.out(budget_bytes=budget, pinned_bytes=1000)
    assert [one.pinned for one in library.found] == pinned
    assert (report["moved_bytes"], report["host_bytes"]) == (150, host_bytes)
    assert offload.out(budget_bytes=budget)["host_bytes"] == host_bytes, "asked again, it is the same"


def test_nor_is_the_machine_asked_for_more_than_it_has(
    on: Callable[[Library], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(Board(CONTENTS))
    on(library)
    monkeypatch.setattr(offload_memory, "room", lambda: Room(150 + 14 + MARGIN_BYTES, "this machine"))
    assert offload.out(pinned_bytes=1000)["host_bytes"] == 64 + 70 + 30


def test_what_stays_is_named_with_its_bytes(on: Callable[[Library], None]) -> None:
    stays = [Stay("board", f"s{n}", 1000 * n, "a graph knows it", 10_000 * n) for n in range(1, 4)]
    library = Library(Board({100: b"x" * 50}), stays, cached=5000)
    on(library)
    assert offload.preview()["stays_bytes"] == 6000
    report = offload.out()
    assert report["stays"] == [{"what": "board: s3 and 2 more", "bytes": 6000, "why": "a graph knows it"}]
    offload.back()
    library.held_bytes = lambda: 26_000  # type: ignore[method-assign]
    library.give_back = lambda: None  # type: ignore[method-assign]
    library.cached = 700
    report = offload.out()
    assert {line["why"]: line["bytes"] for line in report["stays"]} == {
        offload.COMPILED: 20_000,
        "a graph knows it": 6000,
        offload.CACHED: 700,
    }
    assert report["stays_bytes"] == 26_700


def test_a_framework_that_breaks_is_named_and_nothing_moves_that_it_might_use(on: Callable[[Library], None]) -> None:
    class Broken(Library):
        name = "broken"

        def find(self, objects: object, names: object) -> Found:
            raise AttributeError("no such thing in this version")

    board = Board(CONTENTS)
    on(Broken(Board({1: b"x" * 2000})), Library(board))
    report = offload.out()
    assert not report["ok"]
    assert "broken may use arrays of board" in report["error"]
    assert len(board.memory) == 3
    assert ("broken: all arrays", 2000) in [(line["what"], line["bytes"]) for line in report["stays"]]


def test_a_kernel_without_any_framework() -> None:
    for report in (offload.preview(), offload.out(), offload.out(0), offload.back()):
        # another device would do as well
        assert report.pop("untouched", True)
        assert report.pop("host_bytes", 0) == 0
        assert set(report) == KEYS
        assert (report["ok"], report["moved_bytes"], report["stays"], report["frameworks"]) == (True, 0, [], {})


def test_nothing_is_imported_for_it() -> None:
    program = """
import sys
sys.path.insert(0, sys.argv[1])
from swangpu_kernel import offload
assert offload.out()["ok"] and offload.back()["ok"]
assert not {"torch", "cupy", "jax", "tensorflow", "numba", "numpy", "IPython"} & set(sys.modules)
"""
    folder = Path(offload.__file__).parent / "_site"
    subprocess.run([sys.executable, "-I", "-c", program, str(folder)], check=True)


# -- what is decided, without a device ------------------------------------------------------------------


def test_what_shares_memory_with_something_that_stays_stays_too() -> None:
    board = Board({100: b"a" * 50, 300: b"b" * 50, 340: b"b" * 100, 900: b"c" * 10})
    pieces = list(Library(board).find([], {}).pieces)
    other = Found([], [Stay("cupy", "x", 10, "foreign", 320), Stay("tensorflow", "all", 5, "keeps", 0)])
    settled = settle([Found(pieces), other])
    # 300 overlaps with cupy's, and 340 with 300
    assert [piece.address for piece in settled.pieces] == [100, 900]
    assert {stay.address: stay.why for stay in settled.stays if stay.framework == "board"} == {
        300: "cupy uses the same memory and knows it by its address",
        340: "something else uses the same memory and knows it by its address",
    }


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 20)), max_size=12), st.data())
def test_nothing_moves_that_overlaps_with_what_stays(places: list[tuple[int, int]], data: st.DataObject) -> None:
    board = Board({address: b"x" * size for address, size in places})
    pieces = list(Library(board).find([], {}).pieces)
    fixed = [
        Stay("cupy", "x", size, "w", address)
        for address, size in data.draw(st.lists(st.sampled_from(places or [(1, 1)])))
    ]
    settled = settle([Found(pieces), Found([], fixed)])
    stay = {n for one in settled.stays for n in range(one.address, one.address + one.size_bytes)}
    assert not any(stay & set(range(one.address, one.address + one.size_bytes)) for one in settled.pieces)
    assert len(settled.pieces) + len(settled.stays) == len(pieces) + len(fixed)


def test_many_reasons_are_told_in_few_lines_and_no_byte_twice() -> None:
    lines = grouped([Stay("torch", f"x{n}", n, f"why {n}", n) for n in range(1, 101)])
    assert len(lines) == 20
    assert sum(line["bytes"] for line in lines) == 5050
    twice = [Stay("torch", "x", 10, "foreign", 7), Stay("cupy", "y", 10, "foreign", 7)]
    assert sum(line["bytes"] for line in grouped(twice)) == 10


def test_nothing_moves_while_another_library_may_use_it_and_does_not_tell(
    on: Callable[[Library], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(CONTENTS)
    on(Library(board))
    monkeypatch.setitem(sys.modules, "paddle", SimpleNamespace())
    report = offload.out()
    assert not report["ok"]
    assert report["error"] == "paddle may use arrays of board, and does not tell which: nothing was moved."
    assert len(board.memory) == 3
    assert offload.state()["state"] == "in"


def test_a_library_whose_own_arrays_have_no_address_is_in_doubt_and_one_with_addresses_is_not() -> None:
    piece = Library(Board(CONTENTS)).find([], {}).pieces[0]
    pool = Stay("jax", "all arrays on cuda:0", GB, "it keeps its memory")
    assert "jax may use arrays of board" in (in_doubt(Found([piece], [pool]), ()) or "")
    known = Stay("numba", "an array", GB, "known by its address", address=7000)
    assert in_doubt(Found([piece], [known]), ()) is None
    assert in_doubt(Found([], [pool]), ("tensorflow",)) is None, "nothing would move"
