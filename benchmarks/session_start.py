"""What the agent costs: a kernel behind it against a plain one, to the first executed cell and for each cell.

Both are started by jupyter_client in this process, in turn, the order changing from pair to pair. "Ready" is when the
first cell's reply has come. A third kernel, behind libzmq's own proxy, shows what a relay in C that looks at nothing
adds to a cell on the same machine at the same time: two more processes wake up for each message.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.connect import write_connection_file
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from report import Goal, finish, quartiles, setting

from swangpu.kernels.bindings import BINDINGS, Binding
from swangpu.kernels.provisioner import PROVISIONER_NAME

PAIRS = int(setting("PAIRS", 40))
ROUND_TRIPS = int(setting("ROUND_TRIPS", 200))
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


async def through_a_proxy(manager: AsyncKernelManager, folder: Path) -> tuple[AsyncKernelClient, subprocess.Popen[str]]:
    """A client of a plain kernel, through libzmq's own proxy."""
    info = {k: v.decode() if isinstance(v, bytes) else v for k, v in manager.get_connection_info().items()}
    inner, outer = folder / "inner.json", folder / "outer.json"
    inner.write_text(json.dumps(info))
    write_connection_file(str(outer), key=info["key"].encode(), ip="127.0.0.1")
    command = [sys.executable, str(Path(__file__).parent / "clients" / "zmq_proxy.py"), str(outer), str(inner)]
    proxy = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert proxy.stdout is not None
    proxy.stdout.readline()
    client = AsyncKernelClient(connection_file=str(outer))
    client.load_connection_file()
    client.start_channels()
    await client.wait_for_ready(timeout=60)
    return client, proxy


async def round_trips(folder: Path) -> dict[str, list[float]]:
    """Milliseconds for one trivial cell, by kernel; all are alive, and each gets one cell in turn."""
    kernels = {name: await started(f"trip-{name}", name == "agent") for name in ("agent", "plain", "proxy")}
    proxied, proxy = await through_a_proxy(kernels["proxy"][0], folder)
    kernels["proxy"][1].stop_channels()
    clients = {name: proxied if name == "proxy" else client for name, (_, client, _) in kernels.items()}
    took: dict[str, list[float]] = {name: [] for name in kernels}
    names = list(kernels)
    for n in range(ROUND_TRIPS + 20):
        for name in names[n % 3 :] + names[: n % 3]:
            begin = time.perf_counter()
            await clients[name].execute_interactive("1", output_hook=lambda message: None)
            if n >= 20:
                took[name].append(1000 * (time.perf_counter() - begin))
    proxy.kill()
    for name, (manager, _, _) in kernels.items():
        await stopped(manager, clients[name], f"trip-{name}")
    return took


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        BINDINGS.runtime_dir = Path(folder)
        starts: list[dict[str, float]] = []
        await start_times(starts)
        trips = await round_trips(Path(folder))
    median = {name: statistics.median(values) for name, values in trips.items()}
    rows = [
        {"what": "ready behind the agent", "unit": "s", **quartiles([r["attached_s"] for r in starts])},
        {"what": "ready plain", "unit": "s", **quartiles([r["plain_s"] for r in starts])},
        {"what": "ratio of a pair", "unit": "", **quartiles([r["ratio"] for r in starts])},
        {"what": "round trip through the gate", "unit": "ms", **quartiles(trips["agent"])},
        {"what": "round trip through libzmq's proxy", "unit": "ms", **quartiles(trips["proxy"])},
        {"what": "round trip plain", "unit": "ms", **quartiles(trips["plain"])},
    ]
    finish(
        "session_start",
        rows,
        [
            Goal("ready to execute, ratio to a plain kernel", statistics.median(r["ratio"] for r in starts), 1.10, ""),
            Goal("round trip, more than plain", median["agent"] - median["plain"], 1.0, "ms"),
        ],
    )


if __name__ == "__main__":
    asyncio.run(main())
