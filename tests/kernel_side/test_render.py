"""What ``%gpu`` shows: in plain words, and safe whatever the names are."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swangpu.kernel_side import render, words
from swangpu.kernel_side.watch import sparkline

HOSTILE = "<img src=x onerror=alert(1)>\"'`&<script>\x1b[31m\r\n\u202e"


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)


def offer(**more: object) -> dict[str, object]:
    return {
        "pool": "local",
        "flavor": "t4",
        "title": "T4",
        "memory_bytes": 16e9,
        "free": 1,
        "total": 2,
        "estimate": None,
        "simulated": True,
        **more,
    }


def session(**more: object) -> dict[str, object]:
    return {"id": "s1", "state": "active", "title": "T4", "kernel_ids": [], "shares": [], "actions": [], **more}


def views(name: str) -> list[render.View]:
    return [
        render.offers([offer(title=name, pool=name, pool_title=name, currency=name, cost_per_hour=1.0)]),
        render.sessions([session(title=name, id=name, path=name, pool=name, purpose=name)]),
        render.kernel(session(title=name, warning={"text": name})),
        render.problem(name, name),
        render.variables({"carried": ["a"], "left": [{"name": name, "why": name}]}, name),
        render.explanation(session(title=name), {"reason": {"text": name}, "candidates": [{"title": name}]}),
    ]


@pytest.mark.parametrize("index", range(6))
def test_hostile_names_stay_names(index: int) -> None:
    view = views(HOSTILE)[index]
    seen = Tags(view.html)
    assert seen.tags <= {"div", "strong", "table", "thead", "tbody", "tr", "th", "td", "code"}
    assert seen.attributes <= {"class", "style", "scope", "role"}
    assert all(c.isprintable() or c == "\n" for c in view.text + view.html)


@given(st.text(max_size=60))
def test_any_name_is_safe(name: str) -> None:
    for view in views(name):
        assert Tags(view.html).tags <= {"div", "strong", "table", "thead", "tbody", "tr", "th", "td", "code"}


def test_simulated_says_so_wherever_it_shows() -> None:
    assert "simulated" in render.offers([offer()]).text
    assert "simulated" in render.sessions([session(simulated=True)]).text
    assert "simulated" in render.kernel(session(simulated=True)).text


def test_utilization_that_is_not_known_is_never_zero() -> None:
    sample = {
        "utilization_percent": None,
        "memory_used_bytes": 3.2e9,
        "memory_total_bytes": 10e9,
        "missing": {"utilization_percent": "not_supported"},
    }
    text = render.kernel(session(), sample).text
    assert "not available on this slice" in text
    assert "3.2 GB of 10 GB" in text
    assert "0 %" not in text


def test_waiting_has_a_place_and_an_estimate() -> None:
    waiting = session(state="queued", queue_position=2, estimate={"p50_s": 840, "p90_s": 3000, "basis": "x"})
    assert words.state(waiting) == "2nd in the queue, about 14 min"
    estimate = offer(free=0, estimate={"p50_s": 840.0, "p90_s": 3000.0, "basis": "x"})
    assert words.waiting(estimate) == "Usually 14 min, 9 of 10 under 50 min"
    assert words.waiting(offer(free=0)) == "All in use; the waiting time is not known"


@pytest.mark.parametrize(
    ("cause", "why"),
    [
        ("lease", "end of lease"),
        ("idle", "idle, and somebody waits"),
        ("quota", "lent, and wanted back"),
        ("claim_window", "not started in time"),
        ("linger", "its kernel is gone"),
    ],
)
def test_an_end_is_said_with_its_time_and_its_cause(cause: str, why: str) -> None:
    said = words.state(session(ends={"at": 4600.0, "cause": cause, "title": None}))
    assert said == f"Ends {words.clock(4600.0)}: {why}"


@pytest.mark.parametrize(
    ("how", "why", "said"),
    [
        ("unclaimed", {"code": "unclaimed", "text": "It was not started in time."}, "It was not started in time"),
        ("expired", {"code": "lease_ended", "text": "Its lease has ended."}, "Its lease has ended"),
        ("expired", {"code": "reserved", "text": "It is set aside."}, "Its lease has ended: It is set aside."),
        ("released", None, "Given back"),
    ],
)
def test_how_a_session_ended_is_said_once(how: str, why: object, said: str) -> None:
    assert words.state(session(state="ended", end_reason=how, reason=why)) == said


def test_text_and_page_say_the_same() -> None:
    bundle = render.help_page()._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert "<code>%gpu mine</code>" in bundle["text/html"]
    assert "`%gpu mine`" in bundle["text/plain"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(10e9, "10 GB"), (4.8e9, "4.8 GB"), (5e8, "500 MB"), (None, "not known"), (0, "0 B"), (1.5e12, "1.5 TB")],
)
def test_memory_in_words(value: float | None, text: str) -> None:
    assert words.memory(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(45, "45 s"), (840, "14 min"), (5400, "1 h 30 min"), (7200, "2 h"), (259200, "3 days")]
)
def test_durations_in_words(value: float, text: str) -> None:
    assert words.duration(value) == text


@pytest.mark.parametrize(("number", "text"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (11, "11th"), (22, "22nd")])
def test_ordinals(number: int, text: str) -> None:
    assert words.ordinal(number) == text


def test_a_gap_in_what_is_known_is_a_gap_in_the_picture() -> None:
    assert sparkline([0.0, None, 50.0, 100.0]) == "▁ ▅█"
