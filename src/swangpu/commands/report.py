"""``swangpu report usage | demand``."""

from __future__ import annotations

import argparse
import json
import time

import msgspec

from .. import wire
from ..errors import BadInput
from ..kernel_side import words
from ..kernel_side.grammar import GrammarError, parse_duration
from ..kernel_side.render import View
from .place import client_for

__all__ = ["main"]


def main(asked: argparse.Namespace) -> int:
    now = time.time()
    try:
        start = max(0.0, now - parse_duration(asked.last))
    except GrammarError as error:
        raise BadInput(error.detail, hint=error.hint) from None
    with client_for(asked) as client:
        if asked.csv:
            print(client.report_csv(asked.report, asked.by, start, now), end="")
            return 0
        answer: wire.Usage | wire.Demand
        answer = client.usage(asked.by, start, now) if asked.report == "usage" else client.demand(asked.by, start, now)
    if asked.json:
        print(json.dumps(msgspec.to_builtins(answer), indent=2))
    else:
        print(_view(answer, asked.by).text)
    return 0


def _view(answer: wire.Usage | wire.Demand, by: str) -> View:
    view = View()
    if not answer.items:
        return view.add("line", "Nothing in this time.")
    if isinstance(answer, wire.Usage):
        rows = [
            [row.key, row.sessions, f"{row.held_gpu_s / 3600:.1f}", _share(row.busy_s, row.held_gpu_s)]
            for row in answer.items
        ]
        return view.table([by.capitalize(), "Sessions", "GPU-hours held", "Of that busy"], rows)
    counts = ("looked", "granted", "refused", "given_up", "unclaimed", "settled", "failed")
    return view.table(
        [by.capitalize(), *(name.replace("_", " ").capitalize() for name in counts), "Waited, half", "9 of 10"],
        [
            [row.key, *(getattr(row, name) for name in counts), _wait(row.waited_p50_s), _wait(row.waited_p90_s)]
            for row in answer.items
        ],
    )


def _share(busy_s: float | None, held_s: float) -> str:
    return "not known" if busy_s is None or held_s <= 0 else f"{100 * busy_s / held_s:.0f} %"


def _wait(seconds: float | None) -> str:
    return "" if seconds is None else words.duration(seconds)
