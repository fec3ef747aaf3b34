"""``swangpu.Monitor()`` and ``%gpu watch`` in a real kernel on a real server: they come to life, and end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from server_process import ServerProcess, eventually
from swangpu.kernel_side.live import BUNDLE
from system.driving import FLAVOR, LiveKernel, all_given_back, live_sessions

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def kernel(live: ServerProcess) -> Iterator[LiveKernel]:
    one = LiveKernel(live)
    yield one
    one.close()


def test_the_charts_are_built() -> None:
    """`make` builds them; without them every live view would be text."""
    assert "render" in (BUNDLE / "widget.js").read_text()
    assert ".uplot" in (BUNDLE / "widget.css").read_text()


def test_the_monitor_shows_every_device_live(live: ServerProcess, kernel: LiveKernel) -> None:
    shown = kernel.run("import swangpu; monitor = swangpu.Monitor(); monitor").shown
    assert WIDGET in shown[0]
    devices = live.call("GET", "/devices").json()["items"]
    uuids = {one["uuid"] for device in devices for one in [device, *device["mig_devices"]]}
    rows = "import json; print(json.dumps([row['id'] for row in monitor.subjects]))"
    eventually(lambda: set(json.loads(kernel.run(rows).text or "[]")) == uuids)
    readings = "print(json.dumps(sorted(monitor.readings.get('items', {}))))"
    eventually(lambda: set(json.loads(kernel.run(readings).text or "[]")) == uuids)
    past = "print(json.dumps([len(one['times']) for one in monitor.past.values()]))"
    eventually(lambda: json.loads(kernel.run(past).text or "[]"))


def asking(subject: str, points: str) -> str:
    """What a page sends, as the kernel hears it."""
    asked = f"'id': {subject}, 'from': time.time() - 60, 'to': time.time(), 'points': {points}"
    return f"monitor._handle_custom_msg({{'kind': 'past', 'number': 7, {asked}}}, [])"


def test_a_page_can_ask_for_the_past(kernel: LiveKernel) -> None:
    kernel.run("import swangpu, time; monitor = swangpu.Monitor(sessions=[]); sent = []")
    kernel.run("monitor.send = lambda content, buffers=None: sent.append(content)")
    eventually(lambda: kernel.run("print(len(monitor.subjects))").text.strip() != "0")
    first = "monitor.subjects[0]['id']"
    kernel.run(asking(first, "30"))
    answers = "print([(one['number'], 'history' in one) for one in sent])"
    eventually(lambda: kernel.run(answers).text.strip() == "[(7, True)]")
    for subject, points in (("'GPU-of-another'", "30"), (first, "'many'")):
        kernel.run("sent.clear()")
        kernel.run(asking(subject, points))
        eventually(lambda: "can't be asked" in kernel.run("print([one.get('problem') for one in sent])").text)


def test_watch_ends_with_its_session(live: ServerProcess, kernel: LiveKernel) -> None:
    kernel.run(f"%gpu get {FLAVOR}")
    session_id = live_sessions(live)[0]["id"]
    assert WIDGET in kernel.run("%gpu watch").shown[0]
    kernel.run("import ipywidgets, threading")
    find = "w = [one for one in ipywidgets.widget.Widget.widgets.values() if type(one).__name__ == 'GpuMonitor'][0]"
    kernel.run(find)
    eventually(lambda: kernel.run("print([row['id'] for row in w.subjects])").text.strip() == f"[{session_id!r}]")
    eventually(lambda: "GB" in kernel.run("print(w)").text)
    kernel.run("%gpu release")
    all_given_back(live)
    alive = "print([one.name for one in threading.enumerate() if one.name == 'swangpu-monitor'])"
    eventually(lambda: kernel.run(alive).text.strip() == "[]")
    assert kernel.run("print(bool(w.note))").text.strip() == "True"


def test_a_monitor_of_what_is_not_there(kernel: LiveKernel) -> None:
    assert "There is no GPU" in kernel.run("import swangpu; swangpu.Monitor(devices=['GPU-none'])").all


def test_a_script_gets_it_in_text(live: ServerProcess) -> None:
    program = "import swangpu; print(swangpu.Monitor())"
    said = subprocess.run(
        [sys.executable, "-c", program], env=live.environment(), capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert "GPU 0" in said
    assert "Slice 1" in said
