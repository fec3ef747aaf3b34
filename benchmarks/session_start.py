"""What the agent costs: a kernel behind it against a plain one, to the first executed cell and for each cell.

Both are started by jupyter_client in this process, in turn, the order changing from pair to pair. "Ready" is when the
first cell's reply has come.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from report import Goal, finish, quartiles

from swangpu.kernels.bindings import BINDINGS, Binding
from swangpu.kernels.provisioner import PROVISIONER_NAME

PAIRS = int(os.environ.get("PAIRS", "40"))
ROUND_TRIPS = int(os.environ.get("ROUND_TRIPS", "200"))
ENV = {"CUDA_VISIBLE_DEVICES": "GPU-00000000-0000-0000-0000-000000000000"}


async def started(name: str, attached: bool) -> tuple[AsyncKernelManager, Any, float]:
    """A kernel that has executed its first cell, and how long that took."""
    KernelProvisionerFactory.instance().default_provisioner_name = PROVISIONER_NAME if attached else "local-provisioner"
    manager = AsyncKernelManager(kernel_name="python3", connection_file=str(BINDINGS.runtime_dir / f"{name}.json"))
    manager.kernel_id = name
    if attached:
        BINDINGS.of_kernel[name] = Binding("benchmark", ENV)
    begin = time.perf_counter()
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready(timeout=60)
    await client.execute_interactive("1", silent=False, output_hook=lambda message: None)
    return manager, client, time.perf_counter() - begin


async def stopped(manager: AsyncKernelManager, client: Any, name: str) -> None:
    client.stop_channels()
    await manager.shutdown_kernel(now=True)
    BINDINGS.of_kernel.pop(name, None)


async def start_times(rows: list[dict[str, float]]) -> None:
    for pair in range(PAIRS):
        took: dict[bool, float] = {}
        for attached in [False, True] if pair % 2 else [True, False]:
            name = f"bench-{pair}-{attached}"
            manager, client, took[attached] = await started(name, attached)
            await stopped(manager, client, name)
        rows.append({"attached_s": took[True], "plain_s": took[False], "ratio": took[True] / took[False]})
        print(f"pair {pair + 1}/{PAIRS}: {took[True]:.3f} s behind the agent, {took[False]:.3f} s plain", flush=True)


async def round_trips() -> tuple[list[float], list[float]]:
    """Milliseconds for one trivial cell, both kernels alive, one cell each in turn."""
    kernels = {a: await started(f"trip-{a}", a) for a in (True, False)}
    took: dict[bool, list[float]] = {True: [], False: []}
    for n in range(ROUND_TRIPS + 20):
        for attached in [False, True] if n % 2 else [True, False]:
            begin = time.perf_counter()
            await kernels[attached][1].execute_interactive("1", output_hook=lambda message: None)
            if n >= 20:
                took[attached].append(1000 * (time.perf_counter() - begin))
    for attached, (manager, client, _) in kernels.items():
        await stopped(manager, client, f"trip-{attached}")
    return took[True], took[False]


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        BINDINGS.runtime_dir = Path(folder)
        starts: list[dict[str, float]] = []
        await start_times(starts)
        behind, plain = await round_trips()
    rows = [
        {"what": "ready behind the agent", "unit": "s", **quartiles([r["attached_s"] for r in starts])},
        {"what": "ready plain", "unit": "s", **quartiles([r["plain_s"] for r in starts])},
        {"what": "ratio of a pair", "unit": "", **quartiles([r["ratio"] for r in starts])},
        {"what": "round trip through the gate", "unit": "ms", **quartiles(behind)},
        {"what": "round trip plain", "unit": "ms", **quartiles(plain)},
    ]
    finish(
        "session_start",
        rows,
        [
            Goal("ready to execute, ratio to a plain kernel", statistics.median(r["ratio"] for r in starts), 1.10, ""),
            Goal("round trip, more than plain", statistics.median(behind) - statistics.median(plain), 1.0, "ms"),
        ],
    )


if __name__ == "__main__":
    asyncio.run(main())
