"""``swangpu report idle``: GPU-hours held, used and held idle, from a site's Prometheus alone."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInput
from ..kernel_side import words
from ..kernel_side.grammar import GrammarError, parse_duration
from ..kernel_side.render import View

if TYPE_CHECKING:
    from ..reports.figures import Report
    from ..reports.tables import Table

__all__ = ["main"]

_BAR = 30


def main(asked: argparse.Namespace) -> int:
    step_s, hold_s = _checked(asked)
    # what follows loads more than a command line needs to say that it was misused
    from ..reports import page, tables
    from ..reports.collect import collect
    from ..reports.idle import Tally
    from ..telemetry.promql import PromQl, login_from

    now = time.time()
    login = login_from(asked.token_file, asked.basic_auth_file)
    with PromQl(asked.prometheus, login) as prometheus, _Progress() as progress:
        report = collect(
            prometheus,
            lambda step: Tally(step, idle_below_percent=asked.idle_below, hold_min_s=hold_s),
            now - asked.days * 86400,
            now,
            step_s,
            progress,
        )
    written = []
    if asked.csv:
        written += _write_csv(Path(asked.csv), report)
    if asked.html:
        written.append(_write(Path(asked.html), page.render(report, asked.top)))
    if asked.json:
        print(json.dumps(tables.as_json(report), indent=2, allow_nan=False))
    else:
        print(_view(tables.summary(report), tables.tables(report, asked.top), tables.notes(report)).text)
    for name in written:
        print(f"swangpu: wrote {words.clean(name)}", file=sys.stderr)
    return 0


def _checked(asked: argparse.Namespace) -> tuple[int | None, float]:
    if not 0 < asked.days <= 3660:
        raise BadInput("Days are a number above 0.", hint="Such as --days 30")
    if not 0 < asked.idle_below <= 100:
        raise BadInput("--idle-below is a percentage.", hint="Such as --idle-below 1")
    if asked.top < 0:
        raise BadInput("--top is 0 or more.")
    try:
        step_s = None if asked.step is None else round(parse_duration(asked.step))
        return step_s, parse_duration(asked.hold)
    except GrammarError as error:
        raise BadInput(error.detail, hint=error.hint) from None


def _view(summary: list[str], tables: list[Table], notes: list[str]) -> View:
    view = View().add("head", "GPUs held and used")
    for line in summary:
        view.add("line", line)
    for table in tables:
        view.add("head", f"{table.title}{' (GPU-hours)' if table.name != 'holds' else ''}")
        if table.rows:
            view.table(table.headings, table.rows)
        else:
            view.add("line", "None.")
        view.add("hint", table.note)
    view.add("head", "How these figures were made")
    for line in notes:
        view.add("line", line)
    return view


def _write_csv(path: Path, report: Report) -> list[str]:
    from ..reports import tables

    if path.suffix == ".csv":
        return [_write(path, tables.as_csv(report))]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None
    return [_write(path / name, text) for name, text in tables.csv_files(report).items()]


def _write(path: Path, text: str) -> str:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from None
    return str(path)


def _unwritable(path: Path, error: OSError) -> BadInput:
    return BadInput(f"{words.clean(path)} can't be written: {error.strerror}", hint="Give another place.")


class _Progress:
    """A bar on the terminal, while somebody sits there."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._began = time.monotonic()

    def __enter__(self) -> _Progress:
        self(0.0)
        return self

    def __call__(self, part: float) -> None:
        if self._shown:
            done = round(part * _BAR)
            spent_s = time.monotonic() - self._began
            left = f", about {words.duration(spent_s / part - spent_s)} left" if part > 0.05 else ""
            bar = "#" * done + "." * (_BAR - done)
            sys.stderr.write(f"\r\x1b[K[{bar}] {100 * part:.0f} %{left}")
            sys.stderr.flush()

    def __exit__(self, *exc: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
