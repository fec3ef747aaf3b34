"""While a profiled cell runs, somebody looks: a reading each second, and what each session's shares did in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..domain.devices import ShareKind
from ..domain.sessions import Session
from ..domain.telemetry import Sample
from ..errors import Unavailable
from ..runtime import Runtime
from ..tasks import within
from ..telemetry.profile import MAX_READINGS, Reading, thinned

__all__ = ["MAX_LOOK_S", "Lookout"]

#: a look ends by itself so long after it was last asked for: a kernel that dies asks no more
MAX_LOOK_S = 30.0
#: sessions that are looked at at a time
MAX_SESSIONS = 256
#: a reading of before tells when the next one's time began, unless it is older than this (seconds)
OLDEST_S = 25.0


@dataclass
class _Looked:
    until: float
    before: Sample | None
    readings: list[Reading] = field(default_factory=list)
    missing: Mapping[str, str] = field(default_factory=dict)


class Lookout:
    """Keeps readings coming, and keeps them, for as long as somebody asks for it again and again.

    There is one watch for all; no session is looked at longer than `MAX_LOOK_S` after the last time.
    """

    def __init__(self) -> None:
        self._looked: dict[str, _Looked] = {}
        self._watch: Any = None
        self._unsubscribe: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._told = asyncio.Event()

    def look(self, runtime: Runtime, session: Session, for_s: float) -> float:
        """Look at a session from now on; until when (Unix seconds).

        Raises
        ------
        Unavailable
            Too many are looked at.
        """
        now = runtime.now()
        until = now + min(MAX_LOOK_S, for_s)
        known = self._looked.get(session.id)
        if known is None:
            if len(self._looked) >= MAX_SESSIONS:
                raise Unavailable("Too many cells are profiled at once.", hint="Try again later.", code="too_many")
            before = runtime.telemetry.of_session(session)
            fresh = before is not None and now - before.taken_at <= OLDEST_S
            self._looked[session.id] = _Looked(until, before if fresh else None)
        else:
            known.until = max(known.until, until)
        if self._watch is None:
            self._watch = runtime.telemetry.watch()
            self._unsubscribe = runtime.telemetry.subscribe(lambda snapshot: self._take(runtime))
        self._set_timer(runtime)
        return until

    def readings(self, session_id: str) -> tuple[list[Reading], Mapping[str, str]]:
        """What was read of a session while it was looked at, and why fields are missing."""
        known = self._looked.get(session_id)
        return (list(known.readings), known.missing) if known is not None else ([], {})

    async def read_until(self, session_id: str, at: float, timeout_s: float) -> None:
        """Wait for a reading of ``at`` (Unix seconds) or later; not for ever, and not where nobody looks."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while (known := self._looked.get(session_id)) is not None:
            left_s = deadline - loop.time()
            if left_s <= 0 or (known.readings and known.readings[-1].until >= at):
                return
            self._told.clear()
            try:
                await within(self._told.wait(), left_s)
            except asyncio.TimeoutError:
                return

    def shorten(self, runtime: Runtime, session_id: str, for_s: float) -> None:
        """The cell has ended; the next one may follow soon."""
        known = self._looked.get(session_id)
        if known is not None:
            known.until = min(known.until, runtime.now() + for_s)
            self._set_timer(runtime)

    # -- inside -----------------------------------------------------------------------------------

    def _take(self, runtime: Runtime) -> None:
        """Keep what a new reading says."""
        for session_id, known in self._looked.items():
            session = runtime.broker.state.sessions.get(session_id)
            sample = runtime.telemetry.of_session(session) if session is not None else None
            if session is None or sample is None or not session.shares:
                continue
            before, known.before = known.before, sample
            known.missing = _missing(session, sample)
            if before is None or sample.taken_at <= before.taken_at:
                continue
            whole = all(share.kind is ShareKind.WHOLE for share in session.shares)
            energy = _energy_mj(before, sample) if whole else None
            known.readings.append(
                Reading(before.taken_at, sample.taken_at, sample.utilization_percent, sample.memory_used_bytes, energy)
            )
            if len(known.readings) > MAX_READINGS:
                half = MAX_READINGS // 2
                known.readings = thinned(known.readings[:half]) + known.readings[half:]
        self._told.set()

    def _set_timer(self, runtime: Runtime) -> None:
        if self._timer is not None:
            self._timer.cancel()
        first = min((known.until for known in self._looked.values()), default=None)
        self._timer = None
        if first is not None:
            wait_s = max(0.0, first - runtime.now())
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._forget, runtime)

    def _forget(self, runtime: Runtime) -> None:
        """Look no longer where nobody has asked for it again."""
        now = runtime.now()
        self._looked = {name: known for name, known in self._looked.items() if known.until > now}
        if not self._looked and self._watch is not None:
            self._watch.close()
            self._unsubscribe()
            self._watch = self._unsubscribe = None
        self._told.set()
        self._set_timer(runtime)


def _missing(session: Session, sample: Sample) -> dict[str, str]:
    """Why fields of a session are not known. Power is told of whole devices only."""
    missing = dict(sample.missing)
    if any(share.kind is not ShareKind.WHOLE for share in session.shares):
        missing["power_mw"] = "shared"
    return missing


def _energy_mj(before: Sample, sample: Sample) -> float | None:
    """By the device's own counter where it has one, else by its power now."""
    if before.energy_mj is not None and sample.energy_mj is not None and sample.energy_mj >= before.energy_mj:
        return float(sample.energy_mj - before.energy_mj)
    if sample.power_mw is None:
        return None
    return sample.power_mw * (sample.taken_at - before.taken_at)
