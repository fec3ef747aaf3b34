"""Opening an SQLite file so that it is private, held by one process, safe on a network home, and whole."""

from __future__ import annotations

import contextlib
import logging
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LedgerUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Damaged", "close", "connect", "explain", "is_damage", "prepare", "put_aside"]

log = logging.getLogger(__name__)

#: how long another process may hold the file before that is told, in seconds
BUSY_S = 1.0

_PRAGMAS = (
    # No shared memory, which network file systems do not have, and a second process is refused.
    "locking_mode=EXCLUSIVE",
    "journal_mode=TRUNCATE",
    "synchronous=FULL",
    # A full /tmp must not make a report fail.
    "temp_store=MEMORY",
)


class Damaged(Exception):
    """The file can be opened, and what it holds does not fit together."""


def prepare(path: Path) -> None:
    """Make the file and its directory where they are missing, readable by nobody else."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Never opened and closed here when it is there: that would drop the locks that this process has on it.
    if not path.exists():
        path.touch(mode=0o600)
    elif stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)


def connect(path: Path) -> Connection:
    """One connection, locked against others, its transactions begun by SQLAlchemy alone."""
    import sqlalchemy as sa

    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        poolclass=sa.pool.StaticPool,
        connect_args={"timeout": BUSY_S, "isolation_level": None, "check_same_thread": False},
        # What people do is not for the log.
        hide_parameters=True,
    )

    # Python's own BEGIN leaves out CREATE TABLE: a crash between two of them would leave half a schema.
    @sa.event.listens_for(engine, "begin")
    def begin(db: Connection) -> None:
        db.exec_driver_sql("BEGIN EXCLUSIVE")

    db = engine.connect()
    try:
        raw = db.connection.cursor()
        for pragma in _PRAGMAS:
            raw.execute(f"PRAGMA {pragma}")
        raw.close()
        _check_whole(db)
    except BaseException:
        close(db)
        raise
    return db


def _check_whole(db: Connection) -> None:
    with db.begin():
        found = db.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise Damaged(str(found))


def close(db: Connection) -> None:
    """Close, whatever state it is in."""
    with contextlib.suppress(Exception):
        db.close()
    with contextlib.suppress(Exception):
        db.engine.dispose()


def put_aside(path: Path) -> Path:
    """Rename a damaged file, with the rollback journal that belongs to it, and make an empty one in its place."""
    name = f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}"
    aside, n = path.with_name(name), 1
    while aside.exists():
        aside, n = path.with_name(f"{name}-{n}"), n + 1
    path.rename(aside)
    rollback = path.with_name(f"{path.name}-journal")
    if rollback.exists():
        rollback.rename(aside.with_name(f"{aside.name}-journal"))
    prepare(path)
    log.error("The ledger %s is damaged; it was kept as %s and a new one begun.", path.name, aside.name)
    return aside


def is_damage(error: BaseException) -> bool:
    """Whether the file's content is at fault, not the disk or somebody's lock."""
    text = str(getattr(error, "orig", error)).lower()
    return isinstance(error, Damaged) or "not a database" in text or "malformed" in text


def explain(error: BaseException) -> LedgerUnavailable:
    """What the database or the disk said, in a sentence and with what helps."""
    if is_damage(error):
        return LedgerUnavailable(
            "The ledger is damaged.",
            hint="Restart the server: the damaged file is kept beside it and a new one begun.",
            code="ledger_damaged",
        )
    text = str(getattr(error, "orig", error)).lower()
    for words, detail, hint, code in _SENTENCES:
        if any(word in text for word in words):
            return LedgerUnavailable(detail, hint=hint, code=code)
    log.error("The ledger failed: %s: %s", type(error).__name__, error)
    return LedgerUnavailable("The ledger does not work now.", hint="Nothing was changed. The log says more.")


_SENTENCES = (
    (
        ("is full", "no space"),
        "The disk with the ledger is full.",
        "Make room; nothing was changed.",
        "disk_full",
    ),
    (
        ("locked",),
        "Another process has the ledger open.",
        "Stop the other server of yours on this host.",
        "ledger_locked",
    ),
    (
        ("readonly", "read-only", "permission", "not permitted", "unable to open"),
        "The ledger cannot be written.",
        "Check the rights of the data directory.",
        "ledger_read_only",
    ),
    (
        ("disk i/o", "input/output", "quota", "file too large"),
        "The disk with the ledger fails, or its quota is used up.",
        "Check the quota of the data directory; nothing was changed.",
        "disk_error",
    ),
)
