"""The idle report in words and tables: for the terminal, for a page, as CSV and as JSON, from one description."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..kernel_side import words
from .figures import Figures, Hold, Report

__all__ = ["Table", "as_csv", "as_json", "csv_files", "grouped", "notes", "summary", "tables", "when"]

Cell = str | float | int | None

#: what a report's rows are by, and what they are called
_KEYS = {"flavors": "flavor", "namespaces": "namespace", "hours": "hour", "days": "day"}
_FIGURES = tuple(Figures.__dataclass_fields__)


@dataclass(frozen=True)
class Table:
    """One table, in words."""

    name: str
    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def when(at: float) -> str:
    """Local time: ``2026-11-23 18:10``."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def _hours(value: float | None) -> str:
    return "not known" if value is None else f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def _part(value: float | None) -> str:
    return "not known" if value is None else f"{100 * value:.0f} %"


def summary(report: Report) -> list[str]:
    """The report in some sentences."""
    total = report.total
    gpus = f"{report.devices} GPU{'' if report.devices == 1 else 's'}"
    if report.instances:
        gpus += f", {report.instances} MIG instances on them"
    said = [f"{gpus}, {when(report.start)} to {when(report.end)}."]
    if total.held_h is None or total.used_h is None or total.idle_h is None:
        return [*said, "No series names a pod, so that what was held, and by whom, is not known."]
    said.append(
        f"Held: {_hours(total.held_h)} GPU-hours (± {_hours(total.held_error_h)}). "
        f"Used: {_hours(total.used_h)} (± {_hours(total.used_error_h)}). "
        f"Held idle: {_hours(total.idle_h)} (± {_hours(total.used_error_h)}), {_part(total.idle_part)}."
    )
    if total.unknown_h:
        said.append(f"Held, and how busy is not known: {_hours(total.unknown_h)} GPU-hours.")
    said.append(
        f"{len(report.holds)} idle holds of {words.duration(report.hold_min_s)} or more: "
        f"{_hours(total.long_idle_h)} GPU-hours."
    )
    return said


def notes(report: Report) -> list[str]:
    """What is measured, what is estimated, and how far off it can be."""
    total, step = report.total, words.duration(report.step_s)
    scraped = "not known"
    if report.interval_s is not None:
        shortest, longest = (words.duration(s) for s in report.interval_s)
        scraped = shortest if shortest == longest else f"{shortest} to {longest}"
    said = [
        f"Measured: how long each pod held a GPU, by its samples (one every {scraped}). Begin and end of each hold "
        f"are right to one such interval: ± {_hours(total.held_error_h)} GPU-hours in all.",
        f"Measured: of the time between each GPU's first and last sample {100 * report.covered_part:.1f} % has "
        f"samples. The rest ({_hours(report.gap_h)} hours of GPUs) is not counted at all: neither as held nor as idle.",
        "Estimated: used, as held times utilization. Utilization is seen in samples only: ± "
        f"{_hours(total.used_error_h)} GPU-hours (95 %, begin and end included). It is the time in which any kernel "
        "ran, not how much of the GPU it filled: used is an upper bound of what was needed.",
        f"Measured: an idle hold is a time in which each step of {step} was below "
        f"{report.idle_below_percent:g} % busy. Its begin and end are right to one step.",
    ]
    if report.data_begin - report.start > 2 * report.step_s:
        said.append(
            f"Data begins at {when(report.data_begin)}: before that Prometheus has none (it keeps 15 days by default)."
        )
    if report.end - report.data_end > 2 * report.step_s:
        said.append(f"Data ends at {when(report.data_end)}: since then Prometheus has had none.")
    if report.instances:
        said.append(
            "Estimated: a MIG instance counts as its part of a GPU's compute (1g of 7 is 1/7). How busy it was is of "
            "DCGM_FI_PROF_GR_ENGINE_ACTIVE; where that is missing it is not known, and counted apart."
        )
    if total.shared_h:
        said.append(
            f"Estimated: {_hours(total.shared_h)} GPU-hours were shared by several pods at the same time. The GPU's "
            "hours are split among them in equal parts; which of them computed is not known. Idle is certain for all."
        )
    if total.unnamed_h >= 0.05:
        said.append(
            f"Not counted above: {_hours(total.unnamed_h)} GPU-hours were used while no series named a pod (work "
            "outside of Kubernetes, or an exporter that does not look for pods)."
        )
    return said


def tables(report: Report, top: int = 10) -> list[Table]:
    """All tables; of idle holds the ``top`` longest."""
    by_flavor = Table(
        "flavors",
        "By flavor",
        ("Flavor", "Seen", "Counts as", *_HEADINGS),
        tuple(
            (name, str(report.members[name]), f"{report.weights[name]:.3g}", *_row(f))
            for name, f in report.flavors.items()
        ),
    )
    return [
        by_flavor,
        _holds_table(report, top),
        _by("namespaces", "By namespace", "Namespace", report.namespaces),
        _by("hours", "By hour of the day", "Hour", {f"{h:02d}": f for h, f in report.hours.items()}),
        _by("days", "By day", "Day", report.days),
    ]


_HEADINGS = ("Held", "Used", "± ", "Held idle", "Idle", "Not known", "Shared")


def _row(f: Figures) -> tuple[str, ...]:
    error = None if f.held_h is None else f.used_error_h
    return (
        _hours(f.held_h),
        _hours(f.used_h),
        _hours(error),
        _hours(f.idle_h),
        _part(f.idle_part) if f.held_h is None or f.held_h > 0 else "",
        _hours(f.unknown_h),
        _hours(f.shared_h),
    )


def _by(name: str, title: str, heading: str, figures: Mapping[str, Figures]) -> Table:
    rows = tuple((key or "(none)", *_row(f)) for key, f in figures.items())
    return Table(name, title, (heading, *_HEADINGS), rows)


def grouped(holds: Sequence[Hold]) -> list[tuple[Hold, int]]:
    """One line for a pod that held several GPUs idle from and to the same time, and how many these were."""
    groups: dict[tuple[object, ...], list[Hold]] = {}
    for hold in holds:
        groups.setdefault((hold.namespace, hold.pod, hold.flavor, hold.begin, hold.end, hold.host), []).append(hold)
    return [(members[0], len(members)) for members in groups.values()]


def _holds_table(report: Report, top: int) -> Table:
    groups = grouped(report.holds)
    rows = []
    for hold, count in groups[:top]:
        where = f"{hold.host} · {hold.device[:12]}{f'/{hold.instance}' if hold.instance else ''}"
        rows.append(
            (
                words.duration(hold.idle_s),
                f"{hold.namespace}/{hold.pod}",
                hold.flavor if count == 1 else f"{count} × {hold.flavor}",
                when(hold.begin),
                when(hold.end) + (" (still)" if hold.end >= report.end - report.step_s else ""),
                f"{count * hold.idle_gpu_h:.1f}",
                where if count == 1 else hold.host,
                "; ".join(
                    [f"shared by {hold.sharing}"] * (hold.sharing > 1)
                    + [f"{words.duration(hold.gap_s)} without samples, not counted"] * (hold.gap_s >= 60)
                ),
            )
        )
    more = len(groups) - len(rows)
    note = f"{more} more; --top shows them, --csv and --json have all." if more > 0 else ""
    headings = ("Idle for", "Namespace/pod", "GPU", "From", "To", "GPU-hours", "Where", "Note")
    return Table("holds", "Longest idle holds", headings, tuple(rows), note)


# -- for programs -------------------------------------------------------------------------------------


def as_json(report: Report) -> dict[str, Any]:
    """Everything, in numbers: hours in ``_h``, seconds in ``_s``, times in Unix seconds; null is not known."""
    out = asdict(report)
    out["hours"] = [{"hour": hour, **asdict(f)} for hour, f in report.hours.items()]
    for name in ("flavors", "namespaces", "days"):
        key = _KEYS[name]
        out[name] = [{key: value, **asdict(f)} for value, f in getattr(report, name).items()]
    for row in out["flavors"]:
        row["counts_as"], row["seen"] = report.weights[row["flavor"]], report.members[row["flavor"]]
    del out["weights"], out["members"]
    if not report.devices:
        out["data_begin"] = out["data_end"] = None
    out["notes"] = notes(report)
    return out


def csv_files(report: Report) -> dict[str, str]:
    """One file for each table: its name to its content."""
    files = {"total": _csv([asdict(report.total)], _FIGURES)}
    content = as_json(report)
    for name, key in _KEYS.items():
        extra = ("counts_as", "seen") if name == "flavors" else ()
        files[name] = _csv(content[name], (key, *_FIGURES, *extra))
    files["holds"] = _csv(content["holds"], tuple(Hold.__dataclass_fields__))
    files["notes"] = _csv([{"note": note} for note in content["notes"]], ("note",))
    return {f"{name}.csv": text for name, text in files.items()}


def as_csv(report: Report) -> str:
    """All figures in one file: ``by, key, figure, value``."""
    content = as_json(report)
    rows: list[dict[str, Any]] = [
        {"by": "total", "key": "", "figure": figure, "value": value} for figure, value in asdict(report.total).items()
    ]
    for name, key in _KEYS.items():
        for row in content[name]:
            rows += [{"by": key, "key": row[key], "figure": figure, "value": row[figure]} for figure in _FIGURES]
    for hold in report.holds:
        key = f"{hold.namespace}/{hold.pod}"
        rows += [
            {"by": "hold", "key": key, "figure": figure, "value": value}
            for figure, value in asdict(hold).items()
            if figure not in ("namespace", "pod")
        ]
    return _csv(rows, ("by", "key", "figure", "value"))


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_safe(row[column]) for column in columns] for row in rows)
    return out.getvalue()


def _safe(value: object) -> object:
    """Names come from others, and a spreadsheet must not take one for a formula."""
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value
