"""How many GPUs the same notebooks need under each scheme, and what people get.

All schemes run on the same arrivals, seed by seed. For each the smallest fleet is found in which 95 of 100 cells start
within 10 s and 95 of 100 sessions within 60 s; the other figures are of that fleet. What has run is kept in
``benchmarks/results/sharing.parts.jsonl``, so that a run that was interrupted goes on where it was.

Environment: SEEDS (5), DAYS (14), VARIED_SEEDS (1), VARIED_DAYS (4), WORKERS (all), ONLY (studies, with commas),
KNOWN=1 (run nothing; tell of what is known already).
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from report import RESULTS, Goal, chosen, finish, setting

from swangpu.simulation.fleet_size import Target, fleet, needed, run_scheme
from swangpu.simulation.meter import Outcome
from swangpu.simulation.schemes import SCHEMES
from swangpu.simulation.site import Site
from swangpu.simulation.workload import GB, Workload, generate

SEEDS, DAYS = int(setting("SEEDS", 5)), setting("DAYS", 14)
VARIED_SEEDS, VARIED_DAYS = int(setting("VARIED_SEEDS", 1)), setting("VARIED_DAYS", 4)
WORKERS = int(os.environ.get("WORKERS", str(os.cpu_count() or 1)))
ONLY = [name for name in chosen("ONLY").split(",") if name]
PARTS = RESULTS / "sharing.parts.jsonl"
#: first guesses of the fleet, for 16 arrivals an hour: a good one saves runs
GUESS = {"A": 52, "B": 27, "C": 30, "E0": 36, "E1": 8, "E1-stay": 8, "E1-default": 9, "E2-same": 8, "E2": 6, "O": 5}
#: what the sensitivity is looked at with
VARIED = ("A", "E0", "E1", "E2")
#: parts of the broker and the simulation on which these figures do not depend
DECIDES_NOTHING = {
    "estimate", "reasons", "rightsize", "telemetry", "records", "audit", "calibration", "driver", "fleet", "others",
    "processes", "replay", "scenario", "soak", "trouble",
}  # fmt: skip
PARAMETERS = (
    "arrivals_per_hour", "night_part", "cells_mean", "cell", "cpu", "gap", "untouched_part", "users", "pareto",
    "closes_part", "patience_p50_s", "offload_part", "carry_part",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One scheme on the arrivals of one seed."""

    study: str
    scheme: str
    seed: int
    days: float
    workload: Workload
    site: Site
    guess: int

    @property
    def key(self) -> str:
        """The same task has the same key in every process."""
        text = json.dumps([asdict(self), _code()], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


@lru_cache(maxsize=1)
def _code() -> str:
    """What is kept is of no use when the broker or the simulation has changed."""
    package = Path(sys.modules["swangpu"].__file__ or "").parent
    digest = hashlib.sha256()
    for folder in ("broker", "domain", "simulation"):
        for path in sorted((package / folder).glob("*.py")):
            if path.stem not in DECIDES_NOTHING:
                digest.update(path.read_bytes())
    return digest.hexdigest()


def work(task: Task) -> dict[str, Any]:
    """Find the smallest fleet, and tell what people get in it."""
    scheme, began = SCHEMES[task.scheme], time.process_time()
    visits = generate(task.workload, task.days, task.seed)

    def run(count: int) -> Outcome:
        site = fleet(task.site, count, task.workload.memory_gb, scheme)
        return run_scheme(scheme, site, visits, task.days, seed=task.seed)

    count, runs = needed(run, Target(), start=task.guess)
    return {
        "key": task.key,
        "study": task.study,
        "needed": count,
        "cpu_s": time.process_time() - began,
        **runs[count].figures(),
    }


def tasks() -> list[Task]:
    """Everything that is to be known, the goals' figures first."""
    base, site = Workload(), Site()
    out = [Task("main", name, seed, DAYS, base, site, GUESS[name]) for seed in range(SEEDS) for name in SCHEMES]
    heavy = replace(base, heavy_part=0.5)
    out += [Task("half of all by one user", n, s, VARIED_DAYS, heavy, site, GUESS[n])
            for s in range(VARIED_SEEDS) for n in ("A", "E1", "E2")]  # fmt: skip
    whole = replace(base, memory_gb=((40.0, 1.0),))
    varied: list[tuple[str, Workload, Site]] = [
        *((f"{rate:g} GB/s", base, replace(site, bandwidth_bytes_s=rate * GB)) for rate in (2.4, 5.3, 24.0)),
        ("64 GB host budget", base, replace(site, host_bytes=64 * GB)),
        ("a touched device is not told apart", base, replace(site, untouched_anywhere=False)),
        ("all ask for whole GPUs", whole, site),
    ]
    for name in PARAMETERS:
        varied += [(f"{name} x {factor:g}", base.scaled(name, factor), site) for factor in (0.5, 2.0)]
    for study, workload, where in varied:
        scale = workload.arrivals_per_hour / base.arrivals_per_hour * (2.7 if study == "all ask for whole GPUs" else 1)
        for seed in range(VARIED_SEEDS):
            out += [Task(study, n, seed, VARIED_DAYS, workload, where, max(1, round(GUESS[n] * scale))) for n in VARIED]
    return [t for t in out if not ONLY or t.study in ONLY]


def known() -> dict[str, dict[str, Any]]:
    """What earlier runs have left."""
    lines = PARTS.read_text().splitlines() if PARTS.exists() else []
    return {row["key"]: row for row in map(json.loads, lines)}


def collect(todo: list[Task]) -> list[dict[str, Any]]:
    """Run what is not known yet, and keep each result as it comes."""
    rows = known()
    if os.environ.get("KNOWN"):
        return [rows[t.key] for t in todo if t.key in rows]
    left = [t for t in todo if t.key not in rows]
    RESULTS.mkdir(exist_ok=True)
    with ProcessPoolExecutor(WORKERS) as pool, PARTS.open("a") as kept:
        futures = {pool.submit(work, task): task for task in left}
        for number, future in enumerate(as_completed(futures), 1):
            row = future.result()
            rows[row["key"]] = row
            kept.write(json.dumps(row) + "\n")
            kept.flush()
            said = f"{row['study']}: {row['scheme']}, seed {row['seed']}: {row['needed']} GPUs"
            print(f"[{number}/{len(left)}] {said} ({row['cpu_s']:.0f} s)", file=sys.stderr)
    return [rows[t.key] for t in todo]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One scheme in one study: means over the seeds, with their standard error where there are several."""
    out: dict[str, Any] = {"study": rows[0]["study"], "scheme": rows[0]["scheme"], "seeds": len(rows)}
    for name in ("needed", "session_p95_s", "cell_p95_s", "cell_p99_s", "useful_part", "idle_part", "idle_wanted_part",
                 "moving_part", "killed", "lost_work_h", "gave_up", "slowdown", "jain", "moves_per_hour",
                 "host_peak_gb", "longest_wait_s"):  # fmt: skip
        values = [float(row[name]) for row in rows]
        out[name] = statistics.fmean(values)
        if name == "needed":
            out["needed_error"] = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return out


def ratio(rows: list[dict[str, Any]], study: str, scheme: str) -> tuple[float, float | None] | None:
    """GPUs of a scheme as a part of A's, seed by seed on the same arrivals: mean and standard error."""
    needs = {(r["scheme"], r["seed"]): r["needed"] for r in rows if r["study"] == study}
    parts = [needs[scheme, seed] / needs["A", seed] for name, seed in needs if name == "A" and (scheme, seed) in needs]
    if not parts:
        return None
    return statistics.fmean(parts), statistics.stdev(parts) / len(parts) ** 0.5 if len(parts) > 1 else None


def goals(rows: list[dict[str, Any]]) -> list[Goal]:
    out = []
    for scheme, limit in (("E2", 1 / 8), ("E1", 1 / 5), ("E0", 0.999)):
        part = ratio(rows, "main", scheme)
        if part is not None:
            out.append(Goal(f"GPUs of {scheme}, as a part of A's", part[0], limit, ""))
    ours = [r for r in rows if r["study"] == "main" and r["scheme"] in ("E1", "E2-same", "E2")]
    for scheme in ("E1", "E2"):
        mine = [r["idle_wanted_part"] for r in ours if r["scheme"] == scheme]
        if mine:
            out.append(Goal(f"idle while others wait, {scheme}, of capacity", statistics.fmean(mine), 0.02, ""))
    if ours:
        out.append(Goal("killed kernels, E1 and E2, all seeds", float(sum(r["killed"] for r in ours)), 0.0, ""))
    for scheme in ("E1", "E2"):
        heavy = [r["jain"] for r in rows if r["study"] == "half of all by one user" and r["scheme"] == scheme]
        if heavy:
            out.append(Goal(f"1 - Jain index, {scheme}, one user makes half", 1 - statistics.fmean(heavy), 0.05, ""))
    return out


def main() -> None:
    todo = tasks()
    rows = collect(todo)
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault((row["study"], row["scheme"]), []).append(row)
    table = []
    for (study, scheme), group in grouped.items():
        part = ratio(rows, study, scheme)
        line = summary(group)
        line["of_A"] = part[0] if part else None
        line["of_A_error"] = part[1] if part else None
        line["days"] = DAYS if study == "main" else VARIED_DAYS
        table.append(line)
    finish("sharing", table, goals(rows))


if __name__ == "__main__":
    main()
