"""The rows of a ledger's file, read only: for a replay."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..domain.records import DemandRecord, UsageRecord
from ..errors import BadInput
from ..kernel_side import words
from ..simulation.replay import visits_from
from ..simulation.workload import Visit

__all__ = ["visits_of"]


def visits_of(path: Path) -> tuple[Visit, ...]:
    """The people of a ledger.

    Raises
    ------
    BadInput
        It is not a ledger, or of another version.
    """
    from sqlalchemy import create_engine, select
    from sqlalchemy.exc import SQLAlchemyError

    from ..ledger import tables

    if not path.is_file():
        raise BadInput(f"There is no ledger {words.clean(path)}.", hint="Look at the key ledger of the scenario.")
    uri = f"{path.resolve().as_uri()}?mode=ro"
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(uri, uri=True))
    try:
        with engine.connect() as connection:
            usage = [dict(row) for row in connection.execute(select(tables.usage)).mappings()]
            demand = [dict(row) for row in connection.execute(select(tables.demand)).mappings()]
            journal = connection.execute(select(tables.journal.c.now, tables.journal.c.event)).all()
    except SQLAlchemyError as error:
        raise BadInput(
            f"{words.clean(path)} can't be read as a ledger.",
            hint="Copy it while its server is down; a server of this version brings an older one up to date.",
        ) from error
    finally:
        engine.dispose()
    activity: dict[str, list[tuple[float, bool]]] = {}
    for now, event in journal:
        row = _event(event)
        if row.get("type") == "ActivityReported":
            activity.setdefault(str(row.get("session_id")), []).append((float(now), bool(row.get("busy"))))
    return visits_from(
        [UsageRecord(**row) for row in usage],
        [DemandRecord(**{k: v for k, v in row.items() if k != "id"}) for row in demand],
        activity,
    )


def _event(text: str) -> Mapping[str, Any]:
    try:
        row = json.loads(text)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}
