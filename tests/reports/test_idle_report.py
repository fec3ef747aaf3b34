"""The idle report on a real Prometheus with a month of metrics of which the truth is known."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from recorded import DAY_S, HOUR_S, SCRAPE_S, Month

from services import prometheus, unpacked
from swangpu import cli


def recorded(month: Month, folder: Path) -> Path:
    file = folder / "month.om"
    with file.open("w") as out:
        out.writelines(month.openmetrics())
    promtool = unpacked("prometheus", "promtool")
    command = [promtool, "tsdb", "create-blocks-from", "--max-block-duration=720h", "openmetrics"]
    done = subprocess.run([*command, str(file), str(folder / "data")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    file.unlink()
    return folder / "data"


@pytest.fixture(scope="module")
def month() -> Month:
    # the whole month lies within the last 30 days
    return Month(int(time.time()) // DAY_S * DAY_S - 29 * DAY_S)


@pytest.fixture(scope="module")
def url(month: Month, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus("", recorded(month, tmp_path_factory.mktemp("month"))) as server:
        yield server.url


def swangpu(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TZ": "UTC"}
    command = [sys.executable, "-m", "swangpu.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def made(url: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("made")
    done = swangpu(
        *("report", "idle", "--prometheus", url, "--json"),
        *("--html", str(folder / "idle.html"), "--csv", str(folder / "tables")),
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr, "no bar where nobody sits at a terminal"
    return json.loads(done.stdout), folder


def test_every_figure_is_within_its_error(made: tuple[dict[str, Any], Path], month: Month) -> None:
    report, _ = made
    truth = month.truth()
    rows = {("total", ""): report["total"]}
    for name, key in (("flavors", "flavor"), ("namespaces", "namespace"), ("hours", "hour")):
        rows.update({(key, row[key]): row for row in report[name]})
    assert {key for key, one in truth.items() if one.held_h} == {key for key, row in rows.items() if row["held_h"]}
    for key, one in truth.items():
        row = rows[key]
        assert row["held_h"] == pytest.approx(one.held_h, abs=row["held_error_h"] + 1e-6), key
        assert row["unknown_h"] == pytest.approx(one.unknown_h, abs=row["held_error_h"] + 1e-6), key
        assert row["shared_h"] == pytest.approx(one.shared_h, abs=row["held_error_h"] + 1e-6), key
        assert row["used_h"] == pytest.approx(one.used_h, abs=row["used_error_h"] + 1e-6), key
        assert row["idle_h"] == pytest.approx(one.idle_h, abs=row["used_error_h"] + 1e-6), key
    total = report["total"]
    assert total["used_error_h"] < 0.05 * total["used_h"], "an error that says nothing would hold everything"


def test_what_is_missing_is_said(made: tuple[dict[str, Any], Path], month: Month) -> None:
    report, _ = made
    assert report["interval_s"] == [SCRAPE_S, SCRAPE_S]
    assert (report["devices"], report["instances"]) == (5, 3)
    # three GPUs of node-1
    gap_h = 3 * (month.gap[1] - month.gap[0]) / HOUR_S
    assert report["gap_h"] == pytest.approx(gap_h, abs=5 * report["step_s"] / HOUR_S)
    assert report["covered_part"] == pytest.approx(1 - gap_h / (5 * 29 * 24), abs=0.002)
    said = " ".join(report["notes"])
    assert "is not counted at all" in said
    assert "shared by several pods" in said
    assert "where that is missing it is not known" in said


def test_the_longest_idle_holds_are_found(made: tuple[dict[str, Any], Path], month: Month) -> None:
    report, _ = made
    step_s = report["step_s"]
    holds = {row["pod"]: row for row in report["holds"] if row["idle_s"] > 5 * HOUR_S and row["device"] == "GPU-a"}
    # one night was cut short by the gap, and what was not seen is not said
    nights = {p: (dusk, min(dawn, month.gap[0]) if dusk < month.gap[0] else dawn) for p, dusk, dawn in month.nights}
    assert nights.keys() == holds.keys()
    for pod, (dusk, dawn) in nights.items():
        row = holds[pod]
        assert (row["namespace"], row["flavor"], row["host"]) == ("swan", "a100-40gb", "node-1")
        assert row["begin"] == pytest.approx(dusk, abs=step_s)
        assert row["end"] == pytest.approx(dawn, abs=step_s)
        assert row["idle_s"] + row["gap_s"] == pytest.approx(row["end"] - row["begin"], abs=step_s)
    assert report["holds"] == sorted(report["holds"], key=lambda row: -row["idle_s"])
    assert {row["sharing"] for row in report["holds"] if row["device"] == "GPU-c"} == {3}


def test_the_terminal_says_the_same(url: str, made: tuple[dict[str, Any], Path]) -> None:
    done = swangpu("report", "idle", "--prometheus", url, "--top", "3")
    assert done.returncode == 0, done.stderr
    total = made[0]["total"]
    assert f"Held: {total['held_h']:,.0f} GPU-hours" in done.stdout
    assert "jupyter-alice-" in done.stdout
    assert "not known" in done.stdout
    assert max(map(len, done.stdout.split("How these figures were made")[0].splitlines())) < 160


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_is_one_file_with_plots_and_tables(made: tuple[dict[str, Any], Path]) -> None:
    text = (made[1] / "idle.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    names = [tag for tag, _ in page.tags]
    assert names.count("svg") == 3
    assert names.count("table") == 5
    assert all(attrs.get("aria-label") for tag, attrs in page.tags if tag == "svg")
    assert not {"script", "link", "img", "iframe"} & set(names)
    assert not re.search(r"(src|href)=|url\(", text)
    assert "prefers-color-scheme: dark" in text
    assert f"{made[0]['total']['idle_h']:,.0f}" in page.text


def test_the_tables_for_a_spreadsheet(made: tuple[dict[str, Any], Path]) -> None:
    report, folder = made
    files = {path.name for path in (folder / "tables").iterdir()}
    assert files == {f"{name}.csv" for name in ("total", "flavors", "namespaces", "hours", "days", "holds", "notes")}
    with (folder / "tables" / "namespaces.csv").open(newline="") as file:
        rows = {row["namespace"]: row for row in csv.DictReader(file)}
    for row in report["namespaces"]:
        assert float(rows[row["namespace"]]["idle_h"]) == pytest.approx(row["idle_h"], abs=1e-5)


def test_a_server_with_narrow_limits_gives_the_same(
    month: Month, made: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    with prometheus("", recorded(month, tmp_path), "--query.max-samples=8000") as narrow:
        done = swangpu("report", "idle", "--prometheus", narrow.url, "--json")
    assert done.returncode == 0, done.stderr
    narrowly, widely = json.loads(done.stdout), made[0]
    assert narrowly["total"] == pytest.approx(widely["total"], rel=1e-6)
    assert len(narrowly["holds"]) == len(widely["holds"])


def test_a_bar_while_somebody_sits_there(url: str) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "swangpu.cli", "report", "idle", "--prometheus", url, "--days", "2", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=False)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while part := os.read(ours, 1000):
            said += part
    os.close(ours)
    assert done.returncode == 0
    assert json.loads(done.stdout)["devices"] == 5
    assert b"100 %" in said
    assert said.endswith(b"\r\x1b[K"), "nothing of it stays"


def test_a_step_that_does_not_suit(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["report", "idle", "--prometheus", url]
    assert cli.main([*asked, "--step", "7m"]) == 1
    assert "cuts an hour evenly" in capsys.readouterr().err
    assert cli.main([*asked, "--step", "5m"]) == 1
    assert "--step 12m" in capsys.readouterr().err
    assert cli.main([*asked, "--step", "1h", "--days", "3", "--csv", "/nowhere/at/all.csv"]) == 1
    assert "can't be written" in capsys.readouterr().err


def test_without_any_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    with prometheus() as empty:
        assert cli.main(["report", "idle", "--prometheus", empty.url]) == 1
        assert "no metrics of dcgm-exporter" in capsys.readouterr().err
        for wrong in (empty.url + "/nothing", empty.url + "/classic"):
            assert cli.main(["report", "idle", "--prometheus", wrong]) == 1
            assert "Traceback" not in capsys.readouterr().err
    assert cli.main(["report", "idle", "--prometheus", empty.url]) == 1
    assert "can't be reached" in capsys.readouterr().err
