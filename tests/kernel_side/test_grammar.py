"""The grammar of ``%gpu``: what is understood, and that nothing else breaks it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swangpu.kernel_side.grammar import (
    VERBS,
    Command,
    GrammarError,
    parse,
    parse_cell,
    parse_duration,
    parse_size,
    parse_wanted,
)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("", Command("")),
        ("  ", Command("")),
        ("get 10GB", Command("get", memory_bytes=10**10)),
        ("get 10 GB --for 2h", Command("get", memory_bytes=10**10, duration_s=7200.0)),
        ("GET 1.5GiB --for=90min", Command("get", memory_bytes=3 * 2**29, duration_s=5400.0)),
        ("get 10GB --on site --notify", Command("get", memory_bytes=10**10, pool="site", notify=True)),
        ("get 2xt4/mps-4 --drop", Command("get", flavor="t4/mps-4", count=2, carry="none")),
        ("get a100-40gb/1g.5gb --carry", Command("get", flavor="a100-40gb/1g.5gb", carry="all")),
        ("get", Command("get")),
        ("extend", Command("extend")),
        ("extend 1h30m", Command("extend", duration_s=5400.0)),
        ("release 3f2a --drop", Command("release", target="3f2a", carry="none")),
        ("why", Command("why")),
        ("profile", Command("profile")),
        ("profile ON", Command("profile", target="on")),
        ("profile off", Command("profile", target="off")),
        ("cluster get 4x10GB", Command("cluster get", memory_bytes=10**10, count=4)),
    ],
)
def test_what_is_written_is_understood(line: str, command: Command) -> None:
    assert parse(line) == command


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("cluster",)])
def test_each_verb_of_the_help_is_known(verb: str) -> None:
    assert parse(verb).verb == verb


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("get 10", "10"),
        ("get 10 apples", "apples"),
        ("get 0GB", "more than nothing"),
        ("get 0x10GB", "At least one"),
        ("get 9999999TB", "more memory than any"),
        ("get 10GB --for", "--for"),
        ("get 10GB --for --notify", "--for"),
        ("get 10GB --for soon", "soon"),
        ("get 10GB --for 1h --for 2h", "twice"),
        ("get 10GB --sideways", "--sideways"),
        ("get 10GB -i data", "-i"),
        ("get 10GB --carry --drop", "not both"),
        ("10GB", "done with it"),
        ("steal 10GB", "steal"),
        ("mine now", "nothing after it"),
        ("cluster", "get"),
        ("profile maybe", "`on` or `off`"),
        ("profile on off", "`on` or `off`"),
        ("release a b", "at most"),
        ("get ١٠GB", "not a size"),
    ],
)
def test_what_is_not_understood_says_so_and_shows_how(line: str, word: str) -> None:
    with pytest.raises(GrammarError) as caught:
        parse(line)
    assert word in caught.value.detail
    assert caught.value.hint


def test_a_cell_asks_for_one_gpu_and_may_keep_it_warm() -> None:
    assert parse_cell("10GB --warm 60s") == Command("cell", memory_bytes=10**10, warm_s=60.0)
    assert parse_cell("10GB --profile") == Command("cell", memory_bytes=10**10, profile=True)
    assert parse_cell("--profile") == Command("cell", profile=True)
    chosen = Command("cell", memory_bytes=10**10, inputs=("data", "model"), outputs=("model",))
    assert parse_cell("10GB -i data,model -o model") == chosen
    assert parse_cell("-o=model 10GB -i=data,model,data") == chosen
    unheld = ("--profile --warm 5s", "--profile -i data", "--profile -o data")
    names = ("10GB -i", "10GB -i -o x", "10GB -i a, b", "10GB -i a.b", "10GB -o for", "10GB -i a -i b")
    for wrong in ("", "2x10GB", "10GB --for 1h", "get 10GB", "--profile=yes", "profile on", *unheld, *names):
        with pytest.raises(GrammarError):
            parse_cell(wrong)


@given(st.text(max_size=80))
def test_any_line_is_understood_or_refused_in_one_sentence(line: str) -> None:
    for parser in (parse, parse_cell):
        said: Command | str
        try:
            said = parser(line)
        except GrammarError as error:
            said = error.detail
        assert isinstance(said, Command) or (said.strip() and "\n" not in said.replace(line, ""))


@given(st.integers(1, 10**6), st.sampled_from(["MB", "GB", "MiB", "GiB", "gb", "G"]))
def test_sizes_are_exact_and_the_case_does_not_matter(number: int, unit: str) -> None:
    factor = {"MB": 10**6, "GB": 10**9, "MIB": 2**20, "GIB": 2**30, "G": 10**9}[unit.upper()]
    if number * factor <= 10**15:
        assert parse_size(f"{number}{unit}") == parse_size(f"{number} {unit.lower()}") == number * factor


@given(st.integers(0, 400), st.integers(0, 59), st.integers(0, 59))
def test_durations_add_up(hours: int, minutes: int, seconds: int) -> None:
    total = hours * 3600 + minutes * 60 + seconds
    if total:
        assert parse_duration(f"{hours}h{minutes}m{seconds}s") == total
        assert parse_duration(f"{hours}h{minutes}min{seconds}sec") == total


@given(st.integers(1, 999), st.from_regex(r"[a-z][a-z0-9-]{0,20}(/[a-z0-9.]{1,9})?", fullmatch=True))
def test_flavors_are_kept_as_they_are(count: int, flavor: str) -> None:
    assert parse_wanted(flavor) == (None, flavor, 1)
    assert parse_wanted(f"{count}x{flavor}") == (None, flavor, count)
