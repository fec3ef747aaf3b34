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
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from report import Goal, finish

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from nvml.sim import build  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "7"))
WATCH_S = float(os.environ.get("WATCH_S", "20"))
PEERS = Path(os.environ.get("PEERS", ROOT / ".venv-peers")) / "bin" / "python"
CLIENTS = Path(__file__).parent / "clients"
DEVICES = 8
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


def state(pids: tuple[int, int], *more: str) -> str:
    lines = [f"gpus {DEVICES}", *more]
    for n in range(DEVICES):
        lines += [
            f"gpu.{n}.name NVIDIA A100-SXM4-40GB",
            f"gpu.{n}.memory_mib 40960",
            f"gpu.{n}.util {10 * n}",
            f"gpu.{n}.samples {n} {5 * n} {10 * n}",
            f"gpu.{n}.rates 1000000 2000000 3000000 4000000",
            *(f"gpu.{n}.proc {pid} 512" for pid in pids),
        ]
    return "\n".join(lines) + "\n"


class Driver:
    """The simulated library, its state, and what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "lib").mkdir()
        build(folder / "lib")
        # Two processes that are there.
        self._processes = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"]) for _ in "ab"]
        self.pids = (self._processes[0].pid, self._processes[1].pid)
        self.set()

    def set(self, *more: str) -> None:
        new = self.folder / "state.new"
        new.write_text(state(self.pids, *more))
        new.replace(self.folder / "state")

    def environment(self, name: str, **more: str) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTER")}
        home = self.folder / name
        home.mkdir(exist_ok=True)
        library = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
        return {
            **env,
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "JUPYTER_RUNTIME_DIR": str(home / "run"),
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            library: str(self.folder / "lib"),
            "SWANGPU_NVML_SIM": str(self.folder / "state"),
            # The file is looked at seldom: what is measured are the tools.
            "SWANGPU_NVML_SIM_LOOK_US": "100000",
            "SWANGPU_NVML_SIM_COUNT": str(home / "count"),
            **more,
        }

    def counted(self, name: str) -> tuple[int, int]:
        content = (self.folder / name / "count").read_bytes()
        return int.from_bytes(content[:8], sys.byteorder), int.from_bytes(content[8:16], sys.byteorder)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


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


@contextmanager
def server(driver: Driver, name: str, python: Path, extension: str | None) -> Iterator[int]:
    """A Jupyter server on the simulated driver; its port."""
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = int(s.getsockname()[1])
    env = driver.environment(name)
    (driver.folder / name / "config").mkdir(exist_ok=True)
    wanted = {"swangpu.server": extension == "swangpu", "jupyterlab_nvdashboard": extension == "nvdashboard"}
    config = {"ServerApp": {"jpserver_extensions": wanted}}
    (driver.folder / name / "config" / "jupyter_server_config.json").write_text(json.dumps(config))
    command = [str(python), "-m", "jupyter", "server", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--IdentityProvider.token=t", f"--ServerApp.root_dir={driver.folder / name}"]
    with (driver.folder / name / "log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            begin = time.monotonic()
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token=t", timeout=5).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() - begin > 60:
                        raise SystemExit(f"The server {name} did not start.") from None
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                # It hangs in the driver.
                process.kill()
                process.wait()


@contextmanager
def viewers(port: int, number: int) -> Iterator[None]:
    """Open panels of ours, in a process of their own."""
    command = [sys.executable, str(CLIENTS / "viewers.py"), str(port), "t", str(number), "0"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)


#: nvdashboard's panels: a websocket each, answered as often as asked for
PANELS = ("gpu_utilization", "gpu_usage", "gpu_resource", "pci_stats", "nvlink_throughput")


@contextmanager
def dashboards(port: int, number: int) -> Iterator[None]:
    """Viewers of nvdashboard with all of its panels open, at once a second."""
    program = f"""
import asyncio, sys
from tornado.websocket import websocket_connect
async def look(panel):
    socket = await websocket_connect("ws://127.0.0.1:{port}/nvdashboard/" + panel + "?token=t")
    await socket.write_message('{{"updateFrequency": 1000, "isPaused": false}}')
    while await socket.read_message() is not None: pass
async def main():
    tasks = [asyncio.ensure_future(look(panel)) for panel in {PANELS!r} for _ in range({number})]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks: task.cancel()
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)


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
        Goal(
            "processor time of a full reading, history and threads included",
            costs["swangpu_sampler"]["cpu_ms"],
            0.3,
            "ms",
        ),
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
