"""What ``%gpu`` shows, as text and as HTML from one description: nothing reaches a page unescaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import words
from .grammar import VERBS

__all__ = [
    "View",
    "explanation",
    "help_page",
    "kernel",
    "note",
    "offers",
    "problem",
    "sessions",
    "variables",
]

Json = Mapping[str, Any]

_STYLE = "color: var(--jp-ui-font-color1, inherit); font-family: var(--jp-ui-font-family, sans-serif)"
_CELL = "text-align: left; padding: 2px 12px 2px 0; border: none"
_QUIET = "color: var(--jp-ui-font-color2, inherit)"
_BAD = "color: var(--jp-error-color1, #b00020)"


class View:
    """Blocks of text: ``head``, ``line``, ``hint``, ``error``, and tables."""

    def __init__(self) -> None:
        self._blocks: list[tuple[str, Any]] = []

    def add(self, kind: str, text: str) -> View:
        if text:
            self._blocks.append((kind, words.clean(text, 1000)))
        return self

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> View:
        cleaned = [[words.clean(cell) for cell in row] for row in rows]
        self._blocks.append(("table", (list(headings), cleaned)))
        return self

    def extend(self, other: View) -> View:
        self._blocks += other._blocks
        return self

    @property
    def text(self) -> str:
        lines: list[str] = []
        for kind, content in self._blocks:
            if kind == "table":
                lines += _text_table(*content)
            else:
                # a blank line sets a new part off
                lines += ["", content] if kind == "head" and lines else [content]
        return "\n".join(lines)

    @property
    def html(self) -> str:
        return f'<div class="swangpu" style="{_STYLE}">{"".join(map(_html_block, self._blocks))}</div>'

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": self.text, "text/html": self.html}


def _text_table(headings: list[str], rows: list[list[str]]) -> list[str]:
    columns = range(len(headings))
    widths = [max(len(line[c]) for line in [headings, *rows]) for c in columns]
    return ["  ".join(line[c].ljust(widths[c]) for c in columns).rstrip() for line in [headings, *rows]]


def _html_block(block: tuple[str, Any]) -> str:
    kind, content = block
    if kind == "table":
        headings, rows = content
        head = "".join(f'<th scope="col" style="{_CELL}">{_escaped(cell)}</th>' for cell in headings)
        body = "".join(
            "<tr>" + "".join(f'<td style="{_CELL}">{_escaped(cell)}</td>' for cell in row) + "</tr>" for row in rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    if kind == "head":
        return f"<div><strong>{_escaped(content)}</strong></div>"
    style = {"hint": f' style="{_QUIET}"', "error": f' role="alert" style="{_BAD}"'}.get(kind, "")
    return f"<div{style}>{_escaped(content)}</div>"


def _escaped(text: str) -> str:
    """Safe in a page; what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=True))


def note(*lines: str) -> View:
    view = View()
    for line in lines:
        view.add("line", line)
    return view


def problem(detail: str, hint: str = "") -> View:
    """What went wrong in one sentence, and what helps."""
    return View().add("error", detail).add("hint", hint)


def offers(items: Sequence[Json]) -> View:
    """Where a GPU can be had."""
    view = View().add("head", "GPUs that can be had")
    if not items:
        return view.add("line", "There is none here now.").add("hint", "`swangpu doctor` in a terminal tells why.")
    costs = any(item.get("cost_per_hour") is not None for item in items)
    rows = []
    for item in items:
        row = [
            words.title(item),
            words.memory(item.get("memory_bytes")),
            item.get("pool_title") or item.get("pool") or "",
            f"{item.get('free', 0)} of {item.get('total', 0)}",
            words.waiting(item),
        ]
        if costs:
            cost = item.get("cost_per_hour")
            row.append("" if cost is None else f"{cost:g} {item.get('currency') or ''}")
        rows.append(row)
    headings = ["GPU", "Memory", "Where", "Free", "When"] + (["Cost per hour"] if costs else [])
    size = words.memory(items[0].get("memory_bytes")).replace(" ", "")
    return view.table(headings, rows).add("hint", f"Get one: `%gpu get {size} --for 2h`")


def sessions(items: Sequence[Json], kernel_id: str | None = None) -> View:
    """My sessions."""
    view = View().add("head", f"My sessions ({len(items)})" if items else "My sessions")
    if not items:
        return view.add("line", "None now.").add("hint", "Get a GPU: `%gpu get 10GB --for 2h`")
    rows = []
    for item in items:
        here = kernel_id is not None and kernel_id in (item.get("kernel_ids") or [])
        work = "this kernel" if here else item.get("path") or item.get("purpose") or item.get("kind") or ""
        rows.append([item.get("id", ""), words.title(item), item.get("pool") or "", work, words.state(item)])
    return view.table(["Session", "GPU", "Where", "For", "State"], rows)


def kernel(session: Json | None, sample: Json | None = None) -> View:
    """What this kernel has."""
    if session is None:
        return View().add("head", "This kernel").add("line", "No GPU.")
    view = View().add("head", f"This kernel: {words.title(session)}").add("line", words.state(session))
    if session.get("state") == "active":
        view.add("line", _use(sample))
    warning = session.get("warning")
    if warning:
        view.add("error", str(warning.get("text", "")))
    can = session.get("actions") or []
    verbs = [verb for verb in ("extend", "release", "undo") if verb in can]
    return view.add("hint", " · ".join(f"`%gpu {verb}`" for verb in verbs))


def _use(sample: Json | None) -> str:
    """How busy, and how much memory; what is not known says why."""
    if sample is None:
        return "busy: not known yet"
    missing = sample.get("missing") or {}
    busy = sample.get("utilization_percent")
    if busy is None:
        why = {"not_supported": "not available on this slice", "no_permission": "not allowed to see"}
        said = f"busy: {why.get(missing.get('utilization_percent', ''), 'not known')}"
    else:
        said = f"{busy:.0f} % busy"
    used, total = sample.get("memory_used_bytes"), sample.get("memory_total_bytes")
    if used is None:
        return f"{said} · memory in use: not known"
    return f"{said} · {words.memory(used)} of {words.memory(total)}"


def variables(report: Json, why: str) -> View:
    """What a restart would do to the variables."""
    carried, left = report.get("carried") or [], report.get("left") or []
    total = len(carried) + len(left)
    view = View().add("line", why)
    if report.get("error"):
        view.add("line", str(report["error"]))
    elif total:
        view.add("line", f"{len(carried)} of {total} variables can come along.")
    if left:
        view.table(["Left behind", "Why"], [[one.get("name", ""), one.get("why", "")] for one in left])
    return view


def explanation(session: Json, said: Json) -> View:
    """Why a session is where it is, and the numbers behind that."""
    view = View().add("head", f"{words.title(session)}: {words.state(session)}")
    view.add("line", str((said.get("reason") or {}).get("text", "")))
    position, length = said.get("queue_position"), said.get("queue_length")
    if position:
        view.add("line", f"{words.ordinal(position)} of {length} in the queue.")
    estimate = said.get("estimate")
    if estimate:
        half, most = words.duration(estimate["p50_s"]), words.duration(estimate["p90_s"])
        view.add("line", f"Half of such waits are under {half}, 9 of 10 under {most} ({estimate['basis']}).")
    free_at = [words.clock(at) for at in (said.get("next_free_at") or [])[:3]]
    if free_at:
        view.add("line", f"The next to come free, at the latest: {', '.join(free_at)}.")
    for line in _order(said):
        view.add("line", line)
    counts = ("total", "free", "busy", "held_idle", "taken", "queued")
    rows = [[one.get("title", ""), *(one.get(count, 0) for count in counts)] for one in said.get("candidates") or []]
    if rows:
        view.table(["Could be", "Total", "Free", "Busy", "Held, idle", "Used by others", "Waiting"], rows)
    return view


def _order(said: Json) -> list[str]:
    """What the order of the queue, quotas and reservations have to do with it."""
    half_life = words.duration(said.get("half_life_s") or 0)
    held = (said.get("held_device_s") or 0) / 3600
    out = [f"You have held {held:.3g} GPU-hours lately (those of {half_life} ago count half)."] if held >= 0.01 else []
    if said.get("group"):
        hours = (said.get("group_held_device_s") or 0) / 3600
        out.append(f"Group {said['group']}: {hours:.3g} GPU-hours lately, weight {said.get('group_weight') or 1:g}.")
    for one in said.get("quotas") or []:
        whose = "Your quota" if one["whose"] == "you" else f"Quota of group {one['whose']}"
        limit = "without limit" if one["limit"] is None else f"at most {one['limit']:g}"
        out.append(f"{whose} ({one['flavor']}): {one['held']:g} held, {one['nominal']:g} its own, {limit}.")
    for one in said.get("reservations") or []:
        whose = "for you too" if one["for_you"] else "for others"
        start, end = words.clock(one["start"]), words.clock(one["end"])
        out.append(f"{one['count']} set aside {whose} from {start} to {end}: {one['title']}.")
    return out


def help_page() -> View:
    view = View().add("head", "GPUs from this notebook")
    rows = [[f"`{f'%gpu {verb} {rest}'.rstrip()}`", what] for verb, (rest, what) in VERBS.items()]
    rows.append(["`%%gpu 10GB [--warm 60s]`", "run this cell beside a GPU, held only while it runs"])
    rows.append(["`%%gpu 10GB -i data,model -o model`", "send and bring back these variables only"])
    rows.append(["`%%gpu [10GB] --profile`", "say what this cell did on the GPU"])
    view.table(["Write", "To get"], rows)
    return view.add("hint", "Sizes: 10GB, 1.5GiB, or a flavor's name. Durations: 2h, 90min, 1h30m.")
