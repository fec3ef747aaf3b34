"""``swangpu simulate scenario.toml``: how many GPUs, and what people get, under other rules."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from ..kernel_side import words
from ..kernel_side.render import View

if TYPE_CHECKING:
    from ..reports.simulated import Found
    from ..simulation.scenario import Scenario
    from ..simulation.workload import Visit

__all__ = ["main"]

#: first guesses: devices for each arrival in an hour, in units of the schemes' places
_GUESS = {"A": 3.2, "B": 1.8, "C": 2.0, "E0": 1.8}
_ELSE = 0.5


def main(asked: argparse.Namespace) -> int:
    scenario = _read(Path(asked.scenario))
    # what follows loads more than a command line needs to say that it was misused
    from ..reports import simulated

    visits, scenario = _people(scenario, Path(asked.scenario).parent)
    if not visits:
        raise BadInput("Nobody comes in this scenario.", hint="Look at workload.arrivals_per_hour, or at the ledger.")
    found = []
    with _Progress(len(scenario.schemes)) as progress:
        for name in scenario.schemes:
            found.append(_one(scenario, name, visits, progress))
            progress.done(name)
    if asked.html:
        _write(Path(asked.html), simulated.page(scenario, found))
    if asked.json:
        print(json.dumps(simulated.as_json(scenario, found), indent=2, allow_nan=False))
    else:
        print(_view(scenario, found, len(visits)).text)
    return 0


def _read(path: Path) -> Scenario:
    from ..simulation.scenario import parse

    if sys.version_info < (3, 11):
        raise BadInput(
            "Reading a scenario needs Python 3.11 or newer.", hint="Run swangpu simulate with a newer Python."
        )
    tomllib = importlib.import_module("tomllib")
    try:
        text = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{words.clean(path)} can't be read: {error.strerror}", hint="Name a scenario's file.") from None
    except UnicodeDecodeError:
        raise BadInput(f"{words.clean(path)} is not text.", hint="A scenario is a TOML file.") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{words.clean(path)} is not TOML: {error}", hint="See docs/simulate.md.") from None
    return parse(text)


def _people(scenario: Scenario, folder: Path) -> tuple[tuple[Visit, ...], Scenario]:
    from dataclasses import replace

    from ..simulation.workload import DAY_S, generate

    if scenario.ledger is None:
        return generate(scenario.workload, scenario.days, scenario.seed), scenario
    from .ledger_rows import visits_of

    visits = visits_of(folder / scenario.ledger)
    days = math.ceil(visits[-1].at / DAY_S) if visits else 1
    sizes: dict[float, float] = {}
    for visit in visits:
        sizes[visit.memory_bytes / 1e9] = sizes.get(visit.memory_bytes / 1e9, 0.0) + 1.0
    workload = replace(scenario.workload, memory_gb=tuple(sorted(sizes.items())) or scenario.workload.memory_gb)
    return visits, replace(scenario, days=float(days), workload=workload)


def _one(scenario: Scenario, name: str, visits: tuple[Visit, ...], progress: _Progress) -> Found:
    from ..reports.simulated import Found
    from ..simulation.fleet_size import fleet, meets, needed, run_scheme
    from ..simulation.schemes import SCHEMES
    from ..simulation.site import Site

    scheme = SCHEMES[name]

    def run(site: Site) -> Any:
        progress.says(f"{name} with {site.count} GPUs")
        return run_scheme(scheme, site, visits, scenario.days, seed=scenario.seed)

    if scenario.devices is not None:
        from dataclasses import replace

        outcome = run(replace(scenario.site, devices=scenario.devices))
        return Found(name, outcome.devices, False, meets(outcome, scenario.target), outcome)
    rate = len(visits) / (24 * scenario.days)
    guess = max(1, round(rate * _GUESS.get(name, _ELSE)))
    sizes: Callable[[int], Site] = lambda n: fleet(scenario.site, n, scenario.workload.memory_gb, scheme)  # noqa: E731
    count, runs = needed(lambda n: run(sizes(n)), scenario.target, start=guess)
    return Found(name, count, True, meets(runs[count], scenario.target), runs[count])


def _view(scenario: Scenario, found: list[Found], visits: int) -> View:
    from ..reports import simulated

    view = View().add("head", scenario.title)
    view.add("line", f"{visits} stays in {scenario.days:g} days, seed {scenario.seed}; the same for all schemes.")
    if any(f.looked_for for f in found):
        target = scenario.target
        view.add(
            "line",
            f"GPUs: the fewest with which 95 of 100 sessions start within {words.duration(target.session_p95_s)}, and "
            f"95 of 100 cells within {words.duration(target.cell_p95_s)}.",
        )
    for table in simulated.tables(found):
        view.add("head", table.title).table(table.headings, table.rows).add("hint", table.note)
    return view


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{words.clean(path)} can't be written: {error.strerror}", hint="Give another place.") from None
    print(f"swangpu: wrote {words.clean(path)}", file=sys.stderr)


class _Progress:
    """A bar on the terminal, while somebody sits there."""

    _BAR = 30

    def __init__(self, parts: int) -> None:
        self._shown = sys.stderr.isatty()
        self._parts, self._done, self._what = parts, 0, ""
        self._began = time.monotonic()

    def __enter__(self) -> _Progress:
        return self

    def done(self, what: str) -> None:
        """One scheme is done."""
        self._done += 1
        self._draw()

    def says(self, what: str) -> None:
        """What is being done now."""
        self._what = what
        self._draw()

    def _draw(self) -> None:
        if not self._shown:
            return
        full = round(self._done / self._parts * self._BAR)
        bar = "#" * full + "." * (self._BAR - full)
        spent = words.duration(time.monotonic() - self._began)
        sys.stderr.write(f"\r\x1b[K[{bar}] {self._what}, {spent}")
        sys.stderr.flush()

    def __exit__(self, *exc: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
