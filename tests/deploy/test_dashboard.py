"""The dashboard for Grafana: each query finds something in what a real Prometheus scrapes from a real server."""

from __future__ import annotations

import contextlib
import json
import math
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server_process import ServerProcess, eventually, server
from services import Prometheus, prometheus
from swangpu.telemetry.prometheus import METRICS

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "prometheus"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "swangpu.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [p for p in DASHBOARD["panels"] if p["type"] != "row"]
QUERIES = [(p["title"], t["expr"]) for p in PANELS for t in p["targets"]]
VARIABLES = {v["name"]: v for v in DASHBOARD["templating"]["list"]}
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
def scraping(one: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Our example's Prometheus, with our target and token, once a second."""
    token = tmp_path_factory.mktemp("prometheus") / "token"
    token.write_text(one.token)
    config = (EXAMPLE / "prometheus.yml").read_text()
    for old, new in [
        ("15s", "1s"),
        ("gpu-box.example.org:8888", f"127.0.0.1:{one.port}"),
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
def used(one: ServerProcess, scraping: Prometheus) -> Iterator[Prometheus]:
    """Somebody looks; then sessions get GPUs, wait, and end, after the first scrape: counters count from there."""
    with viewer(one):
        eventually(lambda: ask(scraping, 'swan_gpu_queue_wait_seconds_bucket{le="+Inf"}'))
        wish = {"kind": "job", "flavor": "a100-40gb", "duration_s": 600}
        answers = [one.call("POST", "/sessions", wish) for _ in range(2)]
        answers.append(one.call("POST", "/sessions", {**wish, "flavor": "t4/time-4"}))
        assert [a.status_code for a in answers] == [201, 201, 201]
        assert one.call("DELETE", f"/sessions/{answers[2].json()['id']}").status_code == 200
        yield scraping


@contextlib.contextmanager
def viewer(one: ServerProcess) -> Iterator[None]:
    """A panel that is open: the driver is read once a second meanwhile."""
    with socket.create_connection(("127.0.0.1", one.port)) as line:

        def read() -> None:
            while line.recv(65536):
                pass

        path = "/swangpu/api/v1/stream?topics=telemetry"
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: token {one.token}\r\n\r\n".encode())
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        yield
        line.shutdown(socket.SHUT_RDWR)
        reader.join(30)


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
