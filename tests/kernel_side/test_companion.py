"""``%%gpu`` cells in a real kernel with a real companion; only the share that they hold is made up."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from jupyter_client import KernelManager

import swangpu
from readiness import wait_until_ready
from server_process import eventually

#: in the kernel: a share that is there at once, and notes of what became of it
SETUP = """
import os as _os
from swangpu.kernel_side import hold as _hold, magics as _magics

_log = []

class _Held:
    guard_fd = None
    held_since = 0.0
    environment = {"CUDA_VISIBLE_DEVICES": "GPU-made-up", "GONE": None}

    def __init__(self, api, session, in_place=True):
        self.session = session
        _log.append("held")

    def refresh(self):
        if _os.path.exists("taken"):
            self.session = {**self.session, "state": "ended", "end_reason": "expired"}
        return self.session

    def release(self):
        _log.append("released")

class _Api:
    def sessions(self):
        return []

def _request(api, wanted):
    _log.append(wanted)
    return {"id": "s1", "state": "active", "title": "T4", "memory_bytes": 1e12, "flavor": "t4", "pool": "local"}

_hold.Holding, _hold.request, _hold.wait = _Held, _request, lambda api, session, tell: session
_magics.find = _Api
_magics.load_ipython_extension(get_ipython())
_cells = get_ipython().magics_manager.registry["GpuMagics"].cells
"""


@dataclass
class Ran:
    """One cell: its messages as they came, and what they come to."""

    status: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [one["content"] for one in self.messages if one["msg_type"] == kind]

    @property
    def text(self) -> str:
        return "".join(one["text"] for one in self.of("stream"))

    @property
    def error(self) -> str:
        return "".join(f"{one['ename']}: {one['evalue']}" for one in self.of("error"))

    @property
    def shown(self) -> list[str]:
        return [one["data"]["text/plain"] for one in self.of("display_data")]


class Kernel:
    def __init__(self, folder: Path, **more: str) -> None:
        self.manager = KernelManager(kernel_name="python3")
        # an empty entry would be the working directory
        path = os.pathsep.join(filter(None, [str(Path(swangpu.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
        self.manager.start_kernel(env={**os.environ, "PYTHONPATH": path, "GONE": "no", **more}, cwd=str(folder))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        wait_until_ready(self.client, 60)
        assert self.run(SETUP).status == "ok"

    def run(self, code: str, at: str = "", then: Any = None) -> Ran:
        """Run a cell; once it has printed ``at``, do something."""
        ran = Ran()

        def hook(message: dict[str, Any]) -> None:
            nonlocal then
            ran.messages.append(message)
            if then is not None and at in ran.text:
                todo, then = then, None
                todo()

        reply = self.client.execute_interactive(code, timeout=60, output_hook=hook, allow_stdin=False)
        ran.status = reply["content"]["status"]
        return ran

    def value(self, expression: str) -> str:
        ran = self.run(f"print(({expression}))")
        assert ran.status == "ok", ran.error
        return ran.text.strip()

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    one = Kernel(tmp_path_factory.mktemp("kernel"))
    yield one
    one.close()


@pytest.fixture(autouse=True)
def no_companion_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "kernel" in request.fixturenames:
        kernel: Kernel = request.getfixturevalue("kernel")
        kernel.run("_cells.cool(); _log.clear()")


def test_a_cell_runs_in_another_process_and_leaves_the_notebook_as_if_it_had_run_here(kernel: Kernel) -> None:
    kernel.run(
        "data = [1]; alias = data; counts = {'a': data}\nclass Model:\n    def fit(self, d):\n        self.w = d"
    )
    kernel.run("model = Model(); gone = 1; scale = 3\ndef times(x):\n    return x * scale")
    ran = kernel.run(
        "%%gpu 10GB\nimport os\ndata.append(times(4)); counts['b'] = 2; model.fit(data); del gone\n"
        "new = [data, model]\nprint(os.getpid(), os.environ['CUDA_VISIBLE_DEVICES'], 'GONE' in os.environ, os.getcwd())"
    )
    assert ran.status == "ok", ran.error
    pid, device, gone, folder = ran.text.split()
    assert (device, gone) == ("GPU-made-up", "False")
    assert kernel.value("os.getcwd()") == folder
    assert kernel.value("os.getpid() == " + pid) == "False"
    assert kernel.value("os.environ.get('CUDA_VISIBLE_DEVICES'), os.environ['GONE']") == "(None, 'no')"
    assert kernel.value("alias, counts['a'] is data is alias is model.w is new[0], model is new[1]") == (
        "([1, 12], True, True)"
    )
    assert kernel.value("counts['b'], type(new[1]) is Model, 'gone' in dir()") == "(2, True, False)"
    assert kernel.value("[one if isinstance(one, str) else one['options']['pid'] for one in _log]") == (
        f"['{pid}', 'held', 'released']"
    ), "the server is told of the process that computes"
    assert any("Ran on T4" in text for text in ran.shown)


def test_what_a_cell_shows_comes_as_it_is_shown_and_in_its_order(kernel: Kernel) -> None:
    ran = kernel.run(
        "%%gpu 10GB\nimport sys\nfrom IPython.display import HTML, clear_output, display, update_display\n"
        "print('one'); print('two', file=sys.stderr); print('three')\n"
        "handle = display('first', display_id=True)\nprint('four'); handle.update('second')\n"
        "display(HTML('<b>bold</b>'), display_id='mine'); update_display('changed', display_id='mine')\n"
        "clear_output(wait=True)\n6 * 7"
    )
    assert ran.status == "ok", ran.error
    kinds = [one["msg_type"] for one in ran.messages if one["msg_type"] not in ("status", "execute_input")]
    assert kinds == [
        *("stream", "stream", "stream", "display_data", "stream", "update_display_data"),
        *("display_data", "update_display_data", "clear_output", "execute_result", "display_data"),
    ]
    assert [(one["name"], one["text"]) for one in ran.of("stream")] == [
        ("stdout", "one\n"),
        ("stderr", "two\n"),
        ("stdout", "three\n"),
        ("stdout", "four\n"),
    ]
    first, mine = ran.of("display_data")[:2]
    assert mine["data"]["text/html"] == "<b>bold</b>"
    assert mine["transient"] == {"display_id": "mine"}
    assert [one["transient"] for one in ran.of("update_display_data")] == [first["transient"], mine["transient"]]
    result = ran.of("execute_result")[0]
    assert result["data"]["text/plain"] == "42"
    assert kernel.value(f"Out[{result['execution_count']}], _") == "(42, 42)"
    later = kernel.run("handle.update('from the notebook')")
    assert later.of("update_display_data")[0]["transient"] == first["transient"]


def test_a_progress_bar_moves_while_the_cell_runs(kernel: Kernel) -> None:
    go = Path(kernel.value("os.getcwd()")) / "go"
    ran = kernel.run(
        "%%gpu 10GB\nimport os, sys, time\nsys.stderr.write('\\r 50%|#####'); sys.stderr.flush()\n"
        "while not os.path.exists('go'): time.sleep(0.01)\nsys.stderr.write('\\r100%|##########\\n')",
        at="50%",
        then=go.touch,
    )
    assert ran.status == "ok"
    assert ran.text == "\r 50%|#####\r100%|##########\n"


def test_commands_and_magics_that_are_the_same_there_work(kernel: Kernel) -> None:
    kernel.run("word = 'seen'\ndef f():\n    return 1")
    ran = kernel.run("%%gpu 10GB\n!echo $word\nlines = !printf 'a\\nb'\n%timeit -n1 -r1 f()\n%time y = f()")
    assert ran.status == "ok", ran.error
    assert "seen" in ran.text
    assert "loop" in ran.text
    assert kernel.value("list(lines), y") == "(['a', 'b'], 1)"


def test_an_exception_arrives_with_its_traceback_and_what_was_done_before_it(kernel: Kernel) -> None:
    kernel.run("data = []\ndef fails(x):\n    return 1 / x")
    ran = kernel.run("%%gpu 10GB\ndata.append(1)\nstep = 5\nfails(0)\nstep = 6")
    assert ran.status == "error"
    error = ran.of("error")[0]
    assert (error["ename"], error["evalue"]) == ("ZeroDivisionError", "division by zero")
    traceback = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error["traceback"]))
    assert "----> 4 fails(0)" in traceback, "the line has its number in the notebook's cell"
    assert "----> 3     return 1 / x" in traceback, "a function of the notebook is shown too"
    assert "kernel_side" not in traceback
    assert kernel.value("data, step") == "([1], 5)"
    kernel.run("%%gpu 10GB\ndef made(x):\n    return 1 / x")
    later = kernel.run("made(0)").of("error")[0]["traceback"]
    assert "return" in "".join(later), "and so is one of the cell, in the notebook"
    assert kernel.value("__import__('inspect').getsource(made)").startswith("def made(x):")
    wrong = kernel.run("%%gpu 10GB\nx = (")
    assert wrong.error.startswith("SyntaxError")
    assert kernel.run("%%gpu 10GB\nimport sys; sys.exit(3)").error == "SystemExit: 3"


def test_stop_ends_the_cell_and_nothing_else(kernel: Kernel) -> None:
    kernel.run("data = []")
    ran = kernel.run(
        "%%gpu 10GB --warm 60s\nimport time\ndata.append(1)\nprint('on')\ntime.sleep(60)\ndata.append(2)",
        at="on",
        then=kernel.manager.interrupt_kernel,
    )
    assert ran.error.startswith("KeyboardInterrupt")
    assert kernel.value("data") == "[1]"
    again = kernel.run("%%gpu 10GB --warm 60s\ndata.append(3)\nprint('usable')")
    assert again.text == "usable\n"
    assert kernel.value("data, _log.count('held')") == "([1, 3], 1)"


def test_who_presses_stop_again_and_again_is_heard(kernel: Kernel) -> None:
    stubborn = "%%gpu 10GB\nimport time\nwhile True:\n    try:\n        print('on')\n        time.sleep(60)\n"
    stubborn += "    except KeyboardInterrupt:\n        pass"

    def stop() -> None:
        for _ in range(3):
            kernel.manager.interrupt_kernel()
            time.sleep(0.2)  # signals that come together are one

    ran = kernel.run(stubborn, at="on", then=stop)
    assert "did not stop, so it was ended" in ran.error
    assert kernel.value("_log[-1]") == "released"


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


def test_what_cannot_be_sent_is_named_before_a_gpu_is_asked_for(kernel: Kernel) -> None:
    kernel.run("lines = (n for n in [1]); log = open('log', 'w'); good = 1\ndef use():\n    return log")
    for cell, words in (
        ("print(good, lines)", ["`lines`", "generator"]),
        ("x = [lines, log]", ["`lines`", "`log`", "open file"]),
        ("use()", ["`log`", "function of the notebook"]),
        ("%autoreload 2", ["`%autoreload`"]),
        ("await good", ["`await`"]),
        ("input('name')", ["`input()`"]),
    ):
        ran = kernel.run(f"%%gpu 10GB\nprint('ran')\n{cell}")
        assert ran.status == "error"
        assert all(word in ran.error for word in words), ran.error
        assert ran.text == ""
    assert kernel.value("_log") == "[]"
    ran = kernel.run("%%gpu 10GB\nlines = [n for n in [1, 2]]\nprint(lines)")
    assert (ran.status, ran.text) == ("ok", "[1, 2]\n"), "what it sets itself first is not sent"


def test_what_cannot_come_back_is_named_and_the_rest_comes(kernel: Kernel) -> None:
    kernel.run("kept = [1]; made = 0")
    ran = kernel.run("%%gpu 10GB\nmade = (n for n in [1]); kept.append(2); other = 3; (n for n in [2])")
    assert ran.status == "ok"
    assert any("made" in text and "generator" in text for text in ran.shown)
    assert kernel.value("made, kept, other") == "(0, [1, 2], 3)"
    kernel.run("import sys, types; types_there = None")
    ran = kernel.run(
        "%%gpu 10GB\nimport sys, types\nm = types.ModuleType('only_there'); sys.modules['only_there'] = m\n"
        "class Thing: pass\nThing.__module__ = 'only_there'; m.Thing = Thing\nthing = Thing(); fine = 4"
    )
    assert ran.status == "ok", ran.error
    assert any("thing" in text and "imported here" in text for text in ran.shown)
    assert kernel.value("fine, 'thing' in dir()") == "(4, False)"


def test_a_person_can_choose_what_goes_and_what_comes(kernel: Kernel) -> None:
    kernel.run("a, b, hidden = [1], [2], 5; conn = open('log', 'w')\ndef f():\n    return conn if False else 1")
    ran = kernel.run("%%gpu 10GB -i a,f -o r\na.append(f()); r = a; s = 1")
    assert ran.status == "ok", ran.error
    assert kernel.value("a, r, 's' in dir()") == "([1, 1], [1, 1], False)"
    ran = kernel.run("%%gpu 10GB -i a -o r\na.append(9)")
    assert any("r" in text and "did not set it" in text for text in ran.shown)
    assert kernel.value("a") == "[1, 1]"
    ran = kernel.run("%%gpu 10GB -o a\nif False:\n    del a")
    assert any("a" in text and "did not set it" in text for text in ran.shown)
    assert kernel.value("a") == "[1, 1]", "a cell that may delete it has not"
    kernel.run("b = 1")
    kernel.run("%%gpu 10GB -o b\ndel b")
    assert kernel.value("'b' in dir()") == "False"
    assert "no variable `nosuch`" in kernel.run("%%gpu 10GB -i nosuch\n1").error
    ran = kernel.run("%%gpu 10GB\nprint(eval('hid' + 'den'))")
    assert ran.error.startswith("NameError")
    assert any("`hidden` is in the notebook" in text and "-i hidden" in text for text in ran.shown)
    assert kernel.run("%%gpu 10GB -i hidden\nprint(eval('hid' + 'den'))").text == "5\n"


def test_input_and_widgets_of_a_library_are_refused_by_name(kernel: Kernel) -> None:
    kernel.run("def ask():\n    return __builtins__.input('name')")
    assert "can't ask with `input()`" in kernel.run("%%gpu 10GB\nask()").error
    pytest.importorskip("ipywidgets")
    assert "can't make widgets" in kernel.run("%%gpu 10GB\nimport ipywidgets\nipywidgets.IntSlider()").error
    kernel.run("import ipywidgets; slider = ipywidgets.IntSlider(); box = [slider]")
    ran = kernel.run("%%gpu 10GB\nbox[0].value")
    assert "`box`" in ran.error
    assert "a widget lives in this notebook's page" in ran.error


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


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        # one that nobody waits for is gone all the same
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return (
            subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False).stdout[:1] != b"Z"
        )


def test_files_beside_the_notebook_do_not_stand_for_pythons_own(tmp_path: Path) -> None:
    for name in ("queue", "select", "json"):
        (tmp_path / f"{name}.py").write_text("mine = True")
    (tmp_path / "ours.py").write_text("mine = True")
    kernel = Kernel(tmp_path)
    try:
        ran = kernel.run("%%gpu 10GB\nimport ours, queue\nprint(ours.mine, hasattr(queue, 'mine'))")
        assert (ran.error, ran.text) == ("", "True False\n")
    finally:
        kernel.close()


def test_a_companion_that_has_no_memory_for_what_comes_ends_the_cell(kernel: Kernel) -> None:
    kernel.run(
        "%%gpu 10GB --warm 60s\nimport resource\nnow = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (now + 40_000_000, resource.RLIM_INFINITY))"
    )
    kernel.run("from array import array\nbig = array('d', bytes(200_000_000))")
    assert "was killed" in kernel.run("%%gpu 10GB\nlen(big)").error
    assert kernel.value("len(big), _log[-1]") == "(25000000, 'released')"
    kernel.run("del big")


def test_nothing_of_the_talk_can_be_seen_from_outside(kernel: Kernel) -> None:
    kernel.run("secret = 'hush'")
    ran = kernel.run(
        "%%gpu 10GB\nimport os, sys\nsecret; print(open('/proc/self/cmdline').read()); print(sys.stdin.read())"
    )
    if sys.platform != "linux":
        pytest.skip("there is no /proc")
    assert "hush" not in ran.text
    assert "token" not in ran.text


def test_figures_come_inline_and_once(kernel: Kernel) -> None:
    pytest.importorskip("matplotlib")
    ran = kernel.run(
        "%%gpu 10GB\nimport matplotlib.pyplot as plt\nfig, ax = plt.subplots(); ax.plot([1, 2]);\nprint('drawn')"
    )
    assert ran.status == "ok", ran.error
    assert [list(one["data"])[-1] for one in ran.of("display_data") if "image/png" in one["data"]] == ["image/png"]
    assert kernel.value("type(fig).__name__") == "Figure"
    assert not kernel.run("1").of("display_data"), "it is not drawn again in the notebook"


def test_without_cloudpickle_what_the_notebook_defines_is_named(tmp_path: Path) -> None:
    (tmp_path / "cloudpickle.py").write_text("raise ImportError")
    kernel = Kernel(tmp_path, PYTHONSAFEPATH="")
    try:
        kernel.run("import sys; sys.path.insert(0, ''); sys.modules.pop('cloudpickle', None)")
        kernel.run("def f():\n    return 1\ndata = [1]")
        assert "install cloudpickle" in kernel.run("%%gpu 10GB\nf()").error
        ran = kernel.run("%%gpu 10GB\ndata.append(2)\ndef g():\n    return 1\nprint(g())")
        assert (ran.status, ran.text) == ("ok", "1\n")
        assert any("g" in text and "install cloudpickle" in text for text in ran.shown)
        assert kernel.value("data") == "[1, 2]"
    finally:
        kernel.close()


def test_a_kernel_leaves_no_message_behind(kernel: Kernel) -> None:
    with pytest.raises(Empty):
        kernel.client.get_iopub_msg(timeout=0.1)


def test_stop_in_the_middle_of_what_it_prints_garbles_nothing(kernel: Kernel) -> None:
    loud = "%%gpu 10GB --warm 60s\nprint('on')\nwhile True:\n    print('x' * 1000)"
    for _ in range(5):
        ran = kernel.run(loud, at="on\nx", then=kernel.manager.interrupt_kernel)
        assert ran.error.startswith("KeyboardInterrupt"), ran.error
        assert set(ran.text.replace("on\n", "").split("\n")) <= {"x" * 1000, "", *("x" * n for n in range(1000))}
    assert kernel.run("%%gpu 10GB --warm 60s\nprint('usable')").text == "usable\n"
    assert kernel.value("_log.count('held')") == "1"
