"""How a companion ends: killed, with its kernel, or as its share is taken away; and what of its cell stays."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from companion_kernel import Kernel, alive

from server_process import eventually


def test_a_warm_companion_ends_when_its_share_is_taken_away(kernel: Kernel) -> None:
    with taking_away(kernel) as take:
        kernel.run("%%gpu 10GB --warm 5min\nimport os\nthere = os.getpid()")
        assert kernel.value("_log[-1]") == "held"
        take()
        eventually(lambda: kernel.value("_log[-1]") == "released")
        assert not alive(int(kernel.value("there")))


def test_a_cell_is_stopped_when_its_share_is_taken_away(kernel: Kernel) -> None:
    kernel.run("data = []")
    with taking_away(kernel) as take:
        ran = kernel.run("%%gpu 10GB\nimport time\ndata.append(1)\nprint('on')\ntime.sleep(60)", at="on", then=take)
    assert ran.error.startswith("KeyboardInterrupt")
    assert any("went back while the cell ran" in text and "lease has ended" in text for text in ran.shown)
    assert kernel.value("data, _log[-1]") == "([1], 'released')", "what it has computed so far stays"


def test_what_a_stopped_cell_has_computed_comes_however_long_that_takes(kernel: Kernel) -> None:
    kernel.run("import swangpu.kernel_side.cells as _module; _module.GRACE_S = 1.0")
    kernel.run(
        "data = []\nclass Slow:\n    def __reduce__(self):\n        import time\n        time.sleep(3)\n"
        "        return Slow, ()"
    )
    with taking_away(kernel) as take:
        cell = "%%gpu 10GB\nimport time\ndata.append(1)\nslow = Slow()\nprint('on')\ntime.sleep(60)"
        ran = kernel.run(cell, at="on", then=take)
    kernel.run("_module.GRACE_S = 10.0")
    assert ran.error.startswith("KeyboardInterrupt")
    assert kernel.value("data, type(slow).__name__") == "([1], 'Slow')"


@contextlib.contextmanager
def taking_away(kernel: Kernel) -> Iterator[Callable[[], None]]:
    """The share goes to somebody else, and that is looked for more often."""
    taken = Path(kernel.value("_os.getcwd()")) / "taken"
    kernel.run("import swangpu.kernel_side.cells as _module; _look_s, _module.LOOK_S = _module.LOOK_S, 0.1")
    try:
        yield taken.touch
    finally:
        taken.unlink()
        kernel.run("_module.LOOK_S = _look_s")


def test_a_companion_that_is_killed_takes_nothing_of_the_notebook_with_it(kernel: Kernel) -> None:
    kernel.run("data = [1]; number = 1")
    ran = kernel.run("%%gpu 10GB --warm 60s\nimport os, signal\ndata.append(2); number = 2\nos.kill(os.getpid(), 9)")
    assert ran.status == "error"
    assert "was killed in the middle of the cell" in ran.error
    assert "memory" in ran.error
    assert kernel.value("data, number, _log[-1]") == "([1], 1, 'released')"
    left = kernel.run(
        "%%gpu 10GB\nimport os\ndata.append(3)\nif os.fork() == 0:\n    import time; time.sleep(60)\nos._exit(1)"
    )
    assert "has ended in the middle of the cell" in left.error, "although a child of it has its sockets"
    assert kernel.value("data") == "[1]"


@pytest.mark.parametrize(
    ("cell", "word"),
    [("1 / len(big[:0])", "ZeroDivision"), ("import os; big; os._exit(3)", "CellLost"), ("big, no", "CellNotRun")],
)
def test_an_error_does_not_keep_what_the_notebook_deletes(kernel: Kernel, cell: str, word: str) -> None:
    kernel.run("import gc, weakref\nfrom array import array\nbig = array('d', bytes(800_000)); ref = weakref.ref(big)")
    kernel.run("no = (n for n in [1])")
    assert kernel.run(f"%%gpu 10GB\n{cell}").error.startswith(word)
    kernel.run("del big; gc.collect()")
    assert kernel.value("ref() is None") == "True"


def test_what_a_killed_companion_has_started_ends_too(kernel: Kernel) -> None:
    ran = kernel.run(
        "%%gpu 10GB\nimport os, subprocess, time\nprint(subprocess.Popen(['sleep', '60']).pid, flush=True)\n"
        "time.sleep(0.2)\nos.kill(os.getpid(), 9)"
    )
    assert "was killed" in ran.error
    eventually(lambda: not alive(int(ran.text)))


def test_the_companion_ends_with_its_kernel(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    try:
        kernel.run("%%gpu 10GB --warm 60s\nimport os, subprocess, sys\nthere = os.getpid()")
        kernel.run("import sys")
        child = "%%gpu 10GB --warm 60s\nimport subprocess, sys\nchild = subprocess.Popen(['sleep', '600']).pid"
        kernel.run(child)
        pids = [int(kernel.value(name)) for name in ("there", "child")]
        os.kill(int(kernel.value("os.getpid()")), signal.SIGKILL)
        eventually(lambda: not [pid for pid in pids if alive(pid)])
    finally:
        kernel.close()
