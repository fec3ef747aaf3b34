"""A server that is killed has forgotten little of what the GPUs did."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from server_process import ServerProcess, eventually


def past(server: ServerProcess, device: str, start: float) -> dict[str, Any]:
    query = {"device": device, "from": str(start), "to": str(time.time() + 5), "points": "100"}
    return dict(server.call("GET", "/history", params=query).json())


def test_a_kill_loses_at_most_what_was_not_written_yet(tmp_path: Path) -> None:
    begun = time.time() - 60
    first = ServerProcess(tmp_path).start()
    device = first.call("GET", "/devices").json()["items"][0]["uuid"]
    first.call("GET", "/stream", params={"topics": "telemetry", "limit": "4"})
    before = eventually(lambda: past(first, device, begun)["times"])
    first.kill()
    again = ServerProcess(tmp_path).start()
    try:
        kept = past(again, device, begun)
        assert kept["times"][0] == before[0]
        assert kept["memory_used_bytes"][0] is not None
        again.check_log()
    finally:
        again.stop()
