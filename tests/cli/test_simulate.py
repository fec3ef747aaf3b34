"""``swangpu simulate``: a table, a page, JSON, a replay, and errors that name the key."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from swangpu import cli

ROOT = Path(__file__).parents[2]
needs_toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="reading TOML needs Python 3.11")
SMALL = """
title = "Tiny <site>"
days = 0.2
schemes = ["A", "E1"]
[workload]
arrivals_per_hour = 6
[devices]
whole = 2
"1g.5gb" = 1
"""


def scenario(tmp_path: Path, text: str = SMALL) -> str:
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    return str(path)


@needs_toml
def test_a_table_of_what_people_get(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", scenario(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "Tiny <site>" in out
    rows = [line.split() for line in out.splitlines() if re.match(r"(A|E1) ", line)]
    assert [row[0] for row in rows] == ["A", "E1"] * 3
    assert {row[1] for row in rows[:2]} == {"3"}


@needs_toml
def test_json_is_the_same_every_time_and_the_page_escapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    found = []
    for _ in range(2):
        assert cli.main(["simulate", scenario(tmp_path), "--json", "--html", str(page)]) == 0
        found.append(json.loads(capsys.readouterr().out))
    for one in found:
        for scheme in one["schemes"]:
            scheme["steps_per_s"] = 0
    assert found[0] == found[1]
    assert [s["devices"] for s in found[0]["schemes"]] == [3, 3]
    text = page.read_text()
    assert "Tiny &lt;site&gt;" in text
    assert "<script" not in text
    assert text.count("<svg") == 2


@needs_toml
def test_without_devices_the_smallest_fleet_is_looked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = SMALL.split("[devices]")[0].replace('"A", "E1"', '"C"')
    assert cli.main(["simulate", scenario(tmp_path, text), "--json"]) == 0
    (scheme,) = json.loads(capsys.readouterr().out)["schemes"]
    assert scheme["looked_for"]
    assert scheme["suffices"]


@needs_toml
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("days = 'two'", "days"),
        ("[workload]\narrivals = 3", "workload.arrivals"),
        ("days = = 3", "is not TOML"),
        ("[workload]\narrivals_per_hour = 0", "Nobody comes"),
        ("ledger = 'missing.sqlite'", "There is no ledger"),
        ("ledger = 'scenario.toml'", "can't be read as a ledger"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["simulate", scenario(tmp_path, text)]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


@needs_toml
def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", str(tmp_path / "none.toml")]) == 1
    assert "can't be read" in capsys.readouterr().err


@needs_toml
def test_a_replay_of_a_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sqlalchemy import create_engine, insert

    from swangpu.ledger import tables

    engine = create_engine(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    tables.metadata.create_all(engine)
    row = {
        "session_id": "s1", "user": "ann", "project": None, "kind": "kernel", "pool": "local", "flavor": "t4",
        "count": 1, "memory_bytes": 10**10, "created_at": 1e9, "started_at": 1e9 + 10, "ended_at": 1e9 + 3610,
        "held_s": 3600.0,
        "busy_s": 240.0, "end_reason": "released", "simulated": False, "pauses": 0, "paused_s": 0.0,
        "recoverable_s": 0.0,
    }  # fmt: skip
    with engine.begin() as connection:
        connection.execute(insert(tables.usage), [row])
    engine.dispose()
    (tmp_path / "ledger.sqlite").rename(tmp_path / "last night? 50%.sqlite")
    text = 'ledger = "last night? 50%.sqlite"\nschemes = ["E1"]\n[devices]\nwhole = 1\n'
    assert cli.main(["simulate", scenario(tmp_path, text), "--json"]) == 0
    (scheme,) = json.loads(capsys.readouterr().out)["schemes"]
    assert scheme["visits"] == 1
    assert scheme["useful_part"] > 0


@needs_toml
def test_the_example_can_be_read() -> None:
    import tomllib

    from swangpu.simulation.scenario import parse

    parse(tomllib.loads((ROOT / "examples" / "sharing.toml").read_text()))


def test_every_key_is_documented() -> None:
    from dataclasses import fields

    from swangpu.simulation.scenario import _SITE, _SITE_PLAIN, _TOP
    from swangpu.simulation.site import Faults
    from swangpu.simulation.workload import Workload

    text = (ROOT / "docs" / "simulate.md").read_text()
    keys = [*_TOP, *_SITE, *_SITE_PLAIN, *(f.name for f in fields(Workload)), *(f.name for f in fields(Faults))]
    assert [key for key in keys if f"`{key}`" not in text] == []
