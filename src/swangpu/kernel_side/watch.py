"""``%gpu watch``: a live view where anywidget is there, a picture of the last minutes in text where it is not."""

from __future__ import annotations

import threading
import time
import weakref
from pathlib import Path
from typing import Any

from . import render, words
from .api import Api, ApiError
from .screen import show as put

__all__ = ["show", "sparkline"]

Json = dict[str, Any]

WINDOW_S = 600.0
POINTS = 60
INTERVAL_S = 2.0
_BARS = "▁▂▃▄▅▆▇█"


def show(api: Api, session: Json) -> render.View | None:
    """Show a session's load, live if that can be done in this kernel."""
    widget = _widget(api, session)
    if widget is None:
        return _text(api, session)
    put(widget)
    return None


def reading(api: Api, session_id: str) -> Json:
    """What a view shows: the session in words, and the last minutes of its load."""
    session = api.session(session_id)
    history = api.history(session_id, POINTS, time.time() - WINDOW_S)
    busy = history.get("utilization_percent") or []
    used = history.get("memory_used_bytes") or []
    total = session.get("memory_bytes")
    missing = history.get("missing") or {}
    return {
        "title": words.title(session),
        "state": words.state(session).replace("`", ""),
        "ended": session["state"] in ("ending", "ended"),
        "busy": busy,
        "memory": [None if one is None or not total else min(100.0, 100.0 * one / total) for one in used],
        "busy_text": _busy_text(busy, missing),
        "memory_text": _memory_text(used, total),
    }


def _busy_text(busy: list[float | None], missing: Json) -> str:
    known = [one for one in busy if one is not None]
    if known:
        return f"{known[-1]:.0f} % busy"
    not_supported = missing.get("utilization_percent") == "not_supported"
    return "busy: not available on this slice" if not_supported else "busy: not known yet"


def _memory_text(used: list[float | None], total: float | None) -> str:
    known = [one for one in used if one is not None]
    return f"{words.memory(known[-1])} of {words.memory(total)}" if known else "memory in use: not known yet"


def sparkline(values: list[float | None]) -> str:
    """Percentages as a row of bars; a gap where nothing is known."""
    return "".join(" " if v is None else _BARS[min(7, max(0, int(v / 12.5)))] for v in values)


def _text(api: Api, session: Json) -> render.View:
    now = reading(api, str(session["id"]))
    view = render.View().add("head", now["title"]).add("line", now["state"])
    rows = [
        ["busy", sparkline(now["busy"]), now["busy_text"]],
        ["memory", sparkline(now["memory"]), now["memory_text"]],
    ]
    view.table(["Last 10 min", "0 to 100 %", "Now"], rows)
    return view.add("hint", "A live view needs anywidget in this environment; `%gpu watch` again looks again.")


def _widget(api: Api, session: Json) -> Any:
    try:
        import anywidget
        import traitlets
    except ImportError:
        return None

    class GpuWatch(anywidget.AnyWidget):
        """The load of one session; ends with it."""

        _esm = (Path(__file__).parent / "watch.js").read_text(encoding="utf-8")
        reading = traitlets.Dict().tag(sync=True)

        def __repr__(self) -> str:
            now = self.reading
            return f"{now.get('title')}: {now.get('state')} · {now.get('busy_text')} · {now.get('memory_text')}"

    widget = GpuWatch(reading=reading(api, str(session["id"])))
    threading.Thread(target=_feed, args=(weakref.ref(widget), api, str(session["id"])), daemon=True).start()
    return widget


def _feed(widget: Any, api: Api, session_id: str) -> None:
    """Renew a widget's reading until its session has ended, or nobody has the widget any more."""
    while True:
        time.sleep(INTERVAL_S)
        shown = widget()
        if shown is None or shown.comm is None:
            return
        try:
            shown.reading = reading(api, session_id)
        except ApiError as error:
            shown.reading = {**shown.reading, "state": error.detail, "ended": bool(error.status)}
        if shown.reading.get("ended"):
            return
        del shown
