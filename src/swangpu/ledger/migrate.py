"""Bring a ledger of an older version to this one: in a process of its own, on a copy, all or nothing.

Whether there is something to do is seen from ``schema_version`` alone. Alembic is loaded only in the other process.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from ..errors import LedgerUnavailable

__all__ = ["upgrade"]

log = logging.getLogger(__name__)

#: a ledger of a busy year takes seconds
TIMEOUT_S = 600.0
_START = (
    "import sys; sys.path[:] = filter(None, sys.path); import runpy; "
    "runpy.run_module('swangpu.ledger.migrate', run_name='__main__', alter_sys=True)"
)
MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(path: Path) -> None:
    """Upgrade a file that nobody has open; it is replaced at the end, or stays as it was.

    Raises
    ------
    LedgerUnavailable
    """
    # not with -m, which would look for modules in the working directory first
    command = [sys.executable, "-c", _START, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False)
        said, failed = done.stderr, done.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as error:
        said, failed = str(error), True
    if failed:
        log.error("The ledger could not be upgraded: %s", said[-4000:])
        raise LedgerUnavailable(
            "The ledger is of an older version and could not be upgraded.",
            hint="It was left as it was; the log says why. The version of swangpu that wrote it still reads it.",
            code="ledger_not_upgraded",
        )
    log.info("The ledger %s was upgraded.", path.name)


def run(path: Path) -> None:
    """In the other process: copy, upgrade the copy, put it in the old one's place."""
    copy = path.with_name(f"{path.name}.upgrade")
    copy.unlink(missing_ok=True)
    copy.touch(mode=0o600)
    try:
        with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(copy)) as new:
            old.backup(new)
        _upgrade(copy)
        with copy.open("rb") as file:
            os.fsync(file.fileno())
        copy.replace(path)
    finally:
        copy.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _upgrade(path: Path) -> None:
    import sqlalchemy as sa
    from alembic import command
    from alembic.config import Config

    from . import tables as t

    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), poolclass=sa.pool.NullPool)
    with engine.begin() as db:
        version = int(db.execute(sa.select(t.schema.c.version)).scalar_one())
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = db
        # `schema_version` is what counts; Alembic's own table is made from it each time
        command.stamp(config, revision(version))
        command.upgrade(config, revision(t.SCHEMA_VERSION))
        db.execute(sa.update(t.schema).values(version=t.SCHEMA_VERSION))
    engine.dispose()


def revision(version: int) -> str:
    """Alembic's name of a version."""
    return f"{version:04d}"


if __name__ == "__main__":
    run(Path(sys.argv[1]))
