"""See, get, compute, give back: the same job by ``%gpu``, the Python API and REST (``swangpu run``: test_run.py)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from server_process import ServerProcess, eventually
from system.driving import DEVICES, FLAVOR, LiveKernel, all_given_back, free, live_sessions


@pytest.fixture
def kernel(live: ServerProcess) -> Iterator[LiveKernel]:
    one = LiveKernel(live)
    yield one
    one.close()


# -- %gpu --------------------------------------------------------------------------------------------------------


def do_the_job(live: ServerProcess, kernel: LiveKernel) -> None:
    before = free(live)
    looked = kernel.run("%gpu")
    assert "No GPU" in looked.all
    assert "Free now" in looked.all
    assert "simulated" in looked.all
    assert "<table" in looked.shown[0]["text/html"]

    kernel.run("kept = [1, 2]; generator = (i for i in kept)")
    got = kernel.run(f"%gpu get {FLAVOR} --for 1h")
    assert "This kernel is on" in got.all, got.all
    assert "No restart" in got.all
    session = live_sessions(live)[0]
    assert session["kernel_ids"] == [kernel.id]
    assert 3500 < session["ends"]["at"] - session["started_at"] <= 3600
    uuid = session["shares"][0]["mig_uuid"] or session["shares"][0]["device_uuid"]
    assert kernel.run(DEVICES).text.strip() == uuid
    assert free(live) == before - 1

    assert "this kernel" in kernel.run("%gpu mine").all
    assert "already" in kernel.run("%gpu get 4GB").all
    assert "Could be" in kernel.run("%gpu why").all
    extended = kernel.run("%gpu extend 30min")
    assert extended.status == "ok"
    assert live_sessions(live)[0]["ends"]["at"] > session["ends"]["at"] + 1700

    enough = live.home / f"enough-{kernel.id}"
    kernel.client.execute(f"while not os.path.exists({str(enough)!r}): sum(range(1000))")
    eventually(lambda: [percent for percent in history(live, session["id"]) if percent and percent > 20])
    enough.touch()

    assert "goes back" in kernel.run("%gpu release").all
    assert "yours again" in kernel.run("%gpu undo").all
    assert kernel.run(DEVICES).text.strip() == uuid
    assert "goes back" in kernel.run("%gpu release").all
    # the kernel goes on as it was: it came in place and left in place
    assert kernel.run("print(kept, next(generator))").text.strip() == "[1, 2] 1"
    assert kernel.run(DEVICES).text.strip() == "None"
    all_given_back(live)
    assert free(live) == before


def history(live: ServerProcess, session_id: str) -> list[float | None]:
    answer = live.call("GET", "/history", params={"session": session_id, "points": 60})
    found: list[float | None] = answer.json()["utilization_percent_max"]
    return found


def test_gpu_magic(live: ServerProcess, kernel: LiveKernel) -> None:
    do_the_job(live, kernel)


@pytest.mark.slow
def test_gpu_magic_in_a_python_that_has_nothing_of_ours(live: ServerProcess, bare_python: str) -> None:
    spec = live.home / ".local" / "share" / "jupyter" / "kernels" / "bare"
    spec.mkdir(parents=True)
    argv = [bare_python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Bare", "language": "python"}))
    kernel = LiveKernel(live, "bare")
    try:
        missing = "import importlib.util as u; print([n for n in ('swangpu', 'msgspec', 'httpx') if u.find_spec(n)])"
        assert kernel.run(missing).text.strip() == "[]"
        assert "live view needs anywidget" in watch_on(kernel)
        do_the_job(live, kernel)
        kernel.run("data = [1]; alias = data\ndef double(x):\n    return 2 * x")
        cell = kernel.run(f"%%gpu {FLAVOR}\ndata.append(2)\nprint(data)")
        assert (cell.status, cell.text) == ("ok", "[1, 2]\n"), cell.all
        assert kernel.run("print(alias)").text == "[1, 2]\n"
        assert "install cloudpickle" in kernel.run(f"%%gpu {FLAVOR}\ndouble(data)").error
    finally:
        kernel.close()
    all_given_back(live)


def watch_on(kernel: LiveKernel) -> str:
    kernel.run(f"%gpu get {FLAVOR}")
    seen = kernel.run("%gpu watch").all
    kernel.run("%gpu release")
    eventually(lambda: "None now" in kernel.run("%gpu mine").all)
    return seen


def test_watch_is_a_widget_where_anywidget_is(live: ServerProcess, kernel: LiveKernel) -> None:
    kernel.run(f"%gpu get {FLAVOR}")
    shown = kernel.run("%gpu watch").shown
    assert "application/vnd.jupyter.widget-view+json" in shown[0]
    kernel.run("%gpu release")
    all_given_back(live)


def test_a_kernel_that_has_used_cuda_is_restarted_with_its_variables(live: ServerProcess, kernel: LiveKernel) -> None:
    kernel.run("import swangpu_kernel.cuda as c; c.why_touched = lambda: 'CUDA has been used in this kernel'")
    kernel.run("data = [1]; same = data; lock = __import__('threading').Lock()")
    said = kernel.run(f"%gpu get {FLAVOR}")
    assert "has to restart" in said.all
    assert "lock" in said.all
    assert "--carry" in said.all
    assert not live_sessions(live), "nothing is asked for before the person has chosen"
    kernel.run(f"%gpu get {FLAVOR} --carry")
    eventually(lambda: live_sessions(live)[0]["kernel_ids"] == [kernel.id])
    assert kernel.after_restart().run("print(data is same)").text.strip() == "True"
    assert kernel.run(DEVICES).text.strip() != "None"
    assert "goes back" in kernel.run("%gpu release").all
    all_given_back(live)


def test_a_cell_holds_a_gpu_only_while_it_runs(live: ServerProcess, kernel: LiveKernel) -> None:
    before = free(live)
    cell = kernel.run(f"%%gpu {FLAVOR}\nimport os\nos.environ['CUDA_VISIBLE_DEVICES']")
    assert "GPU-" in cell.all or "MIG-" in cell.all
    assert "Ran on" in cell.all
    failed = kernel.run(f"%%gpu {FLAVOR}\n1 / 0")
    assert failed.status == "error"
    assert "ZeroDivisionError" in failed.error
    assert kernel.run(DEVICES).text.strip() == "None"
    all_given_back(live)
    kernel.run(f"%%gpu {FLAVOR} --warm 5min\npass")
    first = live_sessions(live)
    kernel.run(f"%%gpu {FLAVOR} --warm 5min\npass")
    assert [one["id"] for one in live_sessions(live)] == [one["id"] for one in first]
    kernel.close()
    all_given_back(live)
    assert free(live) == before


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("%gpu get 900GB", "largest"),
        ("%gpu get no/such", "no such flavor"),
        ("%gpu cluster get 4x10GB", "No pool here hosts"),
        ("%gpu get 10GB --on nowhere", "no such pool"),
        ("%gpu steal", "does not know"),
        ("%gpu release", "waits for none"),
        ("%gpu undo", "no release"),
        ("%gpu release zzz", "No session of yours"),
    ],
)
def test_what_cannot_be_is_one_sentence(live: ServerProcess, kernel: LiveKernel, line: str, word: str) -> None:
    cell = kernel.run(line)
    assert cell.status == "ok"
    assert word in cell.all
    assert "Traceback" not in cell.all
    assert not live_sessions(live)


def test_completion_in_a_kernel(kernel: LiveKernel) -> None:
    assert "extend" in kernel.complete("%gpu ext")
    assert FLAVOR in kernel.complete("%gpu get t4")


# -- Python and REST -----------------------------------------------------------------------------------------------

SCRIPT = """
import os, swangpu
assert any(o.flavor == "t4/time-4" and o.free for o in swangpu.offers(memory="4GB"))
with swangpu.session(flavor="t4/time-4", duration="1h") as session:
    assert session.state == "active" and session.simulated
    print(os.environ["CUDA_VISIBLE_DEVICES"])
    {body}
print(os.environ.get("CUDA_VISIBLE_DEVICES"))
"""


def python(live: ServerProcess, body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(body=body)],
        capture_output=True,
        text=True,
        env=live.environment(),
        check=False,
    )


def test_python_api(live: ServerProcess) -> None:
    done = python(live, "pass")
    assert done.returncode == 0, done.stderr
    inside, after = done.stdout.split()
    assert inside.startswith(("GPU-", "MIG-"))
    assert after == "None"
    all_given_back(live)


@pytest.mark.parametrize("body", ["raise ValueError('mine')", "os.kill(os.getpid(), 9)"])
def test_a_share_goes_back_however_a_script_ends(live: ServerProcess, body: str) -> None:
    done = python(live, body)
    assert done.returncode != 0
    all_given_back(live)


def test_rest(live: ServerProcess, kernel: LiveKernel) -> None:
    before = free(live)
    asked = live.call("POST", "/sessions", {"flavor": FLAVOR, "attach": {"kernel_id": kernel.id, "carry": "none"}})
    assert asked.status_code == 201
    session_id = asked.json()["id"]
    eventually(lambda: live.call("GET", f"/sessions/{session_id}").json()["kernel_ids"] == [kernel.id])
    session = live.call("GET", f"/sessions/{session_id}").json()
    uuid = session["shares"][0]["mig_uuid"] or session["shares"][0]["device_uuid"]
    assert kernel.after_restart().run(DEVICES).text.strip() == uuid
    assert free(live) == before - 1
    assert live.call("DELETE", f"/sessions/{session_id}").status_code == 200
    all_given_back(live)
    assert kernel.after_restart().run(DEVICES).text.strip() == "None"
    assert free(live) == before
