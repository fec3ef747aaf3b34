"""Jupyter Server's ``/metrics`` with ours on it, of a real server."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from looking import viewer
from nvml.sim import NvmlSim, nvml, nvml_library  # noqa: F401
from server_process import ServerProcess, eventually, server
from services import prometheus_tools
from swangpu.telemetry.prometheus import METRICS

#: the first one may have to fetch Prometheus
pytestmark = pytest.mark.timeout(400)

#: a driver that tells all there is to tell
TALKATIVE = "gpus 2\ngpu.0.util 40\ngpu.0.rates 1000 2000 300 400\ngpu.0.reasons 68\ngpu.0.ecc 2\ngpu.0.sm 33"


@pytest.fixture
def one(nvml: NvmlSim, tmp_path: Path) -> Iterator[ServerProcess]:  # noqa: F811
    nvml.state(TALKATIVE)
    names = "--SwanGpu.metrics_user_names=True"
    with server(tmp_path / "home", names, simulated=False, variables=nvml.variables()) as running:
        yield running


WISH = {"kind": "job", "memory_bytes": 10e9, "duration_s": 600}


def ours(one: ServerProcess) -> str:
    """The lines of the page that are about our metrics."""
    with one.client() as client:
        text = client.get("/metrics").text
    return "".join(f"{line}\n" for line in text.splitlines() if re.match(r"(# \w+ )?swan_gpu_", line))


def shown(page: str) -> set[str]:
    return set(re.findall(r"^(swan_gpu_\w+?)(?:_bucket|_sum|_count)?(?:{| )", page, flags=re.MULTILINE))


def test_promtool_finds_nothing_to_complain_about(one: ServerProcess, nvml: NvmlSim) -> None:  # noqa: F811
    assert not shown(ours(one)), "nobody has asked for anything yet"
    assert [one.call("POST", "/sessions", WISH).status_code for _ in range(3)] == [201] * 3
    with viewer(one):
        eventually(lambda: "swan_gpu_pcie_receive_bytes_per_second{" in ours(one))
        nvml.state(f"{TALKATIVE}\ngpu.0.xid 79")
        eventually(lambda: 'swan_gpu_last_xid{gpu="0"' in ours(one))
        page = ours(one)
    assert shown(page) == {metric.name for metric in METRICS}
    assert 'simulated="false"' in page
    checked = subprocess.run(
        [prometheus_tools()[1], "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_page_asks_for_a_login_unless_it_is_opened(tmp_path: Path, one: ServerProcess) -> None:
    assert httpx.get(f"{one.url}/metrics", trust_env=False).status_code == 403
    with server(tmp_path / "open", "--ServerApp.authenticate_prometheus=False") as opened:
        assert opened.call("POST", "/sessions", WISH).status_code == 201
        page = httpx.get(f"{opened.url}/metrics", trust_env=False)
        assert page.status_code == 200
        assert "swan_gpu_driver_state{" in page.text
        assert 'simulated="true"' in page.text
        assert "user=" not in page.text
