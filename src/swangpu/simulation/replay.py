"""Visits made from what a site's ledger has kept: the same people, at the same times, under other rules.

The journal says when cells began and ended. Where it has been cut already, the usage records tell how long somebody
computed in all, and that is spread evenly over the session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..domain.records import DemandRecord, UsageRecord
from ..domain.rows import replace
from .site import DEVICE_BYTES
from .workload import GB, HOUR_S, Cell, Visit

__all__ = ["visits_from"]

#: where nothing but a sum is known: cells of this length, as the published median
CELL_S = 120.0
#: who asked and never got anything came for this
WANTED = (Cell(0.0, CELL_S),)
#: where no memory was named
MEMORY_BYTES = 10 * GB
METHODS = ("offload", "carry", "checkpoint")


def visits_from(
    usage: Sequence[UsageRecord],
    demand: Sequence[DemandRecord] = (),
    activity: Mapping[str, Iterable[tuple[float, bool]]] | None = None,
    *,
    patience_s: float = HOUR_S / 2,
    used_part: float = 0.5,
) -> tuple[Visit, ...]:
    """Visits from a ledger's rows, from the midnight (UTC) before the first.

    Parameters
    ----------
    usage : sequence of UsageRecord
    demand : sequence of DemandRecord
        Who gave up or was refused comes too: that is what more GPUs, or better rules, would serve.
    activity : mapping, optional
        By session: times (Unix seconds) and whether a cell ran from then on; out of the journal.
    patience_s : float
        After so long people give up; a ledger does not tell.
    used_part : float
        Of what was asked for, so much is taken to be in use by those who computed.
    """
    found: list[tuple[float, Visit]] = []
    for one in usage:
        cells = _cells(one, (activity or {}).get(one.session_id))
        memory = _memory(one.memory_bytes // max(1, one.count))
        used = int(memory * used_part) if one.busy_s is None or one.busy_s > 0 else 0
        closes = one.end_reason == "released"
        visit = Visit(
            one.session_id, 0.0, one.user, one.project or "", memory, used, cells, closes, patience_s, METHODS
        )
        found.append((one.created_at, visit))
    for number, row in enumerate(demand):
        if row.outcome not in ("given_up", "refused", "unclaimed"):
            continue
        asked = row.at - (row.waited_s or 0.0)
        memory = _memory(row.memory_bytes)
        name = row.session_id or f"refused-{number}"
        used = int(memory * used_part)
        visit = Visit(name, 0.0, row.user, row.project or "", memory, used, WANTED, True, patience_s, METHODS)
        found.append((asked, visit))
    if not found:
        return ()
    found.sort(key=lambda pair: (pair[0], pair[1].id))
    midnight = found[0][0] // 86400 * 86400
    return tuple(replace(visit, at=at - midnight) for at, visit in found)


def _memory(memory_bytes: int | None) -> int:
    """What is asked for in the simulation: the devices there have so much, and a visit takes one share."""
    return min(memory_bytes or MEMORY_BYTES, DEVICE_BYTES)


def _cells(one: UsageRecord, activity: Iterable[tuple[float, bool]] | None) -> tuple[Cell, ...]:
    out: list[Cell] = []
    free_from, running = one.started_at, None
    for at, busy in activity or ():
        if busy and running is None:
            running = at
        elif not busy and running is not None:
            if at > running:
                out.append(Cell(max(0.0, running - free_from), at - running))
            free_from, running = at, None
    if running is not None and one.ended_at > running:
        out.append(Cell(max(0.0, running - free_from), one.ended_at - running))
    if out:
        return tuple(out)
    if one.busy_s is None:
        # a command computes as long as it runs
        return (Cell(0.0, max(0.05, one.ended_at - one.started_at)),)
    busy_s = one.busy_s
    count = max(1, round(busy_s / CELL_S))
    lasted_s = max(busy_s, one.ended_at - one.started_at)
    gap_s = (lasted_s - busy_s) / count
    return tuple(Cell(gap_s if n else min(gap_s, 60.0), max(0.05, busy_s / count)) for n in range(count))
