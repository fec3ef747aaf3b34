"""The ledger in a database: SQLite for one user, the same tables in PostgreSQL for a hub.

SQLAlchemy is imported when a ledger is opened, not when this module is: it costs a third of a second that no start
of a notebook server should wait for.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..domain.records import DemandRecord, JournalEntry, ProfileRecord, RunPeak, UsageRecord
from ..errors import LedgerUnavailable
from . import migrate, profiles, reports, sqlite

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["SqlLedger"]

log = logging.getLogger(__name__)

#: snapshots kept; the journal is kept from the older of them on, in case the newer can't be read
KEPT_SNAPSHOTS = 2


class SqlLedger:
    """Implements `swangpu.ports.Ledger`.

    Parameters
    ----------
    path : Path
        The SQLite file. It is opened at the first call, on the thread that makes it, which must then make all.

    Attributes
    ----------
    put_aside : Path or None
        A damaged file that `load` put aside, to be told to the person.

    Notes
    -----
    One connection, ``locking_mode=EXCLUSIVE`` and ``journal_mode=TRUNCATE``: no shared memory, so it is safe on a
    network home, and a second process is refused instead of corrupting it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: Connection | None = None
        self.put_aside: Path | None = None

    def load(self) -> tuple[tuple[int, str] | None, Sequence[JournalEntry]]:
        try:
            with self._transaction() as db:
                return _load(db)
        except LedgerUnavailable as error:
            # Only here. Later the caller has its state in memory, and a journal that begins in its middle is worth
            # nothing.
            if error.__cause__ is None or not sqlite.is_damage(error.__cause__):
                raise
        try:
            self.put_aside = sqlite.put_aside(self._path)
        except OSError as error:
            raise sqlite.explain(error) from error
        with self._transaction() as db:
            return _load(db)

    def append(
        self,
        entries: Sequence[JournalEntry],
        usage: Sequence[UsageRecord] = (),
        demand: Sequence[DemandRecord] = (),
    ) -> None:
        import sqlalchemy as sa

        from . import tables as t

        with self._transaction() as db:
            if entries:
                db.execute(sa.insert(t.journal), [asdict(e) for e in entries])
            for record in usage:
                # The same end can be told twice after a crash; the later telling knows more.
                db.execute(sa.delete(t.usage).where(t.usage.c.session_id == record.session_id))
                db.execute(sa.insert(t.usage), [asdict(record)])
            if demand:
                db.execute(sa.insert(t.demand), [asdict(d) for d in demand])

    def save_snapshot(self, seq: int, state: str) -> None:
        import sqlalchemy as sa

        from . import tables as t

        with self._transaction() as db:
            db.execute(sa.delete(t.snapshot).where(t.snapshot.c.seq == seq))
            db.execute(sa.insert(t.snapshot), [{"seq": seq, "sha256": _digest(state), "state": state}])
            kept = db.execute(sa.select(t.snapshot.c.seq).order_by(t.snapshot.c.seq.desc()).limit(KEPT_SNAPSHOTS))
            oldest = min(row.seq for row in kept)
            db.execute(sa.delete(t.snapshot).where(t.snapshot.c.seq < oldest))
            db.execute(sa.delete(t.journal).where(t.journal.c.seq <= oldest))

    def usage(self, by: str, start: float, end: float, user: str | None) -> Sequence[Mapping[str, object]]:
        with self._transaction() as db:
            return reports.usage(db, by, start, end, user)

    def demand(self, by: str, start: float, end: float, user: str | None) -> Sequence[Mapping[str, object]]:
        with self._transaction() as db:
            return reports.demand(db, by, start, end, user)

    def add_profile(self, record: ProfileRecord) -> None:
        with self._transaction() as db:
            profiles.add(db, record)

    def profiles(self, session_id: str) -> Sequence[ProfileRecord]:
        with self._transaction() as db:
            return profiles.of_session(db, session_id)

    def run_peaks(self, user: str, path: str, limit: int) -> Sequence[RunPeak]:
        with self._transaction() as db:
            return profiles.run_peaks(db, user, path, limit)

    def close(self) -> None:
        if self._connection is not None:
            sqlite.close(self._connection)
            self._connection = None

    # -- inside -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """All of it or nothing; whatever the database says becomes one sentence."""
        import sqlalchemy as sa

        try:
            db = self._open()
            with db.begin():
                yield db
        except (sa.exc.SQLAlchemyError, sqlite3.Error, sqlite.Damaged, OSError) as error:
            # The connection may be in any state after a disk error: a new one is made next time.
            self.close()
            raise sqlite.explain(error) from error

    def _open(self) -> Connection:
        if self._connection is None:
            sqlite.prepare(self._path)
            db, current = self._checked()
            if not current:
                sqlite.close(db)
                migrate.upgrade(self._path)
                db, _ = self._checked()
            self._connection = db
        return self._connection

    def _checked(self) -> tuple[Connection, bool]:
        db = sqlite.connect(self._path)
        try:
            return db, _is_current(db)
        except BaseException:
            sqlite.close(db)
            raise


def _is_current(db: Connection) -> bool:
    """Whether the tables are those of this version, which an empty file gets.

    Raises
    ------
    LedgerUnavailable
        A newer version, or another program, wrote it.
    """
    import sqlalchemy as sa

    from . import tables as t

    with db.begin():
        found = set(sa.inspect(db).get_table_names())
        if not found:
            t.metadata.create_all(db)
            db.execute(sa.insert(t.schema), [{"version": t.SCHEMA_VERSION}])
            return True
        if t.schema.name not in found:
            raise LedgerUnavailable(
                "The file of the ledger is another program's database.",
                hint="Move it away, or choose another data directory.",
                code="ledger_foreign",
            )
        version = int(db.execute(sa.select(t.schema.c.version)).scalar_one())
    if version > t.SCHEMA_VERSION:
        raise LedgerUnavailable(
            "The ledger was written by a newer version of swangpu.",
            hint="Update swangpu, or move the file away to start afresh.",
            code="ledger_newer",
        )
    return version == t.SCHEMA_VERSION


def _load(db: Connection) -> tuple[tuple[int, str] | None, Sequence[JournalEntry]]:
    import sqlalchemy as sa

    from . import tables as t

    snapshots = db.execute(sa.select(t.snapshot).order_by(t.snapshot.c.seq.desc())).all()
    row = next((s for s in snapshots if s.sha256 == _digest(s.state)), None)
    if snapshots and row is not snapshots[0]:
        log.warning("The newest snapshot can't be read; the one before it and the journal say the same.")
    after = row.seq if row is not None else 0
    found = db.execute(sa.select(t.journal).where(t.journal.c.seq > after).order_by(t.journal.c.seq))
    entries = [JournalEntry(r.seq, r.now, r.policy_version, r.event, r.commands) for r in found]
    if [e.seq for e in entries] != list(range(after + 1, after + 1 + len(entries))):
        raise sqlite.Damaged("entries of the journal are missing")
    if snapshots and after + len(entries) < snapshots[0].seq:
        raise sqlite.Damaged("no snapshot can be read, and the journal does not reach back far enough")
    return ((row.seq, row.state) if row is not None else None), entries


def _digest(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()
