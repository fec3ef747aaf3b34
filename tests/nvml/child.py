"""What scripts on the simulated library use; imported in their process only."""

from __future__ import annotations

import asyncio
import os
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from swangpu.backends.local import LocalBackend, LocalPoolConfig
from swangpu.domain.devices import PoolInventory
from swangpu.telemetry.nvml import NvmlDriver
from swangpu.telemetry.sampler import Sampler, Snapshot

#: what a plain device of the library does not tell
OFTEN_MISSING = dict.fromkeys(
    [
        "pcie_tx_bytes_per_s",
        "pcie_rx_bytes_per_s",
        "nvlink_tx_bytes_per_s",
        "nvlink_rx_bytes_per_s",
        "sm_activity_percent",
    ],
    "not_supported",
)

GPU = "GPU-00000000-0000-0000-0000-{:012d}"

__all__ = [
    "GPU",
    "OFTEN_MISSING",
    "Clock",
    "NvmlDriver",
    "Sampler",
    "driver",
    "inventory",
    "make_sampler",
    "set_state",
    "until",
]


class Clock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


def driver(*, host_pids: bool = False) -> NvmlDriver:
    return NvmlDriver(host_pids=host_pids, reopen_s=(0.0, 0.1))


def make_sampler(**settings: float) -> Sampler:
    quick = {"look_interval_s": 0.05, "session_interval_s": 0.2, "list_interval_s": 0.1, "hang_s": 0.5}
    return Sampler(driver(), Clock(), retry_s=(0.2, 1.0), **{**quick, **settings})


def set_state(text: str) -> None:
    path = Path(os.environ["SWANGPU_NVML_SIM"])
    new = path.with_name("state.new")
    new.write_text(textwrap.dedent(text).strip() + "\n")
    new.replace(path)


def until(sampler: Sampler, holds: Callable[[Snapshot], bool], timeout_s: float = 20.0) -> Snapshot:
    """Wait for a reading of which something holds; somebody has to watch."""
    end = time.monotonic() + timeout_s
    while not holds(sampler.snapshot):
        assert time.monotonic() < end, sampler.snapshot
        time.sleep(0.02)
    return sampler.snapshot


def inventory(sampler: Sampler, config: LocalPoolConfig | None = None, own: tuple[int, ...] = ()) -> PoolInventory:
    return asyncio.run(LocalBackend(config or LocalPoolConfig(), sampler, lambda: own).inventory())
