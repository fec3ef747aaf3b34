"""A warning reaches its person away from the panel: in the next cell, as an event, and by the site's function."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from live_kernel import LiveKernel
from server_process import ServerProcess, eventually, server

#: a lease is warned about when it is longer than one and a half times this
WARN_S = 39
LEASE_S = 60

SITE = """
import json
from pathlib import Path

OUT = Path({out!r})


def write_and_fail(notice):
    with (OUT / "hook").open("a") as file:
        file.write(json.dumps(notice) + "\\n")
    raise ConnectionError("t0p-s3cret " + notice["text"])


async def hear(logger, schema_id, data):
    with (OUT / "events").open("a") as file:
        file.write(json.dumps(data) + "\\n")


def _jupyter_server_extension_points():
    return [{{"module": "gpu_site"}}]


def _load_jupyter_server_extension(serverapp):
    serverapp.event_logger.add_listener(schema_id="https://swan.cern.ch/swangpu/notice/v1", listener=hear)
"""


@pytest.fixture
def live(tmp_path: Path) -> Iterator[ServerProcess]:
    (tmp_path / "gpu_site.py").write_text(SITE.format(out=str(tmp_path)))
    arguments = (
        f"--SwanGpu.warn_s={WARN_S}",
        "--SwanGpu.notice_hook=gpu_site.write_and_fail",
        "--ServerApp.jpserver_extensions=gpu_site=True",
    )
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    with server(tmp_path, *arguments, variables={"PYTHONPATH": path}) as one:
        yield one
        one.stop()
        one.kill_agents()


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.slow
def test_a_lease_that_ends_is_told_in_the_next_cell_once_and_to_whoever_listens(
    live: ServerProcess, tmp_path: Path
) -> None:
    fit = LiveKernel(live, "fit.ipynb")
    body = {"flavor": "a100-40gb", "duration_s": LEASE_S, "attach": {"kernel_id": fit.id, "carry": "none"}}
    session_id = live.call("POST", "/sessions", body).json()["id"]
    eventually(lambda: live.call("GET", f"/sessions/{session_id}").json()["kernel_ids"] == [fit.id])
    assert "its lease ends" not in fit.run("print('early')")
    (event,) = eventually(lambda: [one for one in lines(tmp_path / "events") if one["code"] == "lease_ends"])
    assert event["session_id"] == session_id
    assert "user" not in event
    out = fit.run("print('late')")
    assert "goes back at" in out
    assert "its lease ends. `%gpu extend 1h` keeps it longer, `%gpu release` gives it back." in out
    assert out.endswith("late\n")
    assert "its lease ends" not in fit.run("print('later')"), "once"
    # a hook that fails harms nobody, and its secrets are nowhere
    told = eventually(lambda: [one for one in lines(tmp_path / "hook") if one["code"] == "lease_ends"])
    assert told[0]["id"] == event["id"]
    assert told[0]["user"]
    eventually(lambda: "SwanGpu.notice_hook failed: ConnectionError" in live.log())
    assert "s3cret" not in live.log()
    assert event["text"] not in live.log()
    assert live.call("POST", f"/sessions/{session_id}/extend", {"duration_s": 3600}).status_code == 200
    assert "goes back" not in fit.run("print('extended')")
