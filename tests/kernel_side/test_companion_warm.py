"""A companion that is kept for the next cell: what it has already, and what it does not keep."""

from __future__ import annotations

import os

import pytest
from companion_kernel import Kernel

from server_process import eventually


def test_a_large_array_goes_once_in_five_cells(kernel: Kernel) -> None:
    size = 50_000_000
    kernel.run(f"from array import array\nbig = array('d', bytes({size})); seen = []")
    for number in range(5):
        ran = kernel.run(f"%%gpu 10GB --warm 60s\nseen.append(len(big) + {number})")
        assert ran.status == "ok", ran.error
    sent = int(kernel.value("_cells._warm.companion.sent_bytes"))
    assert size < sent < size + 100_000
    assert kernel.value("len(seen), _log.count('held')") == "(5, 1)"


def test_a_warm_companion_has_what_the_notebook_has_now_and_no_more(kernel: Kernel) -> None:
    kernel.run("a = [1]; b = 2")
    kernel.run("%%gpu 10GB --warm 60s\nimport os\nc = a + [b]; there = os.getpid()")
    kernel.run("a.append(5); del b, c")
    ran = kernel.run("%%gpu 10GB --warm 60s\nimport os\nprint(a, there == os.getpid())\nc")
    assert ran.text == "[1, 5] True\n"
    assert ran.error.startswith("NameError"), "a name that the notebook has deleted is not there either"
    kernel.run("_cells.cool()")
    assert kernel.value("_log[-1]") == "released"
    with pytest.raises(ProcessLookupError):
        os.kill(int(kernel.value("there")), 0)


def test_what_was_not_to_come_back_is_not_there_in_the_next_cell_either(kernel: Kernel) -> None:
    kernel.run("data, deep, model = [1, 2], {'in': [1]}, 0; opened = [1]")
    kernel.run("%%gpu 10GB --warm 60s -o model\ndata.append(3); deep['in'].append(2); model = sum(data)")
    assert kernel.value("data, deep, model") == "([1, 2], {'in': [1]}, 6)"
    ran = kernel.run("%%gpu 10GB --warm 60s\nprint(data, deep)\nopened.append(open('kept', 'w'))")
    assert ran.text == "[1, 2] {'in': [1]}\n"
    assert any("opened" in text for text in ran.shown)
    assert kernel.run("%%gpu 10GB --warm 60s\ndata.append(7); print(opened)").text == "[1]\n"
    assert kernel.value("data, deep, opened, _log.count('held')") == "([1, 2, 7], {'in': [1]}, [1], 1)"


def test_a_cell_that_is_refused_leaves_a_warm_companion_as_it_is(kernel: Kernel) -> None:
    kernel.run("data = [[1], [2]]; lines = (n for n in [1])")
    kernel.run("%%gpu 10GB --warm 60s\nsame = data[0]")
    kernel.run("del data[1]")
    for _ in range(3):
        assert "`lines`" in kernel.run("%%gpu 10GB --warm 60s\nlines, data").error
    kernel.run("import threading")
    timers = "[one.is_alive() for one in threading.enumerate() if isinstance(one, threading.Timer)]"
    assert kernel.value(timers) == "[True]", "nor is it looked after several times"
    ran = kernel.run("%%gpu 10GB --warm 60s\nprint(data, same is data[0])")
    assert ran.text == "[[1]] True\n"
    assert kernel.value("_log.count('held'), _log.count('released')") == "(1, 0)"


def test_a_warm_companion_ends_when_its_time_is_over(kernel: Kernel) -> None:
    kernel.run("%%gpu 10GB --warm 1s\nimport os\nthere = os.getpid()")
    pid = int(kernel.value("there"))
    eventually(lambda: kernel.value("_log[-1]") == "released")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_companion_that_has_no_memory_for_what_comes_ends_the_cell(kernel: Kernel) -> None:
    kernel.run(
        "%%gpu 10GB --warm 60s\nimport resource\nnow = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (now + 40_000_000, resource.RLIM_INFINITY))"
    )
    kernel.run("from array import array\nbig = array('d', bytes(200_000_000))")
    assert "was killed" in kernel.run("%%gpu 10GB\nlen(big)").error
    assert kernel.value("len(big), _log[-1]") == "(25000000, 'released')"
    kernel.run("del big")


def test_stop_in_the_middle_of_what_it_prints_garbles_nothing(kernel: Kernel) -> None:
    loud = "%%gpu 10GB --warm 60s\nprint('on')\nwhile True:\n    print('x' * 1000)"
    for _ in range(5):
        ran = kernel.run(loud, at="on\nx", then=kernel.manager.interrupt_kernel)
        assert ran.error.startswith("KeyboardInterrupt"), ran.error
        assert set(ran.text.replace("on\n", "").split("\n")) <= {"x" * 1000, "", *("x" * n for n in range(1000))}
    assert kernel.run("%%gpu 10GB --warm 60s\nprint('usable')").text == "usable\n"
    assert kernel.value("_log.count('held')") == "1"
