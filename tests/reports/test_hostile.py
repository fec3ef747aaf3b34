"""Names in labels come from others: they reach no page, table or terminal as anything but text."""

from __future__ import annotations

import time

from swangpu.commands.idle import _view
from swangpu.reports import page, tables
from swangpu.reports.cells import Reading, merge
from swangpu.reports.figures import Report
from swangpu.reports.idle import Tally
from swangpu.telemetry.dcgm import GPU_UTIL, Holder, Subject

NAMES = ['<script>alert("1")</script>', "=HYPERLINK(1)", '"><img src=x onerror=1>', "a\x1b[31m\nb", "&amp;"]


def report() -> Report:
    tally = Tally(300, hold_min_s=600.0, clock=time.gmtime)
    steps = dict.fromkeys(range(12), 10)
    nothing = dict.fromkeys(steps, 0.0)
    readings = [
        Reading(Subject(name, model=name, host=name), Holder(name, name), GPU_UTIL, 30.0, steps, nothing)
        for name in NAMES
    ]
    tally.add(merge(readings, 300))
    return tally.report(0.0, 3600.0, (30.0, 30.0))


def test_on_the_page() -> None:
    text = page.render(report())
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;" in text
    assert "&amp;amp;" in text
    assert "default-src 'none'" in text


def test_in_a_spreadsheet() -> None:
    made = report()
    for text in (tables.as_csv(made), *tables.csv_files(made).values()):
        assert not any(line.startswith(("=", '"=')) for line in text.splitlines())
        assert not any(cell.startswith("=") for line in text.splitlines() for cell in line.split(","))


def test_on_the_terminal() -> None:
    made = report()
    said = _view(tables.summary(made), tables.tables(made), tables.notes(made)).text
    assert "\x1b" not in said
    assert "HYPERLINK" in said


def test_nothing_at_all_has_a_page_too() -> None:
    empty = Tally(300).report(0.0, 3600.0)
    assert "not known" in page.render(empty)
    assert tables.as_json(empty)["data_begin"] is None
    assert tables.as_csv(empty).startswith("by,key,figure,value\n")
