"""The example for Prometheus is right, and its alerts fire when they should."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from services import prometheus_tools
from swangpu.telemetry.prometheus import METRICS

#: the first one may have to fetch Prometheus
pytestmark = pytest.mark.timeout(400)

EXAMPLE = Path(__file__).parents[2] / "deploy" / "prometheus"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """As an operator would lay it out, with the token that it names."""
    folder = tmp_path / "prometheus"
    shutil.copytree(EXAMPLE, folder)
    (folder / "swangpu.token").write_text("t0ken")
    shutil.copy(Path(__file__).parent / "rules_test.yml", folder)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "swangpu.rules.yml"),
        ("test", "rules", "rules_test.yml"),
    ],
)
def test_promtool_finds_nothing_wrong(copy: Path, words: tuple[str, ...]) -> None:
    done = subprocess.run([prometheus_tools()[1], *words], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_every_metric_of_an_alert_exists() -> None:
    rules = (EXAMPLE / "swangpu.rules.yml").read_text()
    tested = (Path(__file__).parent / "rules_test.yml").read_text()
    alerts = re.findall(r"- alert: (\w+)", rules)
    assert alerts
    page = (EXAMPLE.parents[1] / "docs" / "metrics.md").read_text()
    assert set(re.findall(r"`(SwanGpu[A-Z]\w+)`", page)) == set(alerts)
    for alert in alerts:
        assert re.search(rf"alertname: {alert}\b", tested), f"{alert} has no test"
    assert set(re.findall(r"\bswan_gpu_\w+", rules + tested)) <= {m.name for m in METRICS}
