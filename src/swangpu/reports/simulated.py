"""What a simulation has found, in words, tables and a page: for the terminal, the browser and other programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..kernel_side import words
from ..simulation.meter import Outcome
from ..simulation.scenario import Scenario
from ..simulation.schemes import SCHEMES
from .page import document, escaped, section, table_html
from .tables import Table

__all__ = ["Found", "as_json", "page", "tables"]

#: parts of the GPUs' time, from the left; told apart by brightness as well as by colour
_PARTS = (
    ("useful_part", "computing", "used"),
    ("running_part", "held by cells that do not use it", "running"),
    ("moving_part", "starting or moving", "moving"),
    ("idle_part", "held idle", "idle"),
)
_WIDTH, _LEFT, _TALL = 760.0, 90.0, 26.0
_STYLE = """
.running { fill: #5f9e6e; background: #5f9e6e } .moving { fill: #9a6fb0; background: #9a6fb0 }
"""


@dataclass(frozen=True)
class Found:
    """One scheme: how many GPUs, whether that was looked for and suffices, and what people got."""

    scheme: str
    devices: int
    looked_for: bool
    suffices: bool
    outcome: Outcome


def tables(found: Sequence[Found]) -> list[Table]:
    """The same figures in three tables."""
    rows = [(f, f.outcome.figures()) for f in found]
    waits = tuple(
        (
            f.scheme,
            str(f.devices),
            "yes" if f.suffices else "no",
            words.duration(float(x["session_p95_s"])),
            words.duration(float(x["cell_p95_s"])),
            words.duration(float(x["longest_wait_s"])),
            str(x["gave_up"]),
            f"{x['jain']:.3f}",
        )
        for f, x in rows
    )
    time = tuple(
        (f.scheme, *(_percent(float(x[name])) for name, _, _ in _PARTS), _percent(float(x["idle_wanted_part"])))
        for f, x in rows
    )
    price = tuple(
        (
            f.scheme,
            str(x["killed"]),
            f"{x['lost_work_h']:.1f}",
            f"{x['slowdown']:.2f}",
            f"{x['moves_per_hour']:.0f}",
            f"{x['host_peak_gb']:.0f}",
        )
        for f, x in rows
    )
    return [
        Table(
            "waits",
            "What people wait for",
            ("Scheme", "GPUs", "Suffices", "Session, 95 of 100", "Cell, 95 of 100", "Longest", "Gave up", "Fairness"),
            waits,
            "Fairness is Jain's index of what people got for the time in which they wanted it; 1 is the same for all.",
        ),
        Table(
            "time",
            "What the GPUs do",
            ("Scheme", *(said.capitalize() for _, said, _ in _PARTS), "Idle while wanted"),
            time,
            "Parts of the time of all GPUs. Idle while wanted: somebody waited who could have used it.",
        ),
        Table(
            "price",
            "What it costs",
            ("Scheme", "Killed", "Hours lost", "Slowdown", "Moves per hour", "Host memory, GB"),
            price,
            "Killed: processes that ended though their owner had more to run. Hours lost: what had run in them.",
        ),
    ]


def as_json(scenario: Scenario, found: Sequence[Found]) -> dict[str, Any]:
    """Everything, with its units in the names."""
    return {
        "title": scenario.title,
        "days": scenario.days,
        "seed": scenario.seed,
        "schemes": [
            {
                **f.outcome.figures(),
                "title": SCHEMES[f.scheme].title,
                "looked_for": f.looked_for,
                "suffices": f.suffices,
                "ends": f.outcome.ends,
            }
            for f in found
        ],
    }


def page(scenario: Scenario, found: Sequence[Found]) -> str:
    """The page, as HTML; every plot has a table beside it that says the same."""
    by_name = {t.name: t for t in tables(found)}
    schemes = "".join(f"<li><b>{escaped(f.scheme)}</b>: {escaped(SCHEMES[f.scheme].title)}</li>" for f in found)
    return document(
        scenario.title,
        [
            f"<h1>{escaped(scenario.title)}</h1>",
            f"<p>{scenario.days:g} days, seed {scenario.seed}. All schemes have the same arrivals.</p>",
            f"<ul>{schemes}</ul>",
            section("What people wait for", _gpus(found), table_html(by_name["waits"])),
            section("What the GPUs do", _time(found), table_html(by_name["time"])),
            section("What it costs", table_html(by_name["price"])),
        ],
        _STYLE,
    )


def _percent(part: float) -> str:
    return f"{100 * part:.1f} %"


def _gpus(found: Sequence[Found]) -> str:
    most = max((f.devices for f in found), default=1) or 1
    out = []
    for n, f in enumerate(found):
        wide = (_WIDTH - _LEFT - 120) * f.devices / most
        more = "" if f.suffices else ", not enough"
        out.append(
            f'<text x="{_LEFT - 8}" y="{n * _TALL + 17}" text-anchor="end">{escaped(f.scheme)}</text>'
            f'<rect class="used" x="{_LEFT}" y="{n * _TALL + 4}" width="{wide:.1f}" height="{_TALL - 8}"/>'
            f'<text x="{_LEFT + wide + 6:.1f}" y="{n * _TALL + 17}">{f.devices} GPUs{more}</text>'
        )
    return _svg("GPUs by scheme", len(found), out)


def _time(found: Sequence[Found]) -> str:
    out = []
    for n, f in enumerate(found):
        figures, x = f.outcome.figures(), _LEFT
        out.append(f'<text x="{_LEFT - 8}" y="{n * _TALL + 17}" text-anchor="end">{escaped(f.scheme)}</text>')
        for name, said, kind in _PARTS:
            wide = (_WIDTH - _LEFT) * float(figures[name])
            size = f'x="{x:.1f}" y="{n * _TALL + 4}" width="{wide:.1f}" height="{_TALL - 8}"'
            told = escaped(f"{f.scheme}: {_percent(float(figures[name]))} {said}")
            out.append(f'<rect class="{kind}" {size}><title>{told}</title></rect>')
            x += wide
    legend = "".join(f'<i class="{kind}"></i>{escaped(said)}' for _, said, kind in _PARTS)
    return _svg("Parts of the GPUs' time by scheme", len(found), out, f"{legend}; the rest is free")


def _svg(title: str, rows: int, inner: Sequence[str], legend: str = "") -> str:
    caption = f'<figcaption class="legend quiet">{legend}</figcaption>' if legend else ""
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH:g} {rows * _TALL + 4:g}" role="img" aria-label="{escaped(title)}; a table '
        f'with the same follows">{"".join(inner)}</svg>{caption}</figure>'
    )
