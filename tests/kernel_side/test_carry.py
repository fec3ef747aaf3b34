"""Carrying variables: what comes along is as it was, what does not is named with a reason, and nothing raises."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from swangpu.kernel_side import carry, pickling

DEFINITIONS = """
import json as j, threading, sqlite3
import math
data = [1, 2]
alias = data
nested = {"data": data}
text, number = "x" * 10, 42
big = bytearray(2_000_000)
generator = (i for i in data)
lock = threading.Lock()
connection = sqlite3.connect(":memory:")
holder = {"inside": [lock]}
_private = 1
"""
FUNCTIONS = """
factor = 2
_hidden = 5
def double(x):
    return x * factor
def plus_hidden(x):
    return x + _hidden
class Point:
    def __init__(self, x):
        self.x = x
    def twice(self):
        return double(self.x)
point = Point(3)
same = point
"""


def run(code: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(code, namespace)
    return namespace


def move(namespace: dict[str, Any], path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    saved = carry.save(path, namespace)
    after: dict[str, Any] = {"__name__": "__main__"}
    return saved, carry.load(path, after), after


@pytest.fixture
def without_cloudpickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)


def reasons(report: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["why"] for one in report["left"]}


def test_two_names_of_one_object_stay_that(tmp_path: Path) -> None:
    saved, loaded, after = move(run(DEFINITIONS), tmp_path / "variables")
    assert after["alias"] is after["data"]
    assert after["nested"]["data"] is after["data"]
    assert saved["carried"] == loaded["carried"] == ["alias", "big", "data", "nested", "number", "text"]
    assert after["j"].__name__ == "json"
    assert "_private" not in after


def test_what_cannot_be_carried_is_named_with_a_plain_reason(tmp_path: Path) -> None:
    before = run(DEFINITIONS)
    preview = carry.preview(before)
    saved, loaded, _ = move(before, tmp_path / "variables")
    assert preview == saved
    assert reasons(saved) == reasons(loaded)
    why = reasons(saved)
    assert sorted(why) == ["connection", "generator", "holder", "lock"]
    assert "live connection" in why["connection"]
    assert "middle of its work" in why["generator"]
    assert "lock" in why["lock"]
    assert why["holder"].startswith("it holds something")


def test_functions_and_classes_see_the_notebook_as_before(tmp_path: Path) -> None:
    _, loaded, after = move(run(FUNCTIONS), tmp_path / "variables")
    assert loaded["left"] == []
    assert after["same"] is after["point"]
    assert isinstance(after["point"], after["Point"])
    assert after["plus_hidden"](1) == 6
    after["factor"] = 10
    assert after["double"](1) == 10
    assert after["point"].twice() == 30


@pytest.mark.usefixtures("without_cloudpickle")
def test_without_cloudpickle_they_are_left_and_named(tmp_path: Path) -> None:
    saved, _, after = move(run(FUNCTIONS), tmp_path / "variables")
    assert saved["carried"] == ["factor"]
    assert set(reasons(saved)) == {"Point", "double", "plus_hidden", "point", "same"}
    assert "install cloudpickle" in reasons(saved)["double"]
    assert after["factor"] == 2


class Fragile:
    """Can be pickled, and not be read back."""

    def __init__(self, inside: object) -> None:
        self.inside = inside

    def __reduce__(self) -> Any:
        return Fragile.make, (self.inside,)

    @staticmethod
    def make(inside: object) -> Any:
        raise OSError("the device is gone")


def test_one_that_cannot_be_read_back_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    shared = ["shared"]
    before: dict[str, Any] = {
        "a": [1],
        "b": Fragile(shared),
        "c": shared,
        "d": {"x": "y" * 200},
        "e": None,
        "f": list(range(1000)),
    }
    before["e"] = before["d"]
    _, loaded, after = move(before, tmp_path / "variables")
    assert "b" in reasons(loaded)
    assert after["a"] == [1]
    assert after["e"] is after["d"]
    assert after["f"] == list(range(1000))
    # what was shared with it is either as it was or named: never something else
    assert after.get("c", shared) == shared
    assert ("c" in after) != ("c" in reasons(loaded))


def test_an_object_that_fights_back_is_left(tmp_path: Path) -> None:
    class Nasty:
        def __getstate__(self) -> Any:
            raise RuntimeError("\x1b[31mno")

        def __sizeof__(self) -> int:
            raise ValueError("no")

    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    saved, _, after = move({"nasty": Nasty(), "deep": deep, "good": 1}, tmp_path / "variables")
    assert after["good"] == 1
    assert set(reasons(saved)) == {"nasty", "deep"}
    assert "nested too deeply" in reasons(saved)["deep"]
    while deep:
        deep = deep[0]


def test_the_file_is_for_its_owner_only_and_goes_when_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "variables"
    carry.save(path, {"a": 1})
    assert path.stat().st_mode & 0o777 == 0o600
    carry.load(path, {})
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"x", b"\x00" * 100, b'{"format": 99}' + (14).to_bytes(8, "little")])
def test_a_damaged_file_is_said_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "variables"
    path.write_bytes(content)
    report = carry.load(path, {})
    assert report["error"].endswith(".")
    assert path.exists()
    assert carry.load(tmp_path / "missing", {})["error"]


def test_a_full_disk_loses_nothing_silently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: pickling.Sink, data: Any) -> int:
        self.failed = True
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pickling.Sink, "write", full)
    report = carry.save(tmp_path / "variables", {"a": 1, "b": 2})
    assert report["carried"] == []
    assert [one["name"] for one in report["left"]] == ["a", "b"]
    assert "No space left" in report["error"]
    assert not (tmp_path / "variables").exists()


def test_folders_of_ones_own_modules_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_only.py").write_text("class Thing:\n    value = 7\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    import mine_only

    carry.save(tmp_path / "variables", {"thing": mine_only.Thing(), "mine_only": mine_only})
    monkeypatch.delitem(sys.modules, "mine_only")
    sys.path.remove(str(tmp_path))
    os.chdir("/")
    after: dict[str, Any] = {}
    assert carry.load(tmp_path / "variables", after)["left"] == []
    assert after["thing"].value == 7
    assert Path.cwd() == tmp_path
    monkeypatch.delitem(sys.modules, "mine_only")
