"""Usage and demand, summed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import BadInput

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["OUTCOMES", "demand", "usage"]

#: what can become of demand, in the order of the report's columns
OUTCOMES = ("looked", "granted", "refused", "given_up", "unclaimed", "settled", "failed")

#: what to group by, and its column; a group is the project until the hub knows groups
COLUMNS = {"user": "user", "group": "project", "flavor": "flavor", "pool": "pool"}


def usage(db: Connection, by: str, start: float, end: float, user: str | None) -> Sequence[Mapping[str, object]]:
    """Sums over sessions that ended in ``[start, end)``: ``key, sessions, held_gpu_s, busy_s``."""
    import sqlalchemy as sa

    from . import tables as t

    column = t.usage.c[_column(by)]
    query = (
        sa.select(
            sa.func.coalesce(column, "").label("key"),
            sa.func.count().label("sessions"),
            sa.func.sum(t.usage.c.held_s).label("held_gpu_s"),
            sa.func.sum(t.usage.c.busy_s).label("busy_s"),
        )
        .where(t.usage.c.ended_at >= start, t.usage.c.ended_at < end)
        .group_by(sa.func.coalesce(column, ""))
        .order_by(sa.desc("held_gpu_s"), "key")
    )
    if user is not None:
        query = query.where(t.usage.c.user == user)
    return [dict(row) for row in db.execute(query).mappings()]


def demand(db: Connection, by: str, start: float, end: float, user: str | None) -> Sequence[Mapping[str, object]]:
    """Counts of outcomes in ``[start, end)``, and how long the granted and the given-up waited."""
    import sqlalchemy as sa

    from . import tables as t

    column = sa.func.coalesce(t.demand.c[_column(by)], "")
    inside = [t.demand.c.at >= start, t.demand.c.at < end]
    if user is not None:
        inside.append(t.demand.c.user == user)
    rows: dict[str, dict[str, object]] = {}
    counts = sa.select(column.label("key"), t.demand.c.outcome, sa.func.count().label("n")).where(*inside)
    for row in db.execute(counts.group_by(column, t.demand.c.outcome)):
        rows.setdefault(row.key, {"key": row.key, **dict.fromkeys(OUTCOMES, 0)})[row.outcome] = row.n
    waits: dict[str, list[float]] = {}
    waited = sa.select(column.label("key"), t.demand.c.waited_s).where(
        *inside, t.demand.c.waited_s.is_not(None), t.demand.c.outcome.in_(("granted", "given_up"))
    )
    for row in db.execute(waited):
        waits.setdefault(row.key, []).append(row.waited_s)
    for key, report in rows.items():
        report["waited_p50_s"] = _quantile(waits.get(key, []), 0.5)
        report["waited_p90_s"] = _quantile(waits.get(key, []), 0.9)
    return [rows[key] for key in sorted(rows)]


def _column(by: str) -> str:
    if by not in COLUMNS:
        raise BadInput(
            f"A report can't be grouped by {by!r}.", hint=f"One of: {', '.join(COLUMNS)}.", code="unknown_group"
        )
    return COLUMNS[by]


def _quantile(values: list[float], part: float) -> float | None:
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
