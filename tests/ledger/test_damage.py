"""Killed at any moment, on a full or failing disk, with a damaged file: all or nothing, and nothing silently lost."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needs import missing, tool
from swangpu.domain.records import DemandRecord, JournalEntry, UsageRecord
from swangpu.errors import LedgerUnavailable
from swangpu.ledger.store import SqlLedger


def entry(seq: int, size: int = 10) -> JournalEntry:
    return JournalEntry(seq, 1000.0 + seq, 1, "e" * size, f"c{seq}")


def demand(seq: int) -> DemandRecord:
    return DemandRecord(float(seq), "alice", "looked", "kernel")


def usage(seq: int) -> UsageRecord:
    return UsageRecord(f"s{seq}", "bob", None, "kernel", "local", "t4", 1, 16, 0.0, 1.0, 9.0, 60.0, 30.0, "released")


def stored(ledger: SqlLedger) -> tuple[int, int, int]:
    """Last entry, number of usage and of demand records."""
    snapshot, entries = ledger.load()
    last = entries[-1].seq if entries else snapshot[0] if snapshot else 0
    used = sum(int(str(row["sessions"])) for row in ledger.usage("user", 0.0, 1e12, None))
    looked = sum(int(str(row["looked"])) for row in ledger.demand("user", 0.0, 1e12, None))
    return last, used, looked


def write_for_ever(path: Path, seed: int, acknowledge: int) -> None:
    """Append groups with one usage and one demand record for each entry; say each number once it is durable."""
    rng = random.Random(seed)
    ledger = SqlLedger(path)
    seq = stored(ledger)[0]
    while True:
        seqs = range(seq + 1, seq + 1 + rng.randint(1, 20))
        ledger.append([entry(n, rng.choice([10, 5000])) for n in seqs], [usage(n) for n in seqs], map(demand, seqs))
        seq = seqs[-1]
        os.write(acknowledge, f"{seq}\n".encode())
        if rng.random() < 0.2:
            ledger.save_snapshot(seq, f'{{"at": {seq}}}' + " " * rng.choice([0, 20_000]))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**32), st.floats(0.0, 0.05)), min_size=1, max_size=4))
def test_killed_at_any_moment(tmp_path_factory: pytest.TempPathFactory, rounds: list[tuple[int, float]]) -> None:
    path = tmp_path_factory.mktemp("killed") / "l.sqlite"
    for seed, delay_s in rounds:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                write_for_ever(path, seed, writer)
            os._exit(1)
        os.close(writer)
        time.sleep(0.005 + delay_s)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), "the writer failed by itself"
        with os.fdopen(reader) as lines:
            acknowledged = int((["0", *lines.read().split()])[-1])
        ledger = SqlLedger(path)
        last, used, looked = stored(ledger)
        ledger.close()
        assert ledger.put_aside is None, "a crash is no damage"
        assert last >= acknowledged, "something was acknowledged and is not there"
        assert (used, looked) == (last, last), "a part of a group was stored"


@contextlib.contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 60_000), st.lists(st.integers(1, 20_000), min_size=1, max_size=6))
def test_a_disk_that_ends_anywhere(tmp_path_factory: pytest.TempPathFactory, room: int, sizes: list[int]) -> None:
    path = tmp_path_factory.mktemp("full") / "l.sqlite"
    ledger = SqlLedger(path)
    ledger.append([entry(1)], [usage(1)], [demand(1)])
    seq = 1
    with files_no_larger_than(path.stat().st_size + room):
        for size in sizes:
            with contextlib.suppress(LedgerUnavailable):
                ledger.append([entry(seq + 1, size)], [usage(seq + 1)], [demand(seq + 1)])
                seq += 1
    assert stored(ledger) == (seq, seq, seq)
    ledger.append([entry(seq + 1, 50_000)], [usage(seq + 1)], [demand(seq + 1)])
    assert stored(ledger) == (seq + 1,) * 3
    ledger.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount, umount = tool("mount"), tool("umount")
    if os.geteuid() != 0 or mount is None or umount is None:
        missing("mounting a small disk needs root")
    command = [mount, "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True).returncode:
        missing("this machine lets nobody mount a disk")
    yield disk
    subprocess.run([umount, "-l", str(disk)], check=True)


def test_a_really_full_disk(small_disk: Path) -> None:
    ledger = SqlLedger(small_disk / "l.sqlite")
    ledger.append([entry(1)])
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    with pytest.raises(LedgerUnavailable) as raised:
        ledger.append([entry(2, 100_000)], [usage(2)])
    assert raised.value.code == "disk_full"
    assert raised.value.hint
    filler.unlink()
    assert stored(ledger) == (1, 0, 0)
    ledger.append([entry(2)])
    ledger.close()


def test_a_disk_that_becomes_read_only(small_disk: Path) -> None:
    ledger = SqlLedger(small_disk / "l.sqlite")
    ledger.append([entry(1)])
    ledger.close()
    subprocess.run([str(tool("mount")), "-o", "remount,ro", str(small_disk)], check=True)
    for path in (small_disk / "l.sqlite", small_disk / "new.sqlite", small_disk / "sub" / "new.sqlite"):
        with pytest.raises(LedgerUnavailable) as raised:
            SqlLedger(path).append([entry(2)])
        assert raised.value.code == "ledger_read_only", path


def filled(path: Path) -> None:
    ledger = SqlLedger(path)
    for seq in range(1, 61):
        ledger.append([entry(seq, 500)], [usage(seq)], [demand(seq)])
        if seq in (20, 40):
            ledger.save_snapshot(seq, f"state {seq}")
    ledger.close()


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 1.0), st.booleans(), st.randoms(use_true_random=False))
def test_damage_anywhere_is_found_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, where: float, cut: bool, rng: random.Random
) -> None:
    directory = tmp_path_factory.mktemp("damage")
    path = directory / "l.sqlite"
    filled(path)
    content = path.read_bytes()
    at = int(where * (len(content) - 1))
    damaged = content[:at] if cut else content[:at] + rng.randbytes(512) + content[at + 512 :]
    path.write_bytes(damaged)
    ledger = SqlLedger(path)
    try:
        snapshot, entries = ledger.load()
    except LedgerUnavailable:
        # The few bytes that name the schema's version, or its tables: refused in words, nothing touched.
        assert path.read_bytes() == damaged
        return
    if ledger.put_aside is not None:
        assert (snapshot, entries) == (None, [])
        assert ledger.put_aside.read_bytes() == damaged
    elif damaged:
        assert [e.seq for e in entries] == list(range(snapshot[0] + 1 if snapshot else 1, 61))
    ledger.append([JournalEntry(entries[-1].seq + 1 if entries else 1, 0.0, 1, "e", "c")])
    ledger.close()


@pytest.mark.parametrize("size", [0, 1, 15, 16, 99, 100, 512, 4095, 4096, 8192])
def test_a_file_of_which_only_the_beginning_is_left(tmp_path: Path, size: int) -> None:
    path = tmp_path / "l.sqlite"
    filled(path)
    path.write_bytes(path.read_bytes()[:size])
    ledger = SqlLedger(path)
    assert ledger.load() == (None, [])
    assert (ledger.put_aside is not None) == (size > 1)  # SQLite takes one byte for an empty file


def test_damage_during_life_does_not_start_afresh(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    filled(path)
    path.write_bytes(b"this is no database" * 1000)
    ledger = SqlLedger(path)
    with pytest.raises(LedgerUnavailable) as raised:
        ledger.append([entry(61)])
    assert raised.value.code == "ledger_damaged"
    assert path.read_bytes().startswith(b"this is no database")
    assert ledger.load() == (None, [])


def test_two_damaged_files_in_one_second_are_both_kept(tmp_path: Path) -> None:
    kept = set()
    for n in range(3):
        (tmp_path / "l.sqlite").write_bytes(b"no database %d" % n * 100)
        ledger = SqlLedger(tmp_path / "l.sqlite")
        ledger.load()
        ledger.close()
        assert ledger.put_aside is not None
        kept.add(ledger.put_aside.read_bytes()[:13])
    assert len(kept) == 3


def edit(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)


def test_the_snapshot_before_is_used_when_the_newest_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    filled(path)
    edit(path, "update snapshot set state = substr(state, 2) where seq = 40")
    ledger = SqlLedger(path)
    snapshot, entries = ledger.load()
    assert snapshot == (20, "state 20")
    assert [e.seq for e in entries] == list(range(21, 61))
    assert ledger.put_aside is None


@pytest.mark.parametrize(
    "statement",
    [
        "update snapshot set state = ''",
        "delete from journal where seq = 50",
        "update snapshot set sha256 = '' where seq = 40; ",
    ],
)
def test_what_does_not_fit_together_is_put_aside_or_mended(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "l.sqlite"
    filled(path)
    edit(path, statement)
    ledger = SqlLedger(path)
    snapshot, entries = ledger.load()
    mended = snapshot == (20, "state 20") and len(entries) == 40
    assert mended or (ledger.put_aside is not None and snapshot is None and not entries)


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    edit(path, "create table theirs (a)")
    before = path.read_bytes()
    with pytest.raises(LedgerUnavailable) as raised:
        SqlLedger(path).load()
    assert raised.value.code == "ledger_foreign"
    assert path.read_bytes() == before


def test_another_process_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    first = SqlLedger(path)
    first.load()  # reading is enough to hold it
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            try:
                SqlLedger(path).load()
            except LedgerUnavailable as error:
                code = 0 if error.code == "ledger_locked" else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    first.close()
    second = SqlLedger(path)
    second.append([entry(1)])
    second.close()


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    path.touch(mode=0o644)
    path.chmod(0o644)
    SqlLedger(path).load()
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_heavy_is_imported_before_a_ledger_is_opened() -> None:
    program = "import sys; from swangpu.ledger.store import SqlLedger; print('sqlalchemy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
