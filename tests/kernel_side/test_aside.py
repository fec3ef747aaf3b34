"""Variables that go to a file for a pause: all of them or none, and what is in the way is named."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest

from swangpu.kernel_side import aside, standing

NOTEBOOK = """
import math, os
data = list(range(100_000))
alias = data
nested = {"data": data}
_private, __hidden = 1, [data]
for _ in range(2): pass
_i5, _12, __, _oh = "x = 1", 12, 3, {12: 12}
class Point:
    def __init__(self, x): self.x = x
    def far(self): return math.hypot(self.x, factor)
factor = 4
point = Point(3)
"""


def run(code: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(code, namespace)
    return namespace


@pytest.fixture(autouse=True)
def around(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What runs and is open in this process whatever is tested."""
    before = {one["name"] for one in standing.standing()}
    monkeypatch.setattr(aside, "standing", lambda: [one for one in standing.standing() if one["name"] not in before])
    return before


def more(before: set[str]) -> set[str]:
    return {one["name"] for one in standing.standing()} - before


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "variables"


def named(report: dict[str, Any]) -> dict[str, str]:
    assert not report["ok"]
    return {one["name"]: one["why"] for one in report["left"]}


def test_all_of_it_comes_back_and_the_file_stays(path: Path) -> None:
    done = aside.out(path, 0, run(NOTEBOOK))
    content = path.read_bytes()
    assert (done["ok"], done["size_bytes"]) == (True, len(content))
    assert done["sha256"] == hashlib.sha256(content).hexdigest()
    assert path.stat().st_mode & 0o777 == 0o600
    after: dict[str, Any] = {"__name__": "__main__"}
    assert aside.back(path, after)["left"] == []
    assert after["alias"] is after["data"] is after["nested"]["data"] is after["__hidden"][0]
    assert after["_private"] == 1
    assert after["point"].far() == 5.0
    assert {"_", "_i5", "_12", "__", "_oh"}.isdisjoint(after), "the history's own"
    assert path.read_bytes() == content


def test_arrays_are_as_they_were(path: Path) -> None:
    before = run("import numpy as np\nlarge = np.arange(1_000_000.0)\nsame = large\nsmall = np.eye(3, dtype='f4')")
    assert aside.out(path, 0, before)["ok"]
    after: dict[str, Any] = {}
    aside.back(path, after)
    assert (after["large"] == before["large"]).all()
    assert after["same"] is after["large"]
    assert after["small"].dtype == before["small"].dtype
    after["large"][0] = 7.0


def test_nothing_is_written_when_something_is_in_the_way_and_all_of_it_is_named(path: Path) -> None:
    before = run(
        "import threading\ndata = [1]\ngenerator = (i for i in data)\nlog = open('/dev/null')\n_lock = threading.Lock()"
    )
    why = named(aside.out(path, 0, before))
    assert set(why) == {"generator", "log", "_lock"}
    assert "generator" in why["generator"]
    assert not path.exists()
    assert next(before["generator"]) == 1, "it is as it was"
    before["log"].close()


def test_what_would_come_back_otherwise_is_in_the_way_too(path: Path, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    mapped = numpy.memmap(tmp_path / "on-disk", dtype="u1", mode="w+", shape=(10,))
    why = named(aside.out(path, 0, {"mapped": mapped}))
    assert "mapped to memory" in why["mapped"]
    assert f"the file {tmp_path / 'on-disk'}" in why
    del mapped
    made = types.ModuleType("made_up_here")
    sys.modules["made_up_here"] = made
    try:
        assert set(named(aside.out(path, 0, {"made": made}))) == {"made"}
    finally:
        del sys.modules["made_up_here"]


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("view = large[10:]", {"view"}),
        ("holder = [large[:10], large[5:20]]", {"holder", "large"}),
        ("backward = large[::-1]", {"large"}),
        ("apart = large[:10].copy(); shape = apart", set()),
        ("apart = large[:10].copy().reshape(2, 5)", set()),
        ("large.flags.writeable = False; view = large[3:]", set()),
    ],
)
def test_arrays_that_share_memory_are_not_torn_apart(path: Path, code: str, names: set[str]) -> None:
    pytest.importorskip("numpy")
    done = aside.out(path, 0, run(f"import numpy as np\nlarge = np.arange(1000.0)\n{code}"))
    if not names:
        assert done["ok"]
        return
    why = named(done)
    assert why.keys() <= names
    assert all("shares memory" in said for said in why.values())


def test_random_numbers_go_on(path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    random.seed(7)
    numpy.random.seed(7)
    random.gauss(0, 1)
    numpy.random.normal()
    aside.out(path, 0, {})
    expected = [random.gauss(0, 1), random.random(), numpy.random.normal(), numpy.random.random()]
    random.seed(1)
    numpy.random.seed(1)
    aside.back(path, {})
    assert [random.gauss(0, 1), random.random(), numpy.random.normal(), numpy.random.random()] == expected


def test_threads_tasks_and_files_are_named(tmp_path: Path, around: set[str]) -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="downloads")
    with (tmp_path / "log.txt").open("w"):
        thread.start()
        try:
            found = more(around)
        finally:
            end.set()
            thread.join()
    assert found == {"the thread downloads", f"the file {tmp_path / 'log.txt'}"}

    async def poll() -> None:
        await asyncio.sleep(60)

    async def main() -> set[str]:
        task = asyncio.ensure_future(poll())
        await asyncio.sleep(0)
        found = more(around)
        task.cancel()
        return found

    assert any("poll" in name for name in asyncio.run(main()))


def test_a_file_that_is_only_read_is_in_nobodys_way(tmp_path: Path, around: set[str]) -> None:
    (tmp_path / "data.txt").write_text("x")
    with (tmp_path / "data.txt").open():
        assert more(around) == set()


def test_a_disk_without_room_is_left_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = aside.out(path, 2**62, run(NOTEBOOK))
    assert not done["ok"]
    assert "No space left" in done["error"]
    assert not path.exists()

    def full(descriptor: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", full)
    assert os.strerror(errno.EDQUOT) in aside.out(path, 0, run(NOTEBOOK))["error"]
    assert not path.exists()


def test_a_file_that_cannot_be_read_stays_and_is_named(path: Path) -> None:
    aside.out(path, 0, run(NOTEBOOK))
    content = path.read_bytes()
    path.write_bytes(content[:-1000])
    after: dict[str, Any] = {}
    assert aside.back(path, after)["error"]
    assert after == {}
    assert path.exists()


def test_what_one_variable_needs_takes_no_other_with_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("gone_later")
    exec("class Thing: pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "gone_later", module)
    assert aside.out(path, 0, {"thing": module.Thing(), "data": [1]})["ok"]
    monkeypatch.delitem(sys.modules, "gone_later")
    after: dict[str, Any] = {}
    assert [one["name"] for one in aside.back(path, after)["left"]] == ["thing"]
    assert after == {"data": [1]}
    assert path.exists()


def test_the_environment_that_a_cell_has_set_comes_along(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SETTING", "on")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
    aside.out(path, 0, {})
    monkeypatch.delenv("MY_SETTING")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-2")
    aside.back(path, {})
    assert os.environ["MY_SETTING"] == "on"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-2", "where it is now is not for the file to say"
