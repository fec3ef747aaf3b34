"""``%%gpu`` cells in a real kernel with a real companion; only the share that they hold is made up."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from queue import Empty

import pytest
from companion_kernel import Kernel


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
