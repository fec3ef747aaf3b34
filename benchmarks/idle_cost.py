"""What a server with the extension costs while nobody looks: processor time, memory, start.

Two servers, one with and one without, run side by side for a while without a viewer, so a slow machine is slow for
both. What the start costs is the median of many pairs that are started one after the other and stopped again: one start
takes seconds, and differs from the next by more than what is looked for. The order changes from pair to pair.

Environment: PAIRS (5), IDLE_S (60), STARTS (15).
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil
from report import Goal, finish, setting

PAIRS = int(setting("PAIRS", 5))
IDLE_S = setting("IDLE_S", 60)
STARTS = int(setting("STARTS", 15))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Server:
    """A Jupyter server of its own home; ``start_s`` is until it answers."""

    def __init__(self, home: Path, extension: bool, *arguments: str) -> None:
        self.port = free_port()
        home.mkdir(parents=True)
        env = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTER")}
        env |= {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "JUPYTER_RUNTIME_DIR": str(home / "run")}
        config = {"ServerApp": {"jpserver_extensions": {"swangpu.server": extension}}}
        (home / "config").mkdir()
        (home / "config" / "jupyter_server_config.json").write_text(json.dumps(config))
        env["JUPYTER_CONFIG_DIR"] = str(home / "config")
        command = [
            sys.executable,
            "-m",
            "jupyter",
            "server",
            "--no-browser",
            "--allow-root",
            f"--port={self.port}",
            "--IdentityProvider.token=t",
            f"--ServerApp.root_dir={home}",
            *(["--SwanGpu.simulated=True"] if extension else []),
            *arguments,
        ]
        begin = time.monotonic()
        self.log = (home / "log").open("wb")
        self.process = subprocess.Popen(command, env=env, stdout=self.log, stderr=self.log)
        self._wait(begin)
        self.start_s = time.monotonic() - begin

    def _wait(self, begin: float) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/status?token=t")
        while time.monotonic() - begin < 60:
            try:
                with urllib.request.urlopen(request, timeout=5):
                    return
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit("The server did not start; see its log.") from None
                time.sleep(0.01)
        raise SystemExit("The server did not answer within a minute.")

    def cpu_s(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def memory_bytes(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


def start_times(folder: Path) -> dict[bool, list[float]]:
    """Seconds until a server answers, with the extension and without."""
    took: dict[bool, list[float]] = {True: [], False: []}
    for pair in range(STARTS):
        for with_it in [True, False] if pair % 2 else [False, True]:
            server = Server(folder / f"start-{pair}-{with_it}", with_it)
            took[with_it].append(server.start_s)
            server.stop()
    return took


def main() -> None:
    rows: list[dict[str, object]] = []
    cpu, memory = [], []
    with tempfile.TemporaryDirectory() as folder:
        took = start_times(Path(folder))
        for pair in range(PAIRS):
            order = [True, False] if pair % 2 else [False, True]
            servers = {with_it: Server(Path(folder) / f"{pair}-{with_it}", with_it) for with_it in order}
            time.sleep(5)  # what is done after the start is not idling
            before = {k: s.cpu_s() for k, s in servers.items()}
            time.sleep(IDLE_S)
            spent = {k: s.cpu_s() - before[k] for k, s in servers.items()}
            used = {k: s.memory_bytes() for k, s in servers.items()}
            for server in servers.values():
                server.stop()
            cpu.append(100 * (spent[True] - spent[False]) / IDLE_S)
            memory.append((used[True] - used[False]) / 1e6)
            rows.append(
                {
                    "pair": pair,
                    "cpu with %": 100 * spent[True] / IDLE_S,
                    "cpu without %": 100 * spent[False] / IDLE_S,
                    "memory with MB": used[True] / 1e6,
                    "memory without MB": used[False] / 1e6,
                    "start with s": "",
                    "start without s": "",
                }
            )
    median = {with_it: statistics.median(values) for with_it, values in took.items()}
    # Pair by pair: what else the machine does changes slowly, and by more than what is measured.
    later = [a - b for a, b in zip(took[True], took[False], strict=True)]
    low, middle, high = statistics.quantiles(later, n=4)
    print(f"start, later than without, of {STARTS} pairs: median {middle:.3f} s, quartiles {low:.3f} to {high:.3f} s\n")
    rows.append({**dict.fromkeys(rows[0], ""), "pair": f"{STARTS} starts"})
    rows[-1] |= {"start with s": median[True], "start without s": median[False]}
    finish(
        "idle_cost",
        rows,
        [
            Goal("processor time of one core, more than without", statistics.median(cpu), 1.0, "%"),
            Goal("memory, more than without", statistics.median(memory), 25.0, "MB"),
            Goal("start, later than without, of a pair", middle, 0.3, "s"),
        ],
    )


if __name__ == "__main__":
    main()
