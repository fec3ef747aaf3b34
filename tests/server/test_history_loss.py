"""A server that is killed at any moment has lost at most a minute of what was read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from swangpu.server.telemetry import SiteTelemetry
from swangpu.telemetry.history import History
from swangpu.telemetry.history_files import HistoryFiles
from swangpu.telemetry.sampler import Snapshot

BEGIN = 500 * 3600.0 - 100.0
AT_MOST_LOST_S = 60


class VirtualLoop:
    """What `SiteTelemetry` asks of the event loop, in virtual time; what it would do on a thread is done at once."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: None, work: Callable[..., object], *arguments: Any) -> asyncio.Future[None]:
        work(*arguments)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


async def test_whenever_it_is_killed_all_but_the_last_minute_is_there_again(tmp_path: Path) -> None:
    history, loop = History(), VirtualLoop()
    sampler: Any = SimpleNamespace(history=history, subscribe=lambda callback: lambda: None, snapshot=Snapshot())
    files = HistoryFiles(tmp_path, lambda: BEGIN + loop.now)
    telemetry: Any = SiteTelemetry(sampler, lambda: (), files)
    telemetry._loop = loop
    lost = []
    for second in range(300):
        at, loop.now = BEGIN + second, float(second)
        history.add("GPU-0", at, utilization_percent=second % 101, memory_used_bytes=second * 2**20)
        telemetry._deliver(Snapshot(as_of=at, number=second + 1), ())
        again = History()
        HistoryFiles(tmp_path, lambda: BEGIN + loop.now).restore(again)
        kept = again.series("GPU-0", BEGIN, at + 1, 600)
        assert len(kept.times), "the first reading is kept at once"
        newest = kept.times[-1]
        assert kept == history.series("GPU-0", BEGIN, newest + 1, 600), "what is there is what was read"
        lost.append(at - newest)
    assert max(lost) <= AT_MOST_LOST_S
    assert min(lost[100:]) == 0, "it is written again and again"
