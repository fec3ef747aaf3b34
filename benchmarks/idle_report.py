"""How long `swangpu report idle` takes for a month of a site's GPUs, and how much memory.

A month of dcgm-exporter's metrics is written into a real Prometheus first; only the report is measured. The pods come
and go every few hours, so that there are thousands of series.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from report import Goal, finish, setting

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from services import prometheus, unpacked

GPUS = int(setting("GPUS", 64))
DAYS = int(setting("DAYS", 30))
SCRAPE_S = int(setting("SCRAPE_S", 30))
ROUNDS = int(setting("ROUNDS", 3))


def lines(begin: int, end: int) -> Iterator[str]:
    for metric in ("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED"):
        yield f"# TYPE {metric} gauge\n"
        for gpu in range(GPUS):
            some = random.Random(gpu)
            at = begin + some.randrange(SCRAPE_S)
            while at < end:
                until = min(end, at + some.randrange(1800, 15 * 3600))
                labels = (
                    f'gpu="{gpu % 8}",UUID="GPU-{gpu}",modelName="NVIDIA A100-SXM4-80GB",Hostname="node-{gpu // 8}"'
                )
                if some.random() < 0.8:
                    labels += f',namespace="team-{some.randrange(12)}",pod="pod-{gpu}-{at}",container="main"'
                busy = some.randrange(101)
                for moment in range(at, until, SCRAPE_S):
                    value = busy if moment // 1500 % 2 else 0
                    yield f'{metric}{{{labels},job="dcgm"}} {value} {moment}\n'
                at += (until - at + SCRAPE_S - 1) // SCRAPE_S * SCRAPE_S
    yield "# EOF\n"


def main() -> None:
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        end = int(time.time()) // 3600 * 3600
        file, data = Path(folder) / "month.om", Path(folder) / "data"
        with file.open("w") as out:
            out.writelines(lines(end - DAYS * 86400, end))
        command = [unpacked("prometheus", "promtool"), "tsdb", "create-blocks-from", "--max-block-duration=720h"]
        subprocess.run([*command, "openmetrics", str(file), str(data)], check=True, capture_output=True)
        file.unlink()
        with prometheus("", data) as server:
            for number in range(ROUNDS):
                begin = time.monotonic()
                command = [sys.executable, "-m", "swangpu.cli", "report", "idle", "--prometheus", server.url]
                command += ["--days", str(DAYS), "--html", str(Path(folder) / "idle.html")]
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
                _, status, spent = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                assert process.returncode == 0
                rows.append(
                    {
                        "round": number + 1,
                        "gpus": GPUS,
                        "days": DAYS,
                        "scrape_s": SCRAPE_S,
                        "wall_s": time.monotonic() - begin,
                        "report_cpu_s": spent.ru_utime + spent.ru_stime,
                        "memory_mb": spent.ru_maxrss / 1024,
                    }
                )
    goals = [
        Goal("the report, slowest round", max(float(row["wall_s"]) for row in rows), 60.0, "s"),
        Goal("the report's memory", max(float(row["memory_mb"]) for row in rows), 300.0, "MB"),
    ]
    finish("idle_report", rows, goals)


if __name__ == "__main__":
    main()
