"""What all benchmarks share: a table on the screen, a JSON with goals at its end."""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

#: what was set by the environment to something else than its default
_OTHERWISE: list[str] = []


def setting(name: str, default: float) -> float:
    """A number of the environment. A run with another than the default is not recorded."""
    value = float(os.environ.get(name, default))
    if value != default:
        _OTHERWISE.append(f"{name}={value:g}")
    return value


@dataclass(frozen=True)
class Goal:
    """A figure and its limit."""

    name: str
    value: float
    limit: float
    unit: str

    @property
    def holds(self) -> bool:
        return self.value <= self.limit


def chosen(name: str) -> str:
    """A word of the environment that chooses a part of a benchmark; a run of a part is not recorded either."""
    value = os.environ.get(name, "")
    if value:
        _OTHERWISE.append(f"{name}={value}")
    return value


def quartiles(values: list[float]) -> dict[str, float]:
    """Median and the middle half."""
    first, median, third = statistics.quantiles(values, n=4)
    return {"median": median, "p25": first, "p75": third, "n": len(values)}


def finish(name: str, rows: list[dict[str, Any]], goals: list[Goal]) -> None:
    """Print the table, say which goals do not hold, write the JSON. Never fails a build.

    A run with other settings than the defaults goes to a file of its own: it is no record.
    """
    columns = list(rows[0]) if rows else []
    widths = {c: max(len(c), *(len(_text(row[c])) for row in rows)) for c in columns}
    print("  ".join(c.ljust(widths[c]) for c in columns))
    for row in rows:
        print("  ".join(_text(row[c]).ljust(widths[c]) for c in columns))
    print()
    for goal in goals:
        word = "holds" if goal.holds else "DOES NOT HOLD"
        print(f"{word:14} {goal.name}: {goal.value:.4g} {goal.unit} (limit {goal.limit:g})")
    result = {
        "benchmark": name,
        "machine": {"python": platform.python_version(), "system": platform.platform(), "cpus": _cpus()},
        "rows": rows,
        "goals": [{**asdict(goal), "holds": goal.holds} for goal in goals],
    }
    folder = Path(tempfile.mkdtemp(prefix="swangpu-bench-")) if _OTHERWISE else RESULTS
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    if _OTHERWISE:
        print(f"\nno record, since {', '.join(_OTHERWISE)}")
    print(f"\nwritten to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cpus() -> int:
    import os

    return os.cpu_count() or 0
