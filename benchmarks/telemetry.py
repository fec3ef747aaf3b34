"""What live utilization costs, beside jupyterlab-nvdashboard, nvitop and gpustat on the same simulated driver.

Parts: a full reading of eight devices with two processes each; a day of history; calls of the driver a second with no,
one, 20 and 500 viewers; how long `/api/status` takes while every call of the driver takes 200 µs, and while one hangs;
what of the driver each tool asks for. The driver is the C library of the tests. The peers live in an environment of
their own (`make bench-telemetry` makes it); PEERS names it.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from report import Goal, finish, setting
from telemetry_servers import CLIENTS, ROOT, Driver, dashboards, server, viewers

ROUNDS = int(setting("ROUNDS", 7))
WATCH_S = setting("WATCH_S", 20)
PEERS = Path(os.environ.get("PEERS", ROOT / ".venv-peers")) / "bin" / "python"
TOOLS = {
    "calls_alone": (Path(sys.executable), 100),
    "swangpu_driver": (Path(sys.executable), 100),
    "swangpu_sampler": (Path(sys.executable), 100),
    "nvdashboard": (PEERS, 50),
    "nvitop": (PEERS, 10),
    "gpustat": (PEERS, 1),
}
#: what each collects of a device
FACTS = {
    "calls_alone": "nothing: as many plain calls through ctypes, which is what no reader in Python can go below",
    "swangpu_driver": "utilization (mean and peak of the driver's samples), memory, power, energy, temperature, clock, "
    "throttle reasons, PCIe and NVLink bytes/s, ECC, XID, processes with memory and SM use",
    "nvdashboard": "utilization, memory, PCIe and NVLink throughput",
    "nvitop": "utilization, memory, power, temperature, clocks, fan, encoder, processes with memory, SM and host use",
    "gpustat": "utilization, memory, power, temperature, fan, encoder, processes with memory and host use",
}


# -- a reading ----------------------------------------------------------------------------------------


class Tool:
    def __init__(self, driver: Driver, name: str, python: Path, number: int) -> None:
        self.number = number
        command = [str(python), str(CLIENTS / "readings.py"), name, str(driver.folder / name / "count")]
        env = driver.environment(name)
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._answer()

    def read(self, number: int | None = None) -> dict[str, float]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number or self.number}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} did not answer.")
        return dict(json.loads(line))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def readings(driver: Driver) -> dict[str, dict[str, float]]:
    """The median of each tool's rounds, made in turn, and of single readings, one a second in all.

    A reading after a pause finds the processor's caches cold, and its clock low: whoever reads once a second pays this.
    """
    with ExitStack() as stack:
        tools = {}
        for name, (python, number) in TOOLS.items():
            tools[name] = Tool(driver, name, python, number)
            stack.callback(tools[name].close)
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in tools}
        for _ in range(ROUNDS):
            for name, tool in tools.items():
                rounds[name].append(tool.read())
        alone: dict[str, list[float]] = {name: [] for name in tools}
        for _ in range(ROUNDS):
            for name, tool in tools.items():
                time.sleep(1.0)
                alone[name].append(tool.read(1)["cpu_ms"])
    return {
        name: {key: statistics.median(r[key] for r in all_) for key in all_[0]}
        | {"cpu_ms after a pause": statistics.median(alone[name])}
        for name, all_ in rounds.items()
    }


# -- servers ------------------------------------------------------------------------------------------


#: after the last look the pools are still asked for half a minute
FORGOTTEN_S = 40.0


def calls_per_second(driver: Driver) -> list[dict[str, Any]]:
    rows = []
    for number in (0, 1, 20, 500):
        name = f"viewers-{number}"
        with server(driver, name, Path(sys.executable), "swangpu") as port, ExitStack() as stack:
            if number:
                stack.enter_context(viewers(port, number))
            time.sleep(5)
            if not number:
                # Somebody has looked, and has gone.
                with viewers(port, 1):
                    time.sleep(3)
                time.sleep(FORGOTTEN_S)
            before, begun = driver.counted(name), time.monotonic()
            time.sleep(WATCH_S)
            after, took = driver.counted(name), time.monotonic() - begun
        rows.append(
            {
                "viewers": number,
                "calls/s": (after[0] - before[0]) / took,
                "calls on the main thread": after[1] - (0 if number else before[1]),
            }
        )
    with server(driver, "dash-20", PEERS, "nvdashboard") as port, dashboards(port, 20):
        time.sleep(5)
        before, begun = driver.counted("dash-20"), time.monotonic()
        time.sleep(WATCH_S)
        after, took = driver.counted("dash-20"), time.monotonic() - begun
    rows.append(
        {
            "viewers": "20 of nvdashboard",
            "calls/s": (after[0] - before[0]) / took,
            "calls on the main thread": after[1] - before[1],
        }
    )
    return rows


#: a call that each makes once a reading
HANGS = ("gpu.3.hang nvmlDeviceGetMemoryInfo 10", "gpu.3.hang nvmlDeviceGetMemoryInfo_v2 10")


async def p95_ms(port: int, seconds: float) -> float:
    """Of `/api/status`, asked 20 times a second over one connection; who does not answer in 30 s counts as that."""
    import httpx

    took: list[float] = []
    async with httpx.AsyncClient(timeout=30.0) as client:
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(took) < 2:
            begun = time.perf_counter()
            with suppress(httpx.TimeoutException):
                await client.get(f"http://127.0.0.1:{port}/api/status", headers={"Authorization": "token t"})
            took.append(1000 * (time.perf_counter() - begun))
            await asyncio.sleep(max(0.0, 0.05 - took[-1] / 1000))
    return statistics.quantiles(took, n=20)[-1]


def answering(driver: Driver) -> list[dict[str, Any]]:
    """`/api/status` of an idle server, and beside 20 viewers while the driver is slow, or one call of it hangs."""
    rows = []
    cases = {"every call 200 µs": ("delay_us 200",), "one call hangs 10 s": HANGS}
    with (
        server(driver, "idle", Path(sys.executable), None) as idle,
        server(driver, "ours", Path(sys.executable), "swangpu") as ours,
        server(driver, "theirs", PEERS, "nvdashboard") as theirs,
        viewers(ours, 20),
    ):
        for case, more in cases.items():
            row: dict[str, Any] = {"driver": case}
            driver.set(*more)
            time.sleep(3)
            row["idle ms"] = asyncio.run(p95_ms(idle, WATCH_S))
            row["swangpu ms"] = asyncio.run(p95_ms(ours, WATCH_S))
            with dashboards(theirs, 20):
                time.sleep(3)
                row["nvdashboard ms"] = asyncio.run(p95_ms(theirs, WATCH_S))
            driver.set()
            rows.append(row)
            time.sleep(12)
    return rows


def a_day() -> dict[str, float]:
    """A day of eight devices and eight sessions: memory, and how long the answer of `/history` takes to make."""
    import random
    import tracemalloc

    from swangpu import wire
    from swangpu.server.telemetry import history_fields
    from swangpu.telemetry.history import History

    start = 11_574 * 86_400
    tracemalloc.start()
    history = History()
    for subject in range(16):
        for second in range(0, 86_400, 20):
            # A reading stands for the seconds since the one before: each slot is filled.
            history.add(
                f"subject-{subject}",
                float(start + second),
                utilization_percent=random.random() * 100,
                memory_used_bytes=random.randrange(80 << 30),
                memory_total_bytes=80 << 30,
                power_mw=300_000,
                temperature_c=50,
            )
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    took = []
    for points in (240, 1000, 2000) * 5:
        begun = time.perf_counter()
        series = history.series("subject-3", start, start + 86_400, points)
        wire.encode(wire.History(**history_fields(series)))
        took.append(1000 * (time.perf_counter() - begun))
    return {"memory MB": held / 1e6, "24 h ms": max(took)}


def main() -> None:
    if not PEERS.exists():
        raise SystemExit("The peers are missing: `make bench-telemetry` installs them.")
    with tempfile.TemporaryDirectory() as folder:
        driver = Driver(Path(folder))
        try:
            costs, day = readings(driver), a_day()
            calls, answers = calls_per_second(driver), answering(driver)
        finally:
            driver.close()
    rows = [{"part": "reading", "what": name, **values} for name, values in costs.items()]
    rows += [{"part": "facts", "what": name, "facts": text} for name, text in FACTS.items()]
    rows.append({"part": "history", "what": "24 h at 1 s, 8 devices and 8 sessions", **day})
    rows += [{"part": "calls", "what": str(row.pop("viewers")), **row} for row in calls]
    rows += [{"part": "/api/status p95", "what": row.pop("driver"), **row} for row in answers]
    driver_ms = costs["swangpu_driver"]["cpu_ms"]
    goals = [
        # As of the peers: what asks the driver and takes its answers apart. History and threads are in the table.
        Goal("processor time of a full reading", driver_ms, 0.3, "ms"),
        *(
            Goal(f"a reading of ours as a part of {name}'s", driver_ms / costs[name]["cpu_ms"], 1 / 6, "")
            for name in ("nvdashboard", "nvitop", "gpustat")
        ),
        Goal("memory of a day of eight devices and eight sessions", day["memory MB"], 16, "MB"),
        Goal("the slowest answer of /history for 24 h", day["24 h ms"], 50, "ms"),
        Goal("calls of a full reading", costs["swangpu_driver"]["calls"], 48, "calls"),
        *(
            Goal(
                f"calls a second with {row['what']} viewers", row["calls/s"], 50 if row["what"] != "0" else 0, "calls/s"
            )
            for row in rows
            if row["part"] == "calls" and "of" not in row["what"]
        ),
        Goal(
            "calls on the main thread",
            sum(row["calls on the main thread"] for row in rows if row["part"] == "calls" and "of" not in row["what"]),
            0,
            "calls",
        ),
        *(
            Goal(f"/api/status later than idle, {row['what']}", row["swangpu ms"] - row["idle ms"], 5, "ms")
            for row in rows
            if row["part"] == "/api/status p95"
        ),
    ]
    finish("telemetry", _even(rows), goals)


def _even(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same columns in each row."""
    columns = list(Counter(key for row in rows for key in row))
    return [{column: row.get(column, "") for column in columns} for row in rows]


if __name__ == "__main__":
    main()
