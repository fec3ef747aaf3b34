"""The broker's invariants over millions of steps with faults, and how fast the broker is.

Environment: SEEDS (200), STEPS in all (5,000,000), WORKERS (all), FIRST (0). A seed that fails is named; it reproduces
the failure exactly: ``SEEDS=1 FIRST=<seed> STEPS=<steps per seed>``.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

from report import Goal, finish, setting

from swangpu.broker.broker import Broker
from swangpu.broker.state import BrokerState, Changes
from swangpu.errors import SwanGpuError
from swangpu.ledger.codec import decode, encode
from swangpu.simulation.schemes import SCHEMES
from swangpu.simulation.shared import SharedSite
from swangpu.simulation.site import Site, layout
from swangpu.simulation.soak import Soaked, soak
from swangpu.simulation.workload import Workload, generate

SEEDS, STEPS = int(setting("SEEDS", 200)), int(setting("STEPS", 5000000))
FIRST = int(setting("FIRST", 0))
WORKERS = int(os.environ.get("WORKERS", str(os.cpu_count() or 1)))


class Codec:
    """The ledger's: what is reloaded has been text."""

    def encode(self, value: object) -> str:
        return encode(value)

    def state(self, text: str) -> BrokerState:
        return decode(text, {"BrokerState": BrokerState})

    def changes(self, text: str) -> Changes:
        return decode(text, {"Changes": Changes})


def one(seed: int, steps: int) -> Soaked | str:
    try:
        return soak(seed, steps, Codec())
    except Exception as error:
        return f"seed {seed}: {type(error).__name__}: {error}"


def speed(devices: int = 8, days: float = 3.0) -> tuple[float, float]:
    """Steps a second of processor time: of the broker alone, and with people, machines and all invariants.

    A fleet as small as suffices, three days of notebooks; the broker alone is given the same events at the same times.
    """
    workload = Workload()
    sim = SharedSite(SCHEMES["E2"], Site(devices=layout(devices, workload.memory_gb)), generate(workload, days, 0))
    state = sim.desk.state.copy()
    sim.desk.tape = tape = []
    outcome = sim.run(days * 86400)
    rates = []
    for _ in range(3):
        handle = Broker(state.copy()).handle
        began = time.process_time()
        for event, at in tape:
            try:
                handle(event, at)
            except SwanGpuError:
                continue
        rates.append(len(tape) / (time.process_time() - began))
    return max(rates), outcome.steps / outcome.cpu_s


def main() -> None:
    alone, with_checks = speed()
    each = -(-STEPS // SEEDS)
    rows: list[Soaked] = []
    failed: list[str] = []
    began = time.monotonic()
    with ProcessPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(one, seed, each) for seed in range(FIRST, FIRST + SEEDS)]
        for number, future in enumerate(as_completed(futures), 1):
            result = future.result()
            if isinstance(result, str):
                failed.append(result)
                print(result, file=sys.stderr)
            else:
                rows.append(result)
            if number % 10 == 0 or number == SEEDS:
                done = sum(r.steps for r in rows)
                print(f"[{number}/{SEEDS}] {done:,} steps, {time.monotonic() - began:.0f} s", file=sys.stderr)
    steps, cpu_s = sum(r.steps for r in rows), sum(r.cpu_s for r in rows)
    table = [
        {
            "seeds": len(rows),
            "failed": len(failed),
            "steps": steps,
            "thorough_checks": sum(r.checks for r in rows),
            "crashes": sum(r.crashes for r in rows),
            "visits": sum(r.visits for r in rows),
            "longest_wait_h": max((r.longest_wait_s for r in rows), default=0.0) / 3600,
            "steps_per_s_with_faults": steps / cpu_s if cpu_s else 0.0,
            "steps_per_s_simulated": with_checks,
            "steps_per_s_broker": alone,
        }
    ]
    goals = [
        Goal("seeds that failed", float(len(failed)), 0.0, ""),
        Goal("steps that are missing", float(max(0, 5_000_000 - steps)), 0.0, ""),
        Goal("seeds that are missing", float(max(0, 200 - len(rows))), 0.0, ""),
        Goal("one step of the broker", 1e6 / alone, 50.0, "µs"),
    ]
    finish("soak_sim", table, goals)


if __name__ == "__main__":
    main()
