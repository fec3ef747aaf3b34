"""Profiles of cells: kept within bounds, read by session and by notebook."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..domain.records import ProfileRecord, RunPeak

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row

__all__ = ["KEPT", "KEPT_ALTOGETHER", "KEPT_RUNS", "add", "of_session", "run_peaks"]

#: cells that are kept of a notebook, or of a session whose kernel has none
KEPT = 100
#: of the newest runs of it the last cell is kept too, since it knows the whole run's peak
KEPT_RUNS = 10
#: cells that are kept of all notebooks
KEPT_ALTOGETHER = 20_000


def add(db: Connection, record: ProfileRecord) -> None:
    """Keep one more, and forget the oldest where that is one too many."""
    import sqlalchemy as sa

    from . import tables as t

    values: dict[str, Any] = asdict(record)
    values["allocators"] = json.dumps(record.allocators)
    values["missing"] = json.dumps(dict(record.missing))
    newest = db.execute(sa.insert(t.profile).values(values).returning(t.profile.c.id)).scalar_one()
    own, ids = _alike(record), t.profile.c.id
    cells = sa.select(ids).where(own).order_by(ids.desc()).limit(KEPT)
    last = sa.func.max(ids)
    runs = sa.select(last).where(own).group_by(t.profile.c.run_id).order_by(last.desc()).limit(KEPT_RUNS)
    db.execute(sa.delete(t.profile).where(own, ids.not_in(cells), ids.not_in(runs)))
    db.execute(sa.delete(t.profile).where(ids <= newest - KEPT_ALTOGETHER))


def _alike(record: ProfileRecord) -> ColumnElement[bool]:
    """Those that are counted together with this one."""
    import sqlalchemy as sa

    from . import tables as t

    if record.path is None:
        return sa.and_(t.profile.c.session_id == record.session_id, t.profile.c.path.is_(None))
    return sa.and_(t.profile.c.user == record.user, t.profile.c.path == record.path)


def of_session(db: Connection, session_id: str) -> Sequence[ProfileRecord]:
    """Oldest first."""
    import sqlalchemy as sa

    from . import tables as t

    found = db.execute(sa.select(t.profile).where(t.profile.c.session_id == session_id).order_by(t.profile.c.id))
    return [_record(row) for row in found]


def _record(row: Row[Any]) -> ProfileRecord:
    values = dict(row._mapping)
    del values["id"]
    values["allocators"] = tuple(json.loads(values["allocators"]))
    values["missing"] = tuple(json.loads(values["missing"]).items())
    return ProfileRecord(**values)


def run_peaks(db: Connection, user: str, path: str, limit: int) -> Sequence[RunPeak]:
    """Newest first: runs of a notebook whose every cell was profiled, and whose allocators told their peak."""
    import sqlalchemy as sa

    from . import tables as t

    c = t.profile.c
    query = (
        sa.select(
            c.run_id,
            sa.func.max(c.ended_at).label("ended_at"),
            sa.func.max(c.run_peak_bytes).label("peak_bytes"),
            sa.func.max(c.share_memory_bytes).label("share_memory_bytes"),
        )
        .where(c.user == user, c.path == path)
        .group_by(c.run_id)
        # one cell that was profiled alone, or that ended the profiling: others of that run are not known
        .having(sa.func.min(sa.case((c.every_cell, 1), else_=0)) == 1, sa.func.max(c.run_peak_bytes).is_not(None))
        .order_by(sa.desc("ended_at"))
        .limit(limit)
    )
    return [RunPeak(**row._mapping) for row in db.execute(query)]
