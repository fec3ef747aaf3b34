"""What 500 open panels cost one server, whether each gets its events, and what one that stops reading costs.

One real server with the simulated fleet, some sessions held and some waiting; the viewers are one process of their own
(`clients/viewers.py`). Phases on the same server: one panel; one, and some viewers that never read; all panels; all of
them while they show every device too. `DURATION_S=60` for a short run.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from idle_cost import Server
from report import Goal, finish, setting

VIEWERS = int(setting("VIEWERS", 500))
STALLED = int(setting("STALLED", 50))
DURATION_S = setting("DURATION_S", 600)
#: of the first phase, and what all have to come to rest before each is measured
ONE_S, SETTLE_S = 20.0, min(10.0, DURATION_S / 2)
#: the telemetry events that a viewer gets at least, as a part of one a second
ENOUGH = 0.8
#: seconds between one who asks and gives up and the next
CHANGE_EVERY = 30
SESSIONS = "/swangpu/api/v1/sessions"
#: there is one of this flavor, and it is held
WAITING = {"kind": "job", "flavor": "a100-40gb", "duration_s": 7200}
CLIENT = Path(__file__).parent / "clients" / "viewers.py"


@dataclass
class Viewers:
    """The process of the viewers; `mark` is all that they have got so far."""

    port: int
    number: int
    stalled: int = 0
    site: bool = False
    last: Mapping[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Viewers:
        words = [sys.executable, str(CLIENT), str(self.port), "t", str(self.number), str(self.stalled)]
        words += ["site"] if self.site else []
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.mark()
        return self

    def __exit__(self, *exc: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)

    def mark(self) -> Mapping[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("mark\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("The viewers' process has ended.")
        self.last = json.loads(answer)
        return self.last


@dataclass
class Window:
    """One phase, measured."""

    name: str
    viewers: int
    passed_s: float
    server_cpu_s: float
    client_cpu_s: float
    received: list[int]
    events: Mapping[str, list[int]]
    delays_s: list[float]
    answers_s: list[float]
    memory_bytes: list[tuple[float, int]]
    closed: int

    @property
    def cpu_percent(self) -> float:
        return 100 * self.server_cpu_s / self.passed_s

    @property
    def starved(self) -> int:
        return sum(n < ENOUGH * self.passed_s for n in self.events["telemetry"])

    @property
    def grown_mb(self) -> float:
        """How much more memory the server has at the end than at half time, when all has been used once."""
        used = [bytes_ for _, bytes_ in self.memory_bytes]
        part, half = max(1, len(used) // 10), len(used) // 2
        return (statistics.median(used[-part:]) - statistics.median(used[half : half + part])) / 1e6

    def row(self) -> dict[str, Any]:
        telemetry = self.events["telemetry"]
        return {
            "phase": self.name,
            "viewers": self.viewers,
            "s": round(self.passed_s),
            "server cpu %": self.cpu_percent,
            "client cpu %": 100 * self.client_cpu_s / self.passed_s,
            "bytes/s each": statistics.mean(self.received) / self.passed_s,
            "telemetry/s least": min(telemetry) / self.passed_s,
            "telemetry/s median": statistics.median(telemetry) / self.passed_s,
            "pools/s": statistics.median(self.events["pools"]) / self.passed_s,
            "sessions/s": statistics.median(self.events["sessions"]) / self.passed_s,
            "delay p50 ms": _at(self.delays_s, 0.5),
            "delay p99 ms": _at(self.delays_s, 0.99),
            "other call p95 ms": _at(self.answers_s, 0.95),
            "memory MB first": self.memory_bytes[0][1] / 1e6,
            "memory MB last": self.memory_bytes[-1][1] / 1e6,
            "starved": self.starved,
            "closed": self.closed,
        }


def measure(name: str, server: Server, viewers: Viewers, duration_s: float) -> Window:
    """Watch one phase for so long. Once a second something else is called; now and then somebody asks and gives up."""
    time.sleep(SETTLE_S)
    first, cpu_s, begin = viewers.mark(), server.cpu_s(), time.monotonic()
    memory, answers = [(0.0, server.memory_bytes())], []
    while (passed_s := time.monotonic() - begin) < duration_s:
        before = time.monotonic()
        call(server, "GET", "/api/status")
        answers.append(time.monotonic() - before)
        if len(answers) % CHANGE_EVERY == 0:
            call(server, "DELETE", f"{SESSIONS}/{call(server, 'POST', SESSIONS, WAITING)['id']}")
        memory.append((passed_s, server.memory_bytes()))
        time.sleep(max(0.0, 1.0 - (time.monotonic() - before)))
    last, spent_s, passed_s = viewers.mark(), server.cpu_s() - cpu_s, time.monotonic() - begin
    return Window(
        name=name,
        viewers=viewers.number,
        passed_s=passed_s,
        server_cpu_s=spent_s,
        client_cpu_s=last["cpu_s"] - first["cpu_s"],
        received=[b - a for a, b in zip(first["received"], last["received"], strict=True)],
        events={t: [b - a for a, b in zip(first["events"][t], last["events"][t], strict=True)] for t in last["events"]},
        delays_s=last["delays_s"],
        answers_s=answers,
        memory_bytes=memory,
        closed=last["closed"],
    )


def call(server: Server, method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": "token t", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def fill(server: Server) -> None:
    """Five sessions that hold something and three that wait, so that there is something to tell."""
    for flavor in ["a100-40gb", "t4/time-4", "t4/time-4", "t4/time-4", "t4/time-4"]:
        made = call(server, "POST", SESSIONS, {**WAITING, "flavor": flavor})
        call(server, "POST", f"{SESSIONS}/{made['id']}/claim", {})
    for _ in range(3):
        call(server, "POST", SESSIONS, WAITING)


def unsent_bytes(server: Server, ports: list[int]) -> int:
    """What the kernel keeps for viewers that do not read: sent by the server, and not taken."""
    wanted = {f"{port:04X}" for port in ports}
    total = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{server.port:04X}") and fields[2].rsplit(":", 1)[1] in wanted:
            total += int(fields[4].split(":")[0], 16)
    return total


def stall(server: Server, duration_s: float) -> tuple[Window, float]:
    """The phase with viewers that never read, and how much memory each has cost by its end, in MB."""
    before = server.memory_bytes()
    with Viewers(server.port, 1, STALLED) as viewers:
        ports = viewers.last["ports"]
        measure("", server, viewers, duration_s / 2)
        at_half = unsent_bytes(server, ports)
        window = measure(f"one, {STALLED} never read", server, viewers, duration_s / 2)
        at_end = unsent_bytes(server, ports)
    # What the server has to keep by itself begins where the kernel takes no more: the two figures are the same then.
    kept = f"{at_half // STALLED} bytes at half time, {at_end // STALLED} at the end"
    print(f"the kernel keeps for each that never reads: {kept}")
    return window, (window.memory_bytes[-1][1] - before) / 1e6 / STALLED


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "home", True)
        try:
            fill(server)
            with Viewers(server.port, 1) as one:
                alone = measure("one viewer", server, one, min(ONE_S, DURATION_S))
            # before the many, whose memory those that never read would get
            never, stalled_mb = stall(server, min(DURATION_S, 120.0))
            begin = time.monotonic()
            with Viewers(server.port, VIEWERS) as many:
                opened_s = time.monotonic() - begin
                together = measure(f"{VIEWERS} viewers", server, many, DURATION_S)
            with Viewers(server.port, VIEWERS, site=True) as many:
                with_devices = measure(f"{VIEWERS}, devices too", server, many, min(DURATION_S, 60.0))
        finally:
            server.stop()
    each_us = 1e6 * (together.server_cpu_s / together.passed_s - alone.server_cpu_s / alone.passed_s) / VIEWERS
    print(f"{VIEWERS} streams were open after {opened_s:.1f} s; each costs the server {each_us:.0f} us a second\n")
    finish(
        "stream_viewers",
        [alone.row(), never.row(), together.row(), with_devices.row()],
        [
            Goal(f"processor time of the server with {VIEWERS} viewers, of one core", together.cpu_percent, 5.0, "%"),
            Goal("sent to each viewer", statistics.mean(together.received) / together.passed_s, 400.0, "B/s"),
            Goal("the same, while they show every device", with_devices.cpu_percent, 10.0, "%"),
            Goal(
                f"viewers that got fewer than {ENOUGH:g} telemetry events a second",
                together.starved + with_devices.starved,
                0,
                "",
            ),
            Goal("streams that the server closed", together.closed + with_devices.closed, 0, ""),
            Goal("telemetry, age when it comes, p99", _at(together.delays_s, 0.99), 1000.0, "ms"),
            Goal("another call meanwhile, p95", _at(together.answers_s, 0.95), 100.0, "ms"),
            Goal("memory, more at the end than at half time", together.grown_mb, 5.0, "MB"),
            Goal("memory for a viewer that never reads", stalled_mb, 0.25, "MB"),
            Goal("processor time of the viewers to that of the server", _ratio(together), 1.0, ""),
        ],
    )


def _ratio(window: Window) -> float:
    return window.client_cpu_s / max(window.server_cpu_s, 1e-9)


def _at(values_s: list[float], part: float) -> float:
    """A quantile in milliseconds; infinite where nothing was seen."""
    ordered = sorted(values_s)
    return 1000 * ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("inf")


if __name__ == "__main__":
    main()
