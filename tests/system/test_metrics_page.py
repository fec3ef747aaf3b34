"""Jupyter Server's ``/metrics`` with ours on it, of a real server."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from server_process import ServerProcess, server
from services import prometheus_tools
from swangpu.telemetry.prometheus import METRICS


@pytest.fixture
def one(tmp_path: Path) -> Iterator[ServerProcess]:
    with server(tmp_path, "--SwanGpu.metrics_user_names=True") as running:
        yield running


def ours(one: ServerProcess) -> str:
    """The lines of the page that are about our metrics."""
    with one.client() as client:
        text = client.get("/metrics").text
    return "".join(f"{line}\n" for line in text.splitlines() if re.match(r"(# \w+ )?swan_gpu_", line))


def test_promtool_finds_nothing_to_complain_about(one: ServerProcess) -> None:
    assert "{" not in ours(one), "nobody has asked for anything yet"
    assert one.call("POST", "/sessions", {"kind": "job", "flavor": "a100-40gb", "duration_s": 600}).status_code == 201
    assert one.call("POST", "/sessions", {"kind": "job", "flavor": "a100-40gb", "duration_s": 600}).status_code == 201
    assert one.call("GET", "/devices").status_code == 200
    page = ours(one)
    shown = set(re.findall(r"^(swan_gpu_\w+?)(?:_bucket|_sum|_count)?(?:{| )", page, flags=re.MULTILINE))
    assert shown == {metric.name for metric in METRICS}
    assert 'simulated="true"' in page
    checked = subprocess.run(
        [prometheus_tools()[1], "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_page_asks_for_a_login_unless_it_is_opened(tmp_path: Path, one: ServerProcess) -> None:
    assert httpx.get(f"{one.url}/metrics", trust_env=False).status_code == 403
    with server(tmp_path / "open", "--ServerApp.authenticate_prometheus=False") as opened:
        opened.call("GET", "/devices")
        page = httpx.get(f"{opened.url}/metrics", trust_env=False)
        assert page.status_code == 200
        assert "swan_gpu_driver_state" in page.text
        assert "user=" not in page.text
