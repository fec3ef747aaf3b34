"""A server that shows the site's other GPUs, from a real Prometheus that scrapes pages in dcgm-exporter's format."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter import Exporter, scraping
from looking import viewer
from server_process import ServerProcess, eventually, server
from services import Prometheus, prometheus
from swangpu.simulation.fleet import demo_fleet

#: the first one may have to fetch Prometheus
pytestmark = pytest.mark.timeout(400)

OURS = demo_fleet().infos()[0].uuid
A100 = 'gpu="0",UUID="GPU-a",modelName="NVIDIA A100-PCIE-40GB",Hostname="node-1"'
CUT = 'gpu="1",UUID="GPU-m",modelName="NVIDIA A100-PCIE-40GB",Hostname="node-1",GPU_I_ID="1",GPU_I_PROFILE="1g.5gb"'
POD = ',namespace="swan",pod="jupyter-alice"'
PAGE = f"""# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{{{A100}{POD}}} 73
DCGM_FI_DEV_FB_USED{{{A100}{POD}}} 30000
DCGM_FI_DEV_FB_FREE{{{A100}{POD}}} 10000
DCGM_FI_PROF_GR_ENGINE_ACTIVE{{{CUT}}} 0.25
DCGM_FI_DEV_FB_USED{{{CUT}}} 100
DCGM_FI_DEV_GPU_UTIL{{gpu="0",UUID="{OURS}",modelName="Tesla T4",Hostname="here"}} 99
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Prometheus]:
    exporter = Exporter(lambda: PAGE)
    exporter.start()
    try:
        with prometheus(scraping(dcgm=exporter)) as running:
            eventually(lambda: "GPU-m" in httpx.get(f"{running.url}/api/v1/series?match[]=DCGM_FI_DEV_FB_USED").text)
            yield running
    finally:
        exporter.stop()


@pytest.fixture(scope="module")
def one(site: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server(tmp_path_factory.mktemp("site"), f"--SwanGpu.prometheus_url={site.url}") as running:
        yield running
    running.check_log()


def get(one: ServerProcess, path: str, **query: Any) -> dict[str, Any]:
    answer = one.call("GET", path, params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def remote(one: ServerProcess) -> dict[str, dict[str, Any]]:
    return {device["uuid"]: device for device in get(one, "/devices")["items"] if device["remote"] is not None}


def questions(site: Prometheus) -> float:
    """How many Prometheus has answered."""
    page = httpx.get(f"{site.url}/metrics").text
    found = re.findall(r'^prometheus_http_requests_total{code="200",handler="/api/v1/query"} (\S+)', page, re.M)
    return float(found[0]) if found else 0.0


def test_they_are_shown_with_host_age_and_pods_and_only_once(one: ServerProcess) -> None:
    found = eventually(lambda: found if len(found := remote(one)) == 2 else None)
    whole, cut = found["GPU-a"], found["GPU-m"]
    assert (whole["name"], whole["pool"], whole["simulated"]) == ("NVIDIA A100-PCIE-40GB", "", False)
    assert whole["remote"]["host"] == "node-1"
    assert 0 <= whole["remote"]["age_s"] < 60
    assert whole["remote"]["pods"] == {"count": 1, "items": None, "reason": None}
    assert whole["sample"]["utilization_percent"] == 73.0
    assert whole["sample"]["power_mw"] is None
    assert whole["sample"]["missing"]["power_mw"] == "not_supported"
    (mig,) = cut["mig_devices"]
    assert (mig["profile"], mig["pods"]["count"], mig["sample"]["utilization_percent"]) == ("1g.5gb", 0, 25.0)

    everything = get(one, "/devices")
    assert everything["remote"] is None
    assert everything["driver"] is None
    (ours,) = [device for device in everything["items"] if device["uuid"] == OURS]
    assert ours["remote"] is None
    assert ours["pool"] == "local"
    assert "alice" not in json.dumps(everything)


def test_they_are_nothing_that_can_be_had_and_no_metric_of_ours(one: ServerProcess) -> None:
    assert remote(one)
    (pool,) = get(one, "/pools")["items"]
    assert "GPU-a" not in json.dumps([pool, get(one, "/offers", memory_bytes=1e9), get(one, "/processes")])
    local = [device for device in get(one, "/devices")["items"] if device["pool"]]
    assert {device["pool"] for device in local} == {"local"}
    with viewer(one, "telemetry,devices"), one.client() as client:
        page = eventually(
            lambda: text if "swan_gpu_utilization_ratio{" in (text := client.get("/metrics").text) else ""
        )
    assert "GPU-a" not in page
    assert "GPU-m" not in page


def test_their_history_is_kept_and_what_is_new_is_told(one: ServerProcess) -> None:
    started = time.time() - 60
    with viewer(one, "telemetry,devices"):
        past = eventually(
            lambda: found if (found := get(one, "/history", device="GPU-a", **{"from": started}))["times"] else None
        )
    assert past["utilization_percent"][-1] == 73.0
    assert get(one, "/history", device="GPU-m/1", **{"from": started})["utilization_percent"][-1] == 25.0
    assert one.call("GET", "/history", params={"device": "GPU-none"}).json()["code"] == "no_such_device"
    text = one.call("GET", "/stream", params={"topics": "telemetry,devices", "limit": "2"}).text
    (event,) = [
        json.loads(data)
        for name, data in re.findall(r"^event: (\w+)\n(?:id: .*\n)?data: (.*)$", text, re.M)
        if name == "telemetry"
    ]
    assert event["samples"]["GPU-a"]["utilization_percent"] == 73.0
    assert event["samples"][OURS]["utilization_percent"] != 99.0


def test_a_panel_that_shows_none_of_them_asks_nothing(one: ServerProcess, site: Prometheus) -> None:
    eventually(lambda: remote(one))
    with viewer(one, "telemetry,sessions,pools"):
        before = questions(site)
        read = one.client()
        with read:
            # a few readings of this machine's own
            first = get(one, "/pools")["as_of"]
            eventually(lambda: get(one, "/pools")["as_of"] > first + 3)
        assert questions(site) == before


def test_a_prometheus_that_goes_away_is_told_and_disturbs_nothing_else(tmp_path: Path, site: Prometheus) -> None:
    exporter = Exporter(lambda: PAGE)
    exporter.start()
    try:
        with prometheus(scraping(dcgm=exporter)) as own:
            with server(tmp_path, f"--SwanGpu.prometheus_url={own.url}") as one:
                eventually(lambda: len(remote(one)) == 2)
                own.process.terminate()
                own.process.wait(20)
                trouble = eventually(lambda: get(one, "/devices")["remote"])
                assert trouble["code"] == "prometheus_away"
                assert trouble["text"] == "The site's other GPUs can't be seen. Prometheus can't be reached."
                assert remote(one)["GPU-a"]["lost"] == trouble
                everything = get(one, "/devices")
                assert everything["driver"] is None
                assert any(device["pool"] == "local" and device["sample"] for device in everything["items"])
                with prometheus(scraping(dcgm=exporter), None, port=own.port):
                    eventually(lambda: remote(one)["GPU-a"]["lost"] is None, 60)
                assert get(one, "/devices")["remote"] is None
            one.check_log()
    finally:
        exporter.stop()


def test_one_that_never_answers_holds_up_nobody(tmp_path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(50)
        with server(tmp_path, f"--SwanGpu.prometheus_url=http://127.0.0.1:{deaf.getsockname()[1]}") as one:
            first = get(one, "/devices")
            assert first["remote"] is None, "it is being asked"
            assert first["items"]
            trouble = eventually(lambda: get(one, "/devices")["remote"], 60)
            assert trouble["code"] == "prometheus_away"
            assert get(one, "/offers", memory_bytes=1e9)["items"]
        one.check_log()


def test_a_setting_that_makes_no_sense_is_refused_by_name_and_not_repeated(tmp_path: Path) -> None:
    one = ServerProcess(tmp_path, "--SwanGpu.prometheus_url=http://me:s3cret@prometheus")
    try:
        one.start()
    except AssertionError:
        pass  # it may end at once
    finally:
        one.stop()
    assert "SwanGpu.prometheus_url" in one.log()
    assert "s3cret" not in one.log()
