"""``%%gpu --profile`` and ``%gpu profile on`` on a real server: cells that sleep, compute and allocate differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest

from live_kernel import LiveKernel as Notebook
from server_process import ServerProcess, eventually
from system.driving import Cell, LiveKernel, all_given_back, live_sessions

WHOLE = "a100-40gb"
SLEEP = "import time; time.sleep(6)"
COMPUTE = "import time\nend = time.time() + 6\nwhile time.time() < end: sum(range(1000))"
SAY = "import json, swangpu; print(json.dumps(swangpu.last_profile(20)))"

#: a module whose allocator takes four times what it is asked for, as a framework's may
TORCH = """
class cuda:
    held, now, peak = [], 0, 0
    is_initialized = staticmethod(lambda: bool(cuda.held) or cuda.peak > 0)
    device_count = staticmethod(lambda: 1)
    max_memory_allocated = staticmethod(lambda device=0: cuda.peak)

    @staticmethod
    def reset_peak_memory_stats(device=0):
        cuda.peak = cuda.now

    @staticmethod
    def need(size):
        cuda.held.append(b"1" * (4 * size))  # written to, so that it is really there
        cuda.now += size
        cuda.peak = max(cuda.peak, cuda.now)

    @staticmethod
    def free():
        cuda.now = 0  # the memory stays reserved
"""


@pytest.fixture
def kernel(live: ServerProcess) -> Iterator[LiveKernel]:
    (live.home / "torch.py").write_text(TORCH)
    one = LiveKernel(live)
    yield one
    one.close()
    all_given_back(live)


def final(kernel: LiveKernel, cell: Cell, word: str) -> str:
    """The cell's line as it stands in the notebook in the end, once ``word`` is in it."""
    assert cell.status == "ok", cell.all
    text = cell.all
    while word not in text:
        try:
            message = kernel.client.get_iopub_msg(timeout=20)
        except Empty:
            raise AssertionError(f"{word!r} did not come: {text}") from None
        if message["msg_type"] == "update_display_data":
            text = message["content"]["data"]["text/plain"]
    return text


def profile(kernel: LiveKernel, code: str = SAY) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kernel.run(code).text)
    return found


def test_cells_that_sleep_compute_and_allocate_differ(live: ServerProcess, kernel: LiveKernel) -> None:
    none = kernel.run("%%gpu --profile\n1")
    assert "on no GPU" in none.all
    kernel.run(f"%gpu get {WHOLE}")
    session = live_sessions(live)[0]

    slept = final(kernel, kernel.run(f"%%gpu --profile\n{SLEEP}"), "idle")
    said = profile(kernel)
    assert "6.0 s" in slept
    assert said["busy_percent"] < 20
    assert said["verdict"]["code"] == "cell_idle"
    assert said["verdict"]["params"]["percent"] >= 80
    assert said["verdict"]["text"] in slept
    assert "simulated" in slept
    assert said["memory_source"] == "device"
    assert "the device's readings" in slept
    assert said["missing"] == {}

    computed = final(kernel, kernel.run(f"%%gpu --profile\n{COMPUTE}"), "% busy")
    busy = profile(kernel)
    assert busy["busy_percent_min"] <= busy["busy_percent"] <= busy["busy_percent_max"]
    assert busy["busy_percent"] > said["busy_percent_max"] + 20
    assert busy["energy_mj"] > said["energy_mj"] > 0
    assert "idle" not in computed

    kernel.run(f"import sys; sys.path.insert(0, {str(live.home)!r})")
    need = f"%%gpu --profile\nimport torch\ntorch.cuda.need(10**8)\n{SLEEP}\ntorch.cuda.free()"
    allocated = final(kernel, kernel.run(need), "idle")
    torch = profile(kernel)
    assert (torch["memory_peak_bytes"], torch["memory_source"], torch["allocators"]) == (10**8, "allocator", ["torch"])
    assert "100 MB (torch's own count)" in allocated
    past = live.call("GET", "/history", params={"session": session["id"]}).json()
    assert max(m for m in past["memory_used_bytes_max"] if m) > 4 * 10**8, "the device sees what is reserved"
    kernel.run("%%gpu --profile\ntorch.cuda.need(10**7)")
    assert profile(kernel)["memory_peak_bytes"] == 10**7, "a cell's peak is its own"

    kept = live.call("GET", f"/sessions/{session['id']}/profiles").json()["items"]
    assert [one["memory_source"] for one in kept] == ["device", "device", "allocator", "allocator"]
    assert {**kept[1], "kernel_id": None} == {**busy, "kernel_id": None}
    assert kept[0]["kernel_id"] == kernel.id
    kernel.run("%gpu release --drop")


def test_short_cells_failing_cells_and_cells_without_a_gpu(live: ServerProcess, kernel: LiveKernel) -> None:
    assert "on none" in kernel.run("%gpu profile on").all
    assert kernel.run("1").shown == [{"text/plain": "1"}]
    kernel.run(f"%gpu get {WHOLE}")
    final(kernel, kernel.run("2"), "shorter than a reading")
    short = profile(kernel, f"%gpu profile off\n{SAY}")
    assert set(short["missing"].values()) == {"too_short"}
    assert short["busy_percent"] is None
    assert short["verdict"] is None
    assert [data.get("text/plain") for data in kernel.run("3").shown] == ["3"]
    path = f"/sessions/{live_sessions(live)[0]['id']}/profiles"
    eventually(lambda: len(live.call("GET", path).json()["items"]) == 2, 10)
    failed = kernel.run("%%gpu --profile\n1 / 0")
    assert failed.error.startswith("ZeroDivisionError")
    assert "ms" in failed.shown[-1]["text/plain"]
    assert "not profiled" in kernel.run("%gpu profile").all
    kernel.run("%gpu release")


def test_a_cell_that_gets_its_gpu_for_itself(live: ServerProcess, kernel: LiveKernel) -> None:
    cell = kernel.run(f"%%gpu t4/time-4 --profile\n{SLEEP}")
    text = final(kernel, cell, "energy: others share this GPU")
    said = profile(kernel)
    assert said["shared"] is True
    assert said["missing"] == {"energy_mj": "shared"}
    assert said["memory_source"] == "processes"
    assert said["verdict"] is None, "others may have kept the device busy"
    assert "the readings of its processes" in text


def test_a_slice_of_which_the_driver_does_not_tell(live: ServerProcess, kernel: LiveKernel) -> None:
    text = final(kernel, kernel.run(f"%%gpu a100-40gb/1g.5gb --profile\n{SLEEP}"), "not available on this slice")
    said = profile(kernel)
    assert said["busy_percent"] is None
    assert said["missing"]["busy_percent"] == "not_supported"
    assert said["memory_peak_bytes"] > 0
    assert "idle" not in text


@pytest.mark.slow
def test_a_python_that_has_nothing_of_ours(live: ServerProcess, bare_python: str) -> None:
    spec = live.home / ".local" / "share" / "jupyter" / "kernels" / "profiled"
    spec.mkdir(parents=True)
    argv = [bare_python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Bare", "language": "python"}))
    kernel = LiveKernel(live, "profiled")
    try:
        assert "[]" in kernel.run("import importlib.util as u; print([n for n in ('swangpu',) if u.find_spec(n)])").text
        kernel.run(f"%gpu get {WHOLE}")
        final(kernel, kernel.run(f"%%gpu --profile\n{SLEEP}"), "idle")
        kernel.run("%gpu release")
    finally:
        kernel.close()
    all_given_back(live)


def test_profiles_survive_a_restart_of_the_server(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path).start()
    try:
        kernel = LiveKernel(server)
        kernel.run(f"%gpu get {WHOLE}")
        final(kernel, kernel.run("%%gpu --profile\n1"), "shorter than a reading")
        path = f"/sessions/{live_sessions(server)[0]['id']}/profiles"
        before = server.call("GET", path).json()["items"]
        kernel.client.stop_channels()
        server.kill()
        server.start()
        assert len(before) == 1
        assert eventually(lambda: server.call("GET", path).json()["items"]) == before
    finally:
        server.stop()
        server.kill_agents()


def test_a_smaller_share_is_advised_after_three_runs(live: ServerProcess) -> None:
    notebook = Notebook(live, "fit.ipynb")
    session = live.call("POST", "/sessions", {"flavor": WHOLE}).json()
    answer = live.call("POST", f"/sessions/{session['id']}/attach", {"path": "fit.ipynb", "carry": "none"})
    assert answer.status_code == 200, answer.text

    def advice(**query: Any) -> dict[str, Any] | None:
        found: dict[str, Any] | None = live.call("GET", "/offers", params=query).json()["advice"]
        return found

    try:
        for run, peak in enumerate((3.1e9, 2.0e9, 2.5e9)):
            assert advice(path="fit.ipynb", memory_bytes=30e9) is None, f"after {run} runs nothing is certain"
            ended_at = live.call("GET", "/offers").json()["as_of"]
            cell = {"started_at": ended_at - 0.5, "ended_at": ended_at, "run_id": f"r{run}", "kernel_id": notebook.id}
            cell |= {
                "every_cell": True,
                "allocators": ["torch"],
                "allocator_peak_bytes": 1,
                "run_peak_bytes": int(peak),
            }
            answer = live.call("POST", f"/sessions/{session['id']}/profiles", cell)
            assert answer.status_code == 200, answer.text
            assert answer.json()["path"] == "fit.ipynb"
        said = advice(path="fit.ipynb", memory_bytes=30e9)
        assert said is not None
        assert said["code"] == "smaller_fits"
        assert said["params"]["flavor"] == "a100-40gb/1g.5gb"
        assert said["text"].startswith("The last 3 profiled runs of fit.ipynb peaked at 3.1 GB: ")
        assert advice(kernel_id=notebook.id) == said
        assert advice(path="fit.ipynb", flavor=WHOLE) == said
        assert advice(path="fit.ipynb", memory_bytes=4e9) is None, "it asks for no more than that"
        assert advice(path="other.ipynb", memory_bytes=30e9) is None
        assert said["text"] in notebook.run("%gpu")
    finally:
        live.call("DELETE", f"/sessions/{session['id']}?undo=false")
    all_given_back(live)
    assert "peaked at 3.1 GB" in notebook.run("%gpu get 30GB")
    notebook.run("%gpu release --drop")
    all_given_back(live)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"ended_at": 1.0}, 400, "bad_times"),
        ({"ended_at": 9e10}, 400, "bad_times"),
        ({"run_id": ""}, 400, None),
        ({"busy_percent": 3}, 400, "unknown_field"),
    ],
)
def test_what_cannot_have_been_is_refused(
    live: ServerProcess, change: dict[str, Any], status: int, code: str | None
) -> None:
    session = live.call("POST", "/sessions", {"flavor": WHOLE}).json()
    try:
        now = session["created_at"]
        cell = {"started_at": now - 1, "ended_at": now, "run_id": "r", **change}
        answer = live.call("POST", f"/sessions/{session['id']}/profiles", cell)
        assert answer.status_code == status, answer.text
        assert code is None or answer.json()["code"] == code
        if "ended_at" in change:
            unheld = live.call("POST", f"/sessions/{session['id']}/look", {})
            assert (unheld.status_code, unheld.json()["code"]) == (409, "not_active")
    finally:
        live.call("DELETE", f"/sessions/{session['id']}?undo=false")
