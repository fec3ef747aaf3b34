"""A simulated driver, and servers and viewers on it, for the benchmark of telemetry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from nvml.sim import build  # noqa: E402

CLIENTS = Path(__file__).parent / "clients"
DEVICES = 8


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
