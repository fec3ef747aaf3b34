"""What profiling costs a cell: its round trip in a kernel with `%gpu profile on` against one without.

Two kernels of one server, each on a share of its own of the simulated fleet, run the same cell in turn, the order
changing from pair to pair. A round trip is from sending the cell to the kernel's "idle". Cells follow on each other at
once, so what the thread of the cell before still does is in it. A second row has cells that are long enough to be
looked at meanwhile, a third what the hooks themselves take inside of the kernel. The last is how long after the cell
the server's figures are in its line.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from idle_cost import Server
from jupyter_client import BlockingKernelClient
from report import Goal, finish, quartiles, setting

CELLS = int(setting("CELLS", 300))
LONGER = int(setting("LONGER", 20))
LONG_S = 0.6
FIGURES = int(setting("FIGURES", 5))


class Kernel:
    """A kernel on a share, with or without profiling."""

    def __init__(self, server: Server, home: Path, profiled: bool) -> None:
        import json
        import urllib.request

        headers = {"Authorization": "token t", "Content-Type": "application/json"}
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/api/kernels", data=b'{"name": "python3"}', headers=headers, method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            self.id: str = json.load(answer)["id"]
        deadline = time.monotonic() + 30
        while not (found := list(home.rglob(f"kernel-{self.id}.json"))):
            if time.monotonic() > deadline:
                raise SystemExit("The kernel did not start.")
            time.sleep(0.05)
        self.client = BlockingKernelClient(connection_file=str(found[0]))
        self.client.load_connection_file()
        self.client.start_channels()
        self.client.wait_for_ready(60)
        said = self.run("%gpu get t4/time-4")[1]
        if "is on" not in said:
            raise SystemExit(f"No share: {said}")
        if profiled:
            self.run("%gpu profile on")

    def run(self, code: str) -> tuple[float, str]:
        """Milliseconds until it is idle, and what it showed."""
        shown: list[str] = []

        def hook(message: dict[str, Any]) -> None:
            data = message["content"].get("data") or {}
            shown.append(str(data.get("text/plain", "")) + str(message["content"].get("text", "")))

        begin = time.perf_counter()
        self.client.execute_interactive(code, timeout=60, output_hook=hook, allow_stdin=False)
        return 1000 * (time.perf_counter() - begin), "\n".join(shown)

    def figures_ms(self) -> float:
        """Run a cell, and wait for the last state of its line."""
        self.run("import time; time.sleep(4)")
        begin = time.perf_counter()
        while True:
            message = self.client.get_iopub_msg(timeout=30)
            if message["msg_type"] == "update_display_data":
                return 1000 * (time.perf_counter() - begin)


#: the two hooks alone, and what a display takes, measured where they run
INSIDE = """
import time, json
p = get_ipython().find_line_magic("gpu").__self__.profiler
took = []
for _ in range(60):
    begin = time.perf_counter(); p._before(); middle = time.perf_counter()
    time.sleep(0.05)
    after = time.perf_counter(); p._after(); end = time.perf_counter()
    took.append(1000 * (middle - begin + end - after))
print("TOOK", json.dumps(took[10:]))
"""


def inside(kernel: Kernel) -> list[float]:
    import json

    said = kernel.run(INSIDE)[1]
    found: list[float] = json.loads(next(part for part in said.splitlines() if part.startswith("TOOK"))[5:])
    return found


def in_turn(kernels: dict[bool, Kernel], code: str, count: int, warm_up: int) -> dict[bool, list[float]]:
    took: dict[bool, list[float]] = {True: [], False: []}
    for n in range(count + warm_up):
        for profiled in [False, True] if n % 2 else [True, False]:
            milliseconds, _ = kernels[profiled].run(code)
            if n >= warm_up:
                took[profiled].append(milliseconds)
    return took


def row(what: str, values: list[float]) -> dict[str, Any]:
    return {"what": what, "unit": "ms", **quartiles(values), "p95": sorted(values)[int(0.95 * len(values))]}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        server = Server(home, True)
        try:
            kernels = {profiled: Kernel(server, home, profiled) for profiled in (False, True)}
            short = in_turn(kernels, "x = 1", CELLS, 20)
            longer = in_turn(kernels, f"import time; time.sleep({LONG_S})", LONGER, 2)
            hooks = inside(kernels[True])
            figures = [kernels[True].figures_ms() for _ in range(FIGURES)]
            for kernel in kernels.values():
                kernel.client.stop_channels()
        finally:
            server.stop()
    extra = [a - b for a, b in zip(short[True], short[False], strict=True)]
    extra_longer = [a - b for a, b in zip(longer[True], longer[False], strict=True)]
    rows = [
        row("empty cell, profiled", short[True]),
        row("empty cell, not profiled", short[False]),
        row("more, of a pair", extra),
        row(f"more, of a pair of cells of {LONG_S} s", extra_longer),
        row("the hooks alone, inside the kernel", hooks),
        row("figures of a cell of 4 s, after its end", figures),
    ]
    finish(
        "cell_profile",
        rows,
        [
            Goal("the hooks alone, inside the kernel", statistics.median(hooks), 5.0, "ms"),
            Goal("empty cell, more than without", statistics.median(extra), 5.0, "ms"),
            Goal("cell that is looked at, more than without", statistics.median(extra_longer), 5.0, "ms"),
        ],
    )


if __name__ == "__main__":
    main()
