"""The idle report as a page: one file, no script, nothing loaded from anywhere, light and dark.

Every plot has a table beside it that says the same.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

from .figures import Figures, Report
from .tables import Table, notes, summary, tables

__all__ = ["document", "escaped", "render", "section", "table_html"]

#: bars of used, held idle and not known, from below; told apart by brightness as well as by colour
_PARTS = (("used", "used"), ("idle", "held idle"), ("unknown", "not known"))

#: tables whose cells are GPU-hours
_IN_HOURS = ("flavors", "namespaces", "hours", "days")

_WIDTH, _HEIGHT = 760.0, 220.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 8.0, 12.0, 26.0
_MOST_BARS = 400

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #57606a; --page: #fff; --line: #d0d7de;
  --used: #1a5fb4; --idle: #c77700; --unknown: #858e98; --card: #f6f8fa }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --quiet: #a3acb5; --page: #15181c; --line: #3a4149;
  --used: #7db4ff; --idle: #c77b12; --unknown: #69727c; --card: #1d2126 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 24px 20px 60px; max-width: 1000px; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.6em; margin: 0 0 .4em } h2 { font-size: 1.2em; margin: 2em 0 .5em }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 1.2em 0 }
.figures div { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px }
.figures b { display: block; font-size: 1.5em; line-height: 1.3 } .figures span, .quiet { color: var(--quiet) }
figure { margin: 0 0 1em } svg { width: 100%; height: auto; display: block }
svg text { fill: var(--quiet); font: 12px system-ui, sans-serif } .grid { stroke: var(--line) }
.used { fill: var(--used); background: var(--used) } .idle { fill: var(--idle); background: var(--idle) }
.unknown { fill: var(--unknown); background: var(--unknown) }
.legend i { display: inline-block; width: .9em; height: .9em; border-radius: 2px; margin: 0 .4em 0 1em;
  vertical-align: -.08em }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .92em; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--quiet); font-weight: 600 } td.number, th.number { text-align: right }
caption { text-align: left; padding-bottom: 4px } summary { cursor: pointer; padding: 4px 0 }
li { margin: .4em 0; max-width: 46em }
@media print { body { max-width: none } details > * { display: block } }
"""


class _Bar(NamedTuple):
    name: str
    figures: Figures


def render(report: Report, top: int = 10) -> str:
    """The page, as HTML."""
    by_name = {table.name: table for table in tables(report, top)}
    hours = [_Bar(f"{hour:02d}", f) for hour, f in report.hours.items()]
    days = [_Bar(day, f) for day, f in report.days.items()]
    names = [_Bar(name or "(none)", f) for name, f in list(report.namespaces.items())[:20]]
    body = [
        "<h1>GPUs held and used</h1>",
        *(f"<p>{escaped(line)}</p>" for line in summary(report)[:1]),
        _headline(report),
        *(f"<p>{escaped(line)}</p>" for line in summary(report)[2:]),
        section("Longest idle holds", table_html(by_name["holds"])),
        section("By flavor", table_html(by_name["flavors"])),
        section("By namespace", _lying("GPU-hours by namespace", names), _folded(by_name["namespaces"])),
        section("By hour of the day", _standing("GPU-hours by hour of the day", hours), _folded(by_name["hours"])),
        section("By day", _standing("GPU-hours by day", days), _folded(by_name["days"])),
        section(
            "How these figures were made", "<ul>" + "".join(f"<li>{escaped(n)}</li>" for n in notes(report)) + "</ul>"
        ),
    ]
    return document("GPUs held and used", body)


def document(title: str, body: Sequence[str], style: str = "") -> str:
    """A page of such parts; ``style`` is added to what all pages have."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escaped(title)}</title><style>{_STYLE}{style}</style></head><body><main>"
        + "\n".join(body)
        + "</main></body></html>\n"
    )


def escaped(text: object) -> str:
    """Text as it may stand in a page."""
    return html.escape(str(text), quote=True)


def section(title: str, *parts: str) -> str:
    """A part of a page under a heading."""
    return f"<section><h2>{escaped(title)}</h2>{''.join(parts)}</section>"


def _headline(report: Report) -> str:
    total = report.total
    if total.held_h is None or total.used_h is None or total.idle_h is None:
        return f"<p>{escaped(summary(report)[1])}</p>"
    part = total.idle_part
    cards = [
        (f"{total.held_h:,.0f}", "GPU-hours held", f"± {total.held_error_h:,.1f}"),
        (f"{total.used_h:,.0f}", "used", f"± {total.used_error_h:,.1f}"),
        (f"{total.idle_h:,.0f}", "held idle", f"± {total.used_error_h:,.1f}"),
        ("not known" if part is None else f"{100 * part:.0f} %", "of what was held was idle", ""),
    ]
    inner = "".join(
        f"<div><b>{escaped(b)}</b>{escaped(what)}<br><span>{escaped(e)}</span></div>" for b, what, e in cards
    )
    return f'<div class="figures">{inner}</div>'


def table_html(table: Table) -> str:
    """A table; columns of numbers stand to the right."""
    if not table.rows:
        return "<p>None.</p>"
    numbers = [all(_is_number(row[c]) for row in table.rows) for c in range(len(table.headings))]
    kind = [' class="number"' if number else "" for number in numbers]
    head = "".join(f'<th scope="col"{kind[c]}>{escaped(h)}</th>' for c, h in enumerate(table.headings))
    lines = []
    for row in table.rows:
        first = f'<th scope="row"{kind[0]}>{escaped(row[0])}</th>'
        cells = "".join(f"<td{kind[c]}>{escaped(row[c])}</td>" for c in range(1, len(row)))
        lines.append(f"<tr>{first}{cells}</tr>")
    unit = "; hours are GPU-hours" if table.name in _IN_HOURS else ""
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escaped(table.title)}"><table>'
        f'<caption class="quiet">{escaped(table.title)}{unit}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        + (f'<p class="quiet">{escaped(table.note)}</p>' if table.note else "")
    )


def _folded(table: Table) -> str:
    return f"<details><summary>The same as a table</summary>{table_html(table)}</details>"


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text in ("", "not known")


# -- plots ------------------------------------------------------------------------------------------


def _values(figures: Figures) -> tuple[float, ...]:
    return tuple(getattr(figures, f"{name}_h") or 0.0 for name, _ in _PARTS)


def _legend() -> str:
    return (
        '<figcaption class="legend quiet">'
        + "".join(f'<i class="{name}"></i>{escaped(said)}' for name, said in _PARTS)
        + "</figcaption>"
    )


def _plot(title: str, width: float, height: float, inner: Sequence[str]) -> str:
    return (
        f'<figure><svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escaped(title)}; a table with the '
        f'same follows">{"".join(inner)}</svg>{_legend()}</figure>'
    )


def _ticks(most: float) -> list[float]:
    """Round numbers from 0 to at least ``most``."""
    if most <= 0:
        return [0.0, 1.0]
    size = 10.0 ** math.floor(math.log10(most / 4))
    step = next(size * n for n in (1, 2, 2.5, 5, 10) if size * n * 4 >= most)
    return [step * n for n in range(math.ceil(most / step - 1e-9) + 1)]


def _standing(title: str, bars: Sequence[_Bar]) -> str:
    """Bars beside each other."""
    bars = bars[-_MOST_BARS:]
    if not any(sum(_values(b.figures)) for b in bars):
        return ""
    ticks = _ticks(max(sum(_values(b.figures)) for b in bars))
    room = _HEIGHT - _TOP - _BOTTOM
    per_hour = room / ticks[-1]
    out = []
    for tick in ticks:
        y = _HEIGHT - _BOTTOM - tick * per_hour
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,g}</text>')
    wide = (_WIDTH - _LEFT - _RIGHT) / len(bars)
    every = math.ceil(len(bars) * (34 if len(bars[0].name) < 4 else 64) / (_WIDTH - _LEFT))
    for n, bar in enumerate(bars):
        x, y = _LEFT + n * wide, _HEIGHT - _BOTTOM
        for (name, _), value in zip(_PARTS, _values(bar.figures), strict=True):
            tall = value * per_hour
            y -= tall
            if tall > 0:
                size = f'x="{x + wide * 0.1:.2f}" y="{y:.2f}" width="{wide * 0.8:.2f}" height="{tall:.2f}"'
                out.append(f'<rect class="{name}" {size}><title>{_told(bar)}</title></rect>')
        if n % every == 0:
            said = bar.name[5:] if len(bar.name) == 10 else bar.name
            out.append(f'<text x="{x + wide / 2:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{escaped(said)}</text>')
    return _plot(title, _WIDTH, _HEIGHT, out)


def _lying(title: str, bars: Sequence[_Bar]) -> str:
    """Bars below each other, for names."""
    most = max((sum(_values(b.figures)) for b in bars), default=0.0)
    if most <= 0:
        return ""
    left, tall, out = 190.0, 24.0, []
    per_hour = (_WIDTH - left - 80) / most
    for n, bar in enumerate(bars):
        x, y = left, n * tall
        name = bar.name if len(bar.name) <= 26 else bar.name[:25] + "…"
        out.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{escaped(name)}</text>')
        for (kind, _), value in zip(_PARTS, _values(bar.figures), strict=True):
            wide = value * per_hour
            if wide > 0:
                size = f'x="{x:.2f}" y="{y + 4:g}" width="{wide:.2f}" height="{tall - 8:g}"'
                out.append(f'<rect class="{kind}" {size}><title>{_told(bar)}</title></rect>')
            x += wide
        out.append(f'<text x="{x + 6:.1f}" y="{y + 16}">{sum(_values(bar.figures)):,.0f} h</text>')
    return _plot(title, _WIDTH, len(bars) * tall + 4, out)


def _told(bar: _Bar) -> str:
    parts = ", ".join(f"{value:,.1f} h {said}" for (_, said), value in zip(_PARTS, _values(bar.figures), strict=True))
    return escaped(f"{bar.name}: {parts}")
