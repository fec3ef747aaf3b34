"""``%gpu watch``: the Monitor's charts where anywidget is there, the last minutes in text where it is not."""

from __future__ import annotations

import time
from typing import Any

from . import live, render, words
from .api import Api
from .screen import show as put

__all__ = ["POINTS", "WINDOW_S", "busy_text", "memory_text", "show", "sparkline"]

Json = dict[str, Any]

WINDOW_S = 600.0
POINTS = 60
_BARS = "▁▂▃▄▅▆▇█"


def show(api: Api, session: Json) -> render.View | None:
    """Show a session's load, live if that can be done in this kernel."""
    wanted = live.Wanted(devices=[], sessions=[session["id"]])
    widget = live.new(api, wanted, span_s=WINDOW_S, opened=[session["id"]])
    if widget is None:
        return _text(api, session)
    put(widget)
    return None


def busy_text(busy: list[float | None], missing: Json) -> str:
    known = [one for one in busy if one is not None]
    if known:
        return f"{known[-1]:.0f} % busy"
    not_supported = missing.get("utilization_percent") == "not_supported"
    return "busy: not available on this slice" if not_supported else "busy: not known yet"


def memory_text(used: list[float | None], total: float | None) -> str:
    known = [one for one in used if one is not None]
    return f"{words.memory(known[-1])} of {words.memory(total)}" if known else "memory in use: not known yet"


def sparkline(values: list[float | None]) -> str:
    """Percentages as a row of bars; a gap where nothing is known."""
    return "".join(" " if v is None else _BARS[min(7, max(0, int(v / 12.5)))] for v in values)


def _text(api: Api, session: Json) -> render.View:
    past = api.history(str(session["id"]), POINTS, time.time() - WINDOW_S)
    busy, used = past.get("utilization_percent") or [], past.get("memory_used_bytes") or []
    total = session.get("memory_bytes")
    share = [None if one is None or not total else min(100.0, 100.0 * one / total) for one in used]
    rows = [
        ["busy", sparkline(busy), busy_text(busy, past.get("missing") or {})],
        ["memory", sparkline(share), memory_text(used, total)],
    ]
    view = render.View().add("head", words.title(session)).add("line", words.state(session).replace("`", ""))
    view.table(["Last 10 min", "0 to 100 %", "Now"], rows)
    return view.add("hint", "A live view needs anywidget in this environment; `%gpu watch` again looks again.")
