"""A ledger of an older version is upgraded in another process, and kept as it was when that fails."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from swangpu.domain.records import JournalEntry, ProfileRecord
from swangpu.errors import LedgerUnavailable
from swangpu.ledger import migrate, profiles, tables
from swangpu.ledger.store import SqlLedger

FIRST = Path(__file__).with_name("v1.sql")

PROFILE = ProfileRecord(
    session_id="s1",
    user="alice",
    path="fit.ipynb",
    kernel_id="k1",
    run_id="r1",
    every_cell=True,
    pool="local",
    flavor="t4",
    share_memory_bytes=16 * 10**9,
    started_at=100.0,
    ended_at=110.0,
    busy_percent=40.0,
    busy_percent_min=35.0,
    busy_percent_max=47.5,
    memory_peak_bytes=3 * 10**9,
    memory_source="allocator",
    allocators=("torch",),
    run_peak_bytes=3 * 10**9,
    energy_mj=None,
    samples=9,
    missing=(("energy_mj", "shared"),),
    simulated=False,
)


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A ledger as version 1 wrote it, with something in each table."""
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as db:
        db.executescript(FIRST.read_text())
    db.close()
    return path


def shape(path: Path) -> dict[str, list[object]]:
    """Tables with their columns and indices, as the database describes them."""
    with sqlite3.connect(path) as db:
        names = [n for (n,) in db.execute("select name from sqlite_master where type = 'table'")]
        out: dict[str, list[object]] = {}
        for name in names:
            out[name] = [
                *db.execute(f"select name, upper(type), \"notnull\", pk from pragma_table_info('{name}')"),
                *sorted(db.execute(f"select name, \"unique\" from pragma_index_list('{name}')")),
            ]
    db.close()
    return out


def test_a_first_ledger_is_upgraded_with_all_that_is_in_it(first: Path, tmp_path: Path) -> None:
    ledger = SqlLedger(first)
    snapshot, entries = ledger.load()
    assert snapshot == (1, "state 1")
    assert entries == [JournalEntry(seq, 1000.0 + seq, 1, "e" * 10, "c" * 10) for seq in (2, 3)]
    assert [row["key"] for row in ledger.usage("user", 0.0, 1e9, None)] == ["alice", "bob"]
    assert [row["granted"] for row in ledger.demand("flavor", 0.0, 1e9, None)] == [1]
    ledger.add_profile(PROFILE)
    ledger.append([JournalEntry(4, 0.0, 1, "e", "c")])
    ledger.close()

    new = tmp_path / "new.sqlite"
    fresh = SqlLedger(new)
    fresh.load()
    fresh.close()
    upgraded = shape(first)
    assert upgraded.pop("alembic_version")
    assert upgraded == shape(new), "the migration and tables.py differ"
    assert first.stat().st_mode & 0o077 == 0
    assert [p.name for p in tmp_path.iterdir() if "upgrade" in p.name] == []
    assert SqlLedger(first).profiles("s1") == [PROFILE]


def test_alembic_is_loaded_only_where_there_is_something_to_do(first: Path) -> None:
    program = """
import sys
from pathlib import Path
from swangpu.ledger.store import SqlLedger
SqlLedger(Path(sys.argv[1])).load()
print("alembic" in sys.modules)
"""
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", program, str(first)], check=True, capture_output=True, text=True)
        assert done.stdout.strip() == "False"


def test_what_fails_leaves_the_ledger_as_it_was(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = first.read_bytes()
    leftover = first.with_name(f"{first.name}.upgrade")
    leftover.write_bytes(b"of an upgrade that was killed")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(LedgerUnavailable) as raised:
            SqlLedger(first).load()
    assert raised.value.code == "ledger_not_upgraded"
    assert first.read_bytes() == before

    with sqlite3.connect(first) as db:
        db.execute("create table profile (id integer)")  # in the way of the migration
    db.close()
    with pytest.raises(LedgerUnavailable) as raised:
        SqlLedger(first).load()
    assert raised.value.code == "ledger_not_upgraded"
    with sqlite3.connect(first) as db:
        assert db.execute("select version from schema_version").fetchall() == [(1,)]
        db.execute("drop table profile")
    db.close()
    assert SqlLedger(first).load()[0] == (1, "state 1")
    assert not leftover.exists()


def test_there_is_a_migration_for_each_version() -> None:
    files = sorted((migrate.MIGRATIONS / "versions").glob("v*.py"))
    found = [re.findall(r'^(?:down_)?revision = "?(\w+)', f.read_text(), flags=re.MULTILINE) for f in files]
    assert found == [["0001", "None"], *([f"{n:04d}", f"{n - 1:04d}"] for n in range(2, tables.SCHEMA_VERSION + 1))]


def test_profiles_are_bounded_and_a_run_keeps_its_peak(tmp_path: Path) -> None:
    ledger = SqlLedger(tmp_path / "ledger.sqlite")
    cell = 0
    for run in range(profiles.KEPT_RUNS + 2):
        for peak in range(30):
            cell += 1
            ledger.add_profile(
                replace(PROFILE, run_id=f"r{run}", ended_at=float(cell), run_peak_bytes=1000 * run + peak)
            )
    kept = ledger.profiles("s1")
    assert profiles.KEPT <= len(kept) <= profiles.KEPT + profiles.KEPT_RUNS
    assert kept[-1].ended_at == cell
    peaks = ledger.run_peaks("alice", "fit.ipynb", 5)
    assert [(p.run_id, p.peak_bytes) for p in peaks] == [(f"r{n}", 1000 * n + 29) for n in (11, 10, 9, 8, 7)]


def test_other_notebooks_and_sessions_without_one_are_bounded_for_themselves(tmp_path: Path) -> None:
    ledger = SqlLedger(tmp_path / "ledger.sqlite")
    ledger.add_profile(replace(PROFILE, session_id="s2", path="other.ipynb"))
    for n in range(profiles.KEPT + 20):
        ledger.add_profile(replace(PROFILE, session_id="s3", path=None, run_id="r", ended_at=float(n)))
    assert len(ledger.profiles("s2")) == 1
    assert len(ledger.profiles("s3")) == profiles.KEPT
    assert ledger.run_peaks("bob", "fit.ipynb", 5) == []


def test_only_runs_of_which_all_is_known_count(tmp_path: Path) -> None:
    ledger = SqlLedger(tmp_path / "ledger.sqlite")
    ledger.add_profile(replace(PROFILE, run_id="one cell", every_cell=False))
    ledger.add_profile(replace(PROFILE, run_id="no allocator", run_peak_bytes=None))
    ledger.add_profile(replace(PROFILE, run_id="turned off"))
    ledger.add_profile(replace(PROFILE, run_id="turned off", every_cell=False, run_peak_bytes=None))
    ledger.add_profile(replace(PROFILE, run_id="all", run_peak_bytes=None))
    ledger.add_profile(replace(PROFILE, run_id="all"))
    assert [p.run_id for p in ledger.run_peaks("alice", "fit.ipynb", 5)] == ["all"]
