"""A backend as somebody outside would write it: one file, one class, no import of swangpu's insides but its ports."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence

from swangpu.domain.devices import Flavor, PoolInventory, Share, ShareKind
from swangpu.ports import BackendStatus, StartSpec


class ExampleBackend:
    """A pool of one pretended device, kept in memory."""

    name = "example"

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.up = True

    async def inventory(self) -> PoolInventory:
        share = Share("EX-1", self.name, "example-8gb", ShareKind.WHOLE, "EX-1", 8 * 10**9)
        flavor = Flavor("example-8gb", "Example whole, 8 GB", 8 * 10**9, ShareKind.WHOLE)
        if not self.up:
            return PoolInventory(
                self.name,
                "Example",
                True,
                False,
                time.time(),
                reason_code="service_down",
                reason_text="The example service does not answer.",
                hint="Start it again.",
            )
        return PoolInventory(self.name, "Example", True, True, time.time(), (share,), (flavor,))

    async def start(self, spec: StartSpec) -> AsyncIterator[str]:
        yield spec.session_id
        self.running.add(spec.session_id)

    async def status(self, checkpoints: Mapping[str, str]) -> dict[str, BackendStatus]:
        if not self.up:
            return {
                s: BackendStatus("unknown", "service_down", "The example service does not answer.") for s in checkpoints
            }
        return {s: BackendStatus("running" if c in self.running else "ended") for s, c in checkpoints.items()}

    async def stop(self, checkpoint: str) -> None:
        self.running.discard(checkpoint)

    def environment(self, shares: Sequence[Share]) -> dict[str, str | None]:
        return {"EXAMPLE_DEVICE": ",".join(s.device_uuid for s in shares)}

    async def close(self) -> None:
        self.running.clear()
