"""Whether estimates of waiting times hold: what was said to those who had to wait, against how long they waited.

Sites that are too small, so that people wait, under each way of sharing. Truth should be below the median that was
said in 40 to 60 % of cases, and below the ninth decile in 85 to 95 %. The first day of each run is left out: until then
there is little to go by. Writes ``results/estimates.json`` and a plot, ``results/estimates.svg``.

Environment: SEEDS (3), DAYS (4), WORKERS (all).
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

from report import RESULTS, Goal, finish, setting

from swangpu.simulation.calibration import Foreseen, WatchedSite, calibrate
from swangpu.simulation.schemes import SCHEMES
from swangpu.simulation.shared import BEGIN
from swangpu.simulation.site import Site, layout
from swangpu.simulation.workload import DAY_S, Workload, generate

SEEDS, DAYS = int(setting("SEEDS", 3)), setting("DAYS", 4)
WORKERS = int(os.environ.get("WORKERS", str(os.cpu_count() or 1)))
#: people who wait for ever: whoever gives up leaves a wait of which only a part is known
WORKLOAD = replace(Workload(), patience_p50_s=1e7)
SITES = (("E0", 20), ("E1", 6), ("E2-same", 6), ("E2", 4))
EDGES_S = (0.0, 30.0, 120.0, 600.0, 1800.0, 7200.0, float("inf"))
NAMES = ("to 30 s", "to 2 min", "to 10 min", "to 30 min", "to 2 h", "longer")


def waits(task: tuple[str, int, int]) -> list[Foreseen]:
    scheme, devices, seed = task
    visits = generate(WORKLOAD, DAYS, seed)
    site = WatchedSite(SCHEMES[scheme], Site(devices=layout(devices, WORKLOAD.memory_gb)), visits, seed=seed)
    site.run(DAYS * DAY_S)
    return [row for row in site.foreseen if row.at >= BEGIN + DAY_S]


def row_of(site: str, said: str, rows: list[Foreseen]) -> dict[str, Any]:
    found = calibrate(rows)
    return {
        "site": site,
        "said": said,
        "waits": found.waits,
        "not_known_part": found.unknown_part,
        "under_p50": found.under_p50,
        "under_p90": found.under_p90,
        "half_off_by_less_than_s": found.error_p50_s,
    }


def svg(rows: list[dict[str, Any]]) -> str:
    """For each site two bars, with the bands in which they should end."""
    left, width, tall = 110, 460, 46
    out = []
    for low, high in ((0.4, 0.6), (0.85, 0.95)):
        out.append(f'<rect x="{left + low * width}" y="18" width="{(high - low) * width}" height="{len(rows) * tall}" '
                   'fill="#b7dcbf"/>')  # fmt: skip
        out.append(f'<text x="{left + (low + high) / 2 * width}" y="12" text-anchor="middle">{low:.0%} to {high:.0%}'
                   "</text>")  # fmt: skip
    for number, row in enumerate(rows):
        y = 24 + number * tall
        out.append(f'<text x="{left - 8}" y="{y + 19}" text-anchor="end">{row["site"]}</text>')
        for offset, name, colour in ((0, "under_p50", "#1a5fb4"), (16, "under_p90", "#c77700")):
            value = row[name]
            out.append(f'<rect x="{left}" y="{y + offset}" width="{value * width:.1f}" height="13" fill="{colour}"/>')
            said = "the median" if name == "under_p50" else "the ninth decile"
            out.append(f'<text x="{left + 6}" y="{y + offset + 11}" fill="#fff">{value:.0%} under {said}</text>')
    height = 30 + len(rows) * tall
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 20} {height}" font-family="sans-serif" '
        f'font-size="11" role="img" aria-label="Parts of the waits that were under what was said">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(out)}</svg>\n'
    )


def main() -> None:
    tasks = [(scheme, devices, seed) for scheme, devices in SITES for seed in range(SEEDS)]
    with ProcessPoolExecutor(WORKERS) as pool:
        found = dict(zip(tasks, pool.map(waits, tasks), strict=True))
    table, totals = [], []
    for scheme, devices in SITES:
        rows = [row for seed in range(SEEDS) for row in found[scheme, devices, seed]]
        site = f"{scheme}, {devices} GPUs"
        totals.append(row_of(site, "all", rows))
        table.append(totals[-1])
        for (low, high), name in zip(pairwise(EDGES_S), NAMES, strict=True):
            some = [r for r in rows if r.p50_s is not None and low <= r.p50_s < high]
            if len(some) >= 30:
                table.append(row_of(site, name, some))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "estimates.svg").write_text(svg(totals))
    goals = []
    for row in totals:
        goals.append(Goal(f"{row['site']}: under p50, away from 50 %", abs(row["under_p50"] - 0.5), 0.1, ""))
        goals.append(Goal(f"{row['site']}: under p90, away from 90 %", abs(row["under_p90"] - 0.9), 0.05, ""))
    finish("estimates", table, goals)


if __name__ == "__main__":
    main()
