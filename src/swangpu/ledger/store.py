"""The ledger in a database: SQLite for one user, the same tables in PostgreSQL for a hub.

SQLAlchemy is imported when a ledger is opened, not when this module is: it costs a third of a second that no start
of a notebook server should wait for.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..domain.records import DemandRecord, JournalEntry, UsageRecord
from ..errors import LedgerUnavailable
from . import reports

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

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

    Notes
    -----
    One connection, ``locking_mode=EXCLUSIVE`` and ``journal_mode=TRUNCATE``: no shared memory, so it is safe on a
    network home, and a second process is refused instead of corrupting it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        #: a damaged file that was put aside, to be told to the person
        self.put_aside: Path | None = None

    def load(self) -> tuple[tuple[int, str] | None, Sequence[JournalEntry]]:
        import sqlalchemy as sa

        from . import tables as t

        with self._transaction() as db:
            row = db.execute(sa.select(t.snapshot).order_by(t.snapshot.c.seq.desc()).limit(1)).one_or_none()
            after = row.seq if row is not None else 0
            found = db.execute(sa.select(t.journal).where(t.journal.c.seq > after).order_by(t.journal.c.seq))
            entries = [JournalEntry(r.seq, r.now, r.policy_version, r.event, r.commands) for r in found]
        return ((row.seq, row.state) if row is not None else None), entries

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
            db.execute(sa.insert(t.snapshot), [{"seq": seq, "state": state}])
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

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    # -- inside -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """All of it or nothing; whatever the database says becomes one sentence."""
        import sqlalchemy as sa

        try:
            db = self._open()
            with db.begin():
                yield db
        except (sa.exc.SQLAlchemyError, OSError) as error:
            # The connection may be in any state after a disk error: a new one is made next time.
            with contextlib.suppress(Exception):
                self.close()
            raise _unavailable(error) from error

    def _open(self) -> Connection:
        if self._connection is not None:
            return self._connection
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        try:
            self._connection = self._connect()
        except Exception as error:
            self.close()
            if not _damaged(error):
                raise
            self._put_aside()
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> Connection:
        import sqlalchemy as sa

        from . import tables as t

        self._engine = sa.create_engine(
            f"sqlite:///{self._path}", poolclass=sa.pool.StaticPool, connect_args={"timeout": 1.0}
        )
        db = self._engine.connect()
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=TRUNCATE", "synchronous=FULL", "foreign_keys=ON"):
            db.exec_driver_sql(f"PRAGMA {pragma}")
        db.rollback()
        with db.begin():
            fresh = not sa.inspect(db).has_table(t.journal.name)
            if fresh:
                t.metadata.create_all(db)
                db.execute(sa.insert(t.schema), [{"version": t.SCHEMA_VERSION}])
                return db
            version = db.execute(sa.select(t.schema.c.version)).scalar_one()
        if version > t.SCHEMA_VERSION:
            db.close()
            raise LedgerUnavailable(
                "The ledger was written by a newer version of swangpu.",
                hint="Update swangpu, or move the file away to start afresh.",
                code="ledger_newer",
            )
        return db

    def _put_aside(self) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
        self._path.rename(aside)
        self._path.touch(mode=0o600)
        self.put_aside = aside
        log.error("The ledger %s is damaged; it was kept as %s and a new one begun.", self._path.name, aside.name)


def _damaged(error: Exception) -> bool:
    text = str(getattr(error, "orig", error)).lower()
    return "not a database" in text or "malformed" in text


def _unavailable(error: Exception) -> LedgerUnavailable:
    text = str(getattr(error, "orig", error)).lower()
    if "full" in text or "no space" in text:
        return LedgerUnavailable(
            "The disk with the ledger is full.", hint="Make room; nothing was changed.", code="disk_full"
        )
    if "locked" in text:
        return LedgerUnavailable(
            "Another process has the ledger open.",
            hint="Stop the other server of yours on this host.",
            code="ledger_locked",
        )
    if "readonly" in text or "read-only" in text or "permission" in text:
        return LedgerUnavailable(
            "The ledger cannot be written.", hint="Check the rights of the data directory.", code="ledger_read_only"
        )
    log.error("The ledger failed: %s", error)
    return LedgerUnavailable("The ledger does not work now.", hint="Nothing was changed. The log says more.")
