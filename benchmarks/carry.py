"""What carrying variables costs: time, bytes and memory, for large data of several kinds.

Each kind is saved and loaded in a process of its own, again and again, in turn with a plain write of as many bytes to
the same folder: one in memory where there is room, since how fast a disk is says nothing of us. Memory is the most that
the process has had resident meanwhile, beyond what it had before: saving must not need a second copy of what it saves,
and loading nothing beside what it loads.

GB=1 is how much data, ROUNDS=5 how often. Torch takes part where it is installed, on the CPU.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from report import Goal, finish, setting

SIZE = int(setting("GB", 1) * 1e9)
ROUNDS = int(setting("ROUNDS", 5))

#: how each kind is made, `size` bytes of it, and what shows that it came back
KINDS = {
    "one numpy array": ("import numpy; x = {'x': numpy.arange(size // 8)}", "x['x'][-1] == size // 8 - 1"),
    "100 numpy arrays": (
        "import numpy; x = {f'x{n}': numpy.arange(size // 800) for n in range(100)}",
        "x['x99'][-1] == size // 800 - 1",
    ),
    "one pandas frame": (
        "import numpy, pandas; "
        "x = {'x': pandas.DataFrame(numpy.arange(size // 80 * 10).reshape(-1, 10), columns=list('abcdefghij'))}",
        "x['x']['j'].iloc[-1] == size // 80 * 10 - 1",
    ),
    "one torch tensor and a view": (
        "import torch; t = torch.arange(size // 8); x = {'x': t, 'y': t[10:]}; del t",
        "x['y'].data_ptr() - x['x'].data_ptr() == 80",
    ),
    "bytes": ("x = {'x': bytearray(size)}", "len(x['x']) == size"),
}

PROGRAM = """
import gc, json, sys, time
from pathlib import Path
from swangpu.kernel_side import carry

size, rounds, make, check, folder = json.loads(sys.argv[1])
path = Path(folder) / "variables"

def memory(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024

def measured(work):
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before, begin = memory("VmRSS"), time.perf_counter()
    result = work()
    return result, time.perf_counter() - begin, memory("VmHWM") - before

def plain():
    data = memoryview(bytearray(1 << 26))
    begin = time.perf_counter()
    with open(Path(folder) / "plain", "wb") as file:
        for start in range(0, size, len(data)):
            file.write(data[: size - start])
    took = time.perf_counter() - begin
    (Path(folder) / "plain").unlink()
    return took

out = []
for n in range(rounds):
    exec(make, space := {"size": size})
    x = space.pop("x")
    del space
    plain_s = plain()
    report, save_s, save_extra = measured(lambda: carry.save(path, x))
    assert report["left"] == [] and not report.get("error"), report
    written = path.stat().st_size
    x.clear()
    report, load_s, load_extra = measured(lambda: carry.load(path, x))
    assert report["left"] == [] and not report.get("error"), report
    assert eval(check, {"x": x, "size": size})
    x.clear()
    out.append([plain_s, save_s, load_s, save_extra, load_extra - size, written - size])
print(json.dumps(out))
"""


def run(make: str, check: str, folder: str) -> list[list[float]]:
    arguments = json.dumps([SIZE, ROUNDS, make, check, folder])
    done = subprocess.run([sys.executable, "-c", PROGRAM, arguments], check=True, capture_output=True, text=True)
    found: list[list[float]] = json.loads(done.stdout)
    return found


def in_memory() -> str | None:
    """A folder whose files are in memory, where it has room for them and the machine for the data besides."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > 3 * SIZE else None


def main() -> None:
    rows: list[dict[str, Any]] = []
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        for kind, (make, check) in KINDS.items():
            if "torch" in kind and importlib.util.find_spec("torch") is None:
                print(f"{kind}: left out, torch is not installed", file=sys.stderr)
                continue
            rounds = run(make, check, folder)
            plain, save, load = (sorted(column)[len(column) // 2] for column in list(zip(*rounds, strict=True))[:3])
            # memory and bytes: the worst round
            saving, loading, beyond = (max(column) for column in list(zip(*rounds, strict=True))[3:])
            rows.append(
                {
                    "what": kind,
                    "size_bytes": SIZE,
                    "save_s": save,
                    "load_s": load,
                    "plain_write_s": plain,
                    "save_extra_bytes": saving,
                    "load_extra_bytes": loading,
                    "file_extra_bytes": beyond,
                }
            )
            goals += [
                Goal(f"{kind}: saving, as a multiple of a plain write", save / plain, 1.5, ""),
                Goal(f"{kind}: memory for saving, part of the data", saving / SIZE, 0.05, ""),
                Goal(f"{kind}: memory for loading beyond the data, part of it", loading / SIZE, 0.05, ""),
                Goal(f"{kind}: file beyond the data, part of it", beyond / SIZE, 0.01, ""),
            ]
    finish("carry", rows, goals)


if __name__ == "__main__":
    main()
