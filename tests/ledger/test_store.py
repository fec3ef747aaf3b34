"""The ledger on a real disk: all or nothing, whatever happens."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from swangpu.broker.state import BrokerState
from swangpu.domain.records import DemandRecord, JournalEntry, UsageRecord
from swangpu.errors import LedgerUnavailable
from swangpu.ledger.codec import decode, encode
from swangpu.ledger.store import SqlLedger


def entry(seq: int, size: int = 10) -> JournalEntry:
    return JournalEntry(seq, 1000.0 + seq, 1, "e" * size, "c" * size)


def usage(session_id: str, user: str = "alice", flavor: str = "t4", ended_at: float = 100.0) -> UsageRecord:
    return UsageRecord(
        session_id, user, None, "kernel", "local", flavor, 1, 16, 0.0, 1.0, ended_at, 60.0, 30.0, "released", False
    )


def test_what_is_appended_is_loaded(tmp_path: Path) -> None:
    ledger = SqlLedger(tmp_path / "sub" / "ledger.sqlite")
    assert ledger.load() == (None, [])
    ledger.append([entry(1), entry(2)])
    ledger.save_snapshot(2, encode(BrokerState()))
    ledger.append([entry(3)])
    ledger.close()
    snapshot, entries = SqlLedger(tmp_path / "sub" / "ledger.sqlite").load()
    assert snapshot is not None
    assert snapshot[0] == 2
    assert decode(snapshot[1], {"BrokerState": BrokerState}) == BrokerState()
    assert entries == [entry(3)]


def test_what_took_a_session_is_in_its_usage_record(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = SqlLedger(path)
    ledger.append([], [replace(usage("a"), end_reason="expired", end_code="called_back"), usage("b")])
    ledger.close()
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT session_id, end_reason, end_code FROM usage ORDER BY session_id").fetchall()
    assert rows == [("a", "expired", "called_back"), ("b", "released", "")]


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ledger.sqlite"
    SqlLedger(path).load()
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


def test_the_journal_is_kept_back_to_the_older_snapshot(tmp_path: Path) -> None:
    ledger = SqlLedger(tmp_path / "l.sqlite")
    for seq in range(1, 10):
        ledger.append([entry(seq)])
        if seq % 3 == 0:
            ledger.save_snapshot(seq, f"state {seq}")
    snapshot, entries = ledger.load()
    assert snapshot == (9, "state 9")
    assert entries == []
    ledger.close()
    import sqlite3

    with sqlite3.connect(tmp_path / "l.sqlite") as db:
        assert [r[0] for r in db.execute("select seq from journal order by seq")] == [7, 8, 9]


def test_a_transaction_that_is_killed_leaves_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    program = f"""
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from swangpu.ledger.store import SqlLedger
from swangpu.domain.records import JournalEntry
ledger = SqlLedger(Path({str(path)!r}))
ledger.load()
n = 0
while True:
    ledger.append([JournalEntry(n + i, 0.0, 1, "e" * 2000, "c") for i in range(1, 11)])
    n += 10
    print(n, flush=True)
"""
    for _ in range(3):
        path.unlink(missing_ok=True)
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=os.environ)
        assert child.stdout is not None
        acknowledged = int([child.stdout.readline() for _ in range(5)][-1])
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
        child.wait()
        acknowledged = int(rest[-1]) if rest else acknowledged
        _, entries = SqlLedger(path).load()
        assert len(entries) % 10 == 0, "half a group was stored"
        assert len(entries) >= acknowledged, "something was acknowledged and is not there"


def test_a_full_disk_is_one_sentence_and_nothing_is_stored(tmp_path: Path) -> None:
    ledger = SqlLedger(tmp_path / "l.sqlite")
    ledger.append([entry(1)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "l.sqlite").stat().st_size, before[1]))
        with pytest.raises(LedgerUnavailable) as raised:
            ledger.append([entry(2, 100_000)], [usage("s1")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert raised.value.detail
    assert raised.value.hint
    _, entries = ledger.load()
    assert entries == [entry(1)]
    assert ledger.usage("user", 0.0, 1e9, None) == []
    ledger.append([entry(2)])
    assert len(ledger.load()[1]) == 2


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    first = SqlLedger(tmp_path / "l.sqlite")
    first.append([entry(1)])
    with pytest.raises(LedgerUnavailable) as raised:
        SqlLedger(tmp_path / "l.sqlite").load()
    assert raised.value.code == "ledger_locked"


def test_a_damaged_file_is_put_aside_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    path.write_bytes(b"this is no database" * 1000)
    ledger = SqlLedger(path)
    assert ledger.load() == (None, [])
    assert ledger.put_aside is not None
    assert ledger.put_aside.read_bytes().startswith(b"this is no database")


def test_an_empty_file_is_a_new_ledger(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    path.touch()
    assert SqlLedger(path).load() == (None, [])


def test_a_newer_ledger_is_refused_in_words(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "l.sqlite"
    first = SqlLedger(path)
    first.load()
    first.close()
    with sqlite3.connect(path) as db:
        db.execute("update schema_version set version = 99")
    with pytest.raises(LedgerUnavailable) as raised:
        SqlLedger(path).load()
    assert raised.value.code == "ledger_newer"


def test_reports_sum_what_was_held_and_what_was_not_served(tmp_path: Path) -> None:
    ledger = SqlLedger(tmp_path / "l.sqlite")
    ledger.append([], [usage("a"), usage("b", "bob"), usage("c", flavor="a100")])
    ledger.append([], [usage("a")])  # told again after a crash
    looked = [
        DemandRecord(10.0, "alice", o, "kernel", flavor="t4", waited_s=w)
        for o, w in [("looked", None), ("granted", 5.0), ("granted", 15.0), ("refused", None)]
    ]
    ledger.append([], (), looked)
    assert ledger.usage("user", 0.0, 1e9, None) == [
        {"key": "alice", "sessions": 2, "held_gpu_s": 120.0, "busy_s": 60.0},
        {"key": "bob", "sessions": 1, "held_gpu_s": 60.0, "busy_s": 30.0},
    ]
    assert [r["key"] for r in ledger.usage("flavor", 0.0, 1e9, "bob")] == ["t4"]
    (row,) = ledger.demand("flavor", 0.0, 1e9, None)
    assert (row["looked"], row["granted"], row["refused"]) == (1, 2, 1)
    assert (row["waited_p50_s"], row["waited_p90_s"]) == (15.0, 15.0)


@pytest.mark.parametrize("text", ["", "[]", '{"type": "Nothing"}', '{"type": "BrokerState", "sessions": 3}', "null"])
def test_what_cannot_be_decoded_is_one_sentence(text: str) -> None:
    with pytest.raises(LedgerUnavailable):
        decode(text, {"BrokerState": BrokerState})
