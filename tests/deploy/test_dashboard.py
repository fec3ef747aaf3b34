"""The dashboard for Grafana: each query finds something in what a real Prometheus scrapes from a real server."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from looking import viewer
from nvml.sim import NvmlSim, nvml_library  # noqa: F401
from server_process import ServerProcess, eventually, server
from services import Prometheus, prometheus
from swangpu.telemetry.prometheus import METRICS

#: the first one may have to fetch Prometheus
pytestmark = pytest.mark.timeout(400)

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "prometheus"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "swangpu.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [p for p in DASHBOARD["panels"] if p["type"] != "row"]
QUERIES = [(p["title"], t["expr"]) for p in PANELS for t in p["targets"]]
VARIABLES = {v["name"]: v for v in DASHBOARD["templating"]["list"]}
TALKATIVE = "gpus 1\ngpu.0.util 40\ngpu.0.rates 1000 2000 300 400\ngpu.0.reasons 68\ngpu.0.ecc 2\ngpu.0.sm 33"
#: shown nowhere: nothing to look at, but worth an alert or a question
NOT_SHOWN = {"swan_gpu_devices_left_out"}


def substituted(query: str, **chosen: str) -> str:
    """A query as Grafana sends it, with "All" chosen, or this."""
    found = {"__rate_interval": "10s", "__range": "5m"}
    found |= {name: v.get("allValue") or "" for name, v in VARIABLES.items()} | chosen
    return re.sub(r"\$(\w+)", lambda m: found[m.group(1)], query)


def test_panels_are_laid_out_and_explained() -> None:
    assert len({p["id"] for p in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        box = panel["gridPos"]
        assert box["x"] + box["w"] <= 24, panel["title"]
        cells = {(x, y) for x in range(box["x"], box["x"] + box["w"]) for y in range(box["y"], box["y"] + box["h"])}
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
    for panel in PANELS:
        assert panel["description"], panel["title"]
        sources = [panel["datasource"], *(t["datasource"] for t in panel["targets"])]
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources), panel["title"]


def test_variables_are_used_and_metrics_exist() -> None:
    assert set(VARIABLES) == {"datasource", "instance", "pool", "flavor"}
    text = " ".join(query for _, query in QUERIES)
    assert all(f"${name}" in text for name in ("instance", "pool", "flavor"))
    named = {re.sub(r"_bucket$", "", name) for name in re.findall(r"\bswan_gpu_\w+", text)}
    assert named == {m.name for m in METRICS} - NOT_SHOWN


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server(tmp_path_factory.mktemp("server"), "--SwanGpu.metrics_user_names=True") as running:
        yield running


@pytest.fixture(scope="module")
def library(nvml_library: Path, tmp_path_factory: pytest.TempPathFactory) -> NvmlSim:  # noqa: F811
    """A driver that tells what the simulated fleet does not."""
    sim = NvmlSim(nvml_library, tmp_path_factory.mktemp("nvml"))
    sim.state(TALKATIVE)
    return sim


@pytest.fixture(scope="module")
def other(library: NvmlSim, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server on that driver."""
    home = tmp_path_factory.mktemp("other")
    with server(home, simulated=False, variables=library.variables()) as running:
        yield running


@pytest.fixture(scope="module")
def scraping(
    one: ServerProcess, other: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Our example's Prometheus, with our targets and token, once a second."""
    token = tmp_path_factory.mktemp("prometheus") / "token"
    token.write_text(one.token)
    config = (EXAMPLE / "prometheus.yml").read_text()
    for old, new in [
        ("15s", "1s"),
        ('"gpu-box.example.org:8888"', f'"127.0.0.1:{one.port}", "127.0.0.1:{other.port}"'),
        ("swangpu.token", str(token)),
        ("swangpu.rules.yml", str(EXAMPLE / "swangpu.rules.yml")),
    ]:
        assert old in config
        config = config.replace(old, new)
    with prometheus(config) as running:
        yield running


def ask(running: Prometheus, expression: str) -> list[dict[str, Any]]:
    """An instant query's vector; a wrong query is an AssertionError."""
    answer = httpx.get(f"{running.url}/api/v1/query", params={"query": expression}, trust_env=False, timeout=30)
    body = answer.json()
    assert body["status"] == "success", f"{expression}: {body.get('error')}"
    found: list[dict[str, Any]] = body["data"]["result"]
    return found


@pytest.fixture(scope="module")
def used(one: ServerProcess, other: ServerProcess, library: NvmlSim, scraping: Prometheus) -> Iterator[Prometheus]:
    """Somebody looks; then sessions get GPUs, wait, and end, after the first scrape: counters count from there."""
    with viewer(one), viewer(other):
        eventually(lambda: ask(scraping, "swan_gpu_ecc_uncorrected_errors_total"))
        library.state(f"{TALKATIVE}\ngpu.0.xid 79")
        # Of both: what happens before a server's first scrape is not an increase.
        eventually(lambda: len(ask(scraping, 'swan_gpu_queue_wait_seconds_bucket{le="+Inf"}')) == 2)
        wish = {"kind": "job", "flavor": "a100-40gb", "duration_s": 600}
        answers = [one.call("POST", "/sessions", wish) for _ in range(2)]
        answers.append(one.call("POST", "/sessions", {**wish, "flavor": "t4/time-4"}))
        assert [a.status_code for a in answers] == [201, 201, 201]
        assert one.call("DELETE", f"/sessions/{answers[2].json()['id']}").status_code == 200
        yield scraping


def known(found: list[dict[str, Any]]) -> bool:
    return bool(found) and any(not math.isnan(float(one["value"][1])) for one in found)


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=lambda text: re.sub(r"\W+", "-", text)[:40])
def test_every_panel_shows_something(used: Prometheus, title: str, query: str) -> None:
    assert eventually(lambda: known(ask(used, substituted(query))), 60), title


def test_the_choices_are_there_and_choosing_narrows(used: Prometheus) -> None:
    for name in ("instance", "pool", "flavor"):
        metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", VARIABLES[name]["query"]["query"]).groups()  # type: ignore[union-attr]
        found = eventually(lambda m=metric, w=label: ask(used, f"count by ({w}) ({substituted(m)})"))
        assert all(one["metric"][label] for one in found)
    shares = next(query for title, query in QUERIES if title == "Now, by flavor")
    narrow = ask(used, substituted(shares, flavor="a100-40gb"))
    assert {one["metric"]["flavor"] for one in narrow} == {"a100-40gb"}
    assert sum(float(one["value"][1]) for one in narrow) == 1
    assert len(narrow) < len(ask(used, substituted(shares)))


def test_only_our_metrics_and_the_process_are_kept(used: Prometheus) -> None:
    names = {one["metric"]["__name__"] for one in ask(used, '{job="swangpu", __name__!~"ALERTS.*"}')}
    ours = {name for name in names if name.startswith("swan_gpu_")}
    assert ours
    assert all(re.match(r"process_|scrape_|up$", name) for name in names - ours)
