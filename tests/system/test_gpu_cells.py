"""``%%gpu`` cells on a real server with a real kernel: where they compute, and that their share goes back."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server_process import ServerProcess
from system.driving import DEVICES, FLAVOR, Cell, LiveKernel, all_given_back, free, live_sessions

WHOLE = "a100-40gb"
PROFILE = "import json, swangpu; print(json.dumps(swangpu.last_profile(20)))"


@pytest.fixture
def kernel(live: ServerProcess) -> Iterator[LiveKernel]:
    one = LiveKernel(live)
    yield one
    one.close()
    all_given_back(live)


def run_until(kernel: LiveKernel, code: str, at: str, then: Callable[[], object]) -> Cell:
    """Run a cell and do something once it has printed ``at``; it may not come to its end."""
    cell = Cell()
    asked = kernel.client.execute(code)
    while True:
        message = kernel.client.get_iopub_msg(timeout=60)
        if message["parent_header"].get("msg_id") != asked:
            continue
        content = message["content"]
        if message["msg_type"] == "stream":
            cell.text += content["text"]
            if at in content["text"]:
                then()
                if at == "last words":
                    return cell
        elif message["msg_type"] == "error":
            cell.error = f"{content['ename']}: {content['evalue']}"
        elif message["msg_type"] == "status" and content["execution_state"] == "idle":
            return cell


def gone(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def test_a_cell_computes_in_a_process_of_its_own(live: ServerProcess, kernel: LiveKernel) -> None:
    before = free(live)
    kernel.run("import os; data = [1]; alias = data")
    cell = kernel.run(f"%%gpu {FLAVOR}\ndata.append(os.getpid())\nprint(os.environ['CUDA_VISIBLE_DEVICES'])\nlen(data)")
    assert cell.status == "ok", cell.all
    assert cell.text.startswith(("GPU-", "MIG-"))
    assert {"text/plain": "2"} in cell.shown
    assert kernel.run("print(alias is data, alias[1] != os.getpid())").text == "True True\n"
    assert kernel.run(DEVICES).text.strip() == "None"
    all_given_back(live)
    assert free(live) == before


def test_the_load_of_a_device_is_that_of_the_companion(kernel: LiveKernel) -> None:
    kernel.run("import threading\non = True\ndef burn():\n    while on: sum(range(1000))")
    kernel.run("threading.Thread(target=burn).start()")
    kernel.run(f"%%gpu {WHOLE} --profile\nimport time\ntime.sleep(6)")
    idle = json.loads(kernel.run(PROFILE).text)
    kernel.run("on = False")
    kernel.run(
        f"%%gpu {WHOLE} --profile\nimport time\nkeep = b'1' * 500_000_000\nend = time.time() + 6\n"
        "while time.time() < end: sum(range(1000))\ndel keep"
    )
    busy = json.loads(kernel.run(PROFILE).text)
    assert idle["busy_percent"] < 20, "what the notebook computes meanwhile is not done on the GPU"
    # on a machine that does other things too it gets a part of a core
    assert busy["busy_percent"] > idle["busy_percent"] + 15
    assert busy["memory_peak_bytes"] > 500_000_000


def test_stop_and_a_killed_companion_leave_all_as_it_was(live: ServerProcess, kernel: LiveKernel) -> None:
    kernel.run("data = [1]")

    def interrupt() -> None:
        with live.client() as client:
            assert client.post(f"/api/kernels/{kernel.id}/interrupt").status_code == 204

    sleep = f"%%gpu {FLAVOR} --warm 5min\nimport os, time\nthere = os.getpid()\nprint('on')\ntime.sleep(60)"
    assert run_until(kernel, sleep, "on", interrupt).error.startswith("KeyboardInterrupt")
    session = live_sessions(live)[0]["id"]
    again = kernel.run(f"%%gpu {FLAVOR} --warm 5min\nimport os\nprint(os.getpid() == there)")
    assert again.text == "True\n", "it is usable"
    assert live_sessions(live)[0]["id"] == session
    pid = int(kernel.run("print(there)").text)
    killed = run_until(
        kernel,
        f"%%gpu {FLAVOR} --warm 5min\nimport time\ndata.append(2)\nprint('on')\ntime.sleep(60)",
        "on",
        lambda: os.kill(pid, signal.SIGKILL),
    )
    assert "was killed in the middle of the cell" in killed.error
    assert kernel.run("print(data)").text == "[1]\n"
    all_given_back(live)


def test_the_share_goes_back_when_the_kernel_is_killed_in_mid_cell(live: ServerProcess, kernel: LiveKernel) -> None:
    kernel_pid = int(kernel.run("import os; print(os.getpid())").text)
    code = f"%%gpu {FLAVOR}\nimport os, time\nprint(os.getpid(), 'last words', flush=True)\ntime.sleep(600)"
    said = run_until(kernel, code, "last words", lambda: os.kill(kernel_pid, signal.SIGKILL))
    there = int(said.text.split()[0])
    all_given_back(live)
    assert gone(there), "a share is given back when nobody computes on it any more"


def test_a_cell_that_can_not_run_asks_for_nothing(live: ServerProcess, kernel: LiveKernel) -> None:
    asked: list[dict[str, Any]] = live.call("GET", "/sessions").json()["items"]
    kernel.run("lines = (n for n in [1])")
    cell = kernel.run(f"%%gpu {FLAVOR}\nprint(lines)")
    assert cell.status == "error", "the notebook stops at it"
    assert "`lines`" in cell.error
    assert len(live.call("GET", "/sessions").json()["items"]) == len(asked)
    assert kernel.run("%%gpu 900GB\n1").status == "error"


def test_completion_of_names(kernel: LiveKernel) -> None:
    kernel.run("weights, wanted = 1, 2")
    assert "weights" in kernel.complete("%%gpu 10GB -i we")
    assert "weights" in kernel.complete("%%gpu 10GB -i wanted,we")
