"""Less is advised only where it would surely have done, and can be had now."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swangpu.broker.rightsize import CONTEXT_BYTES, MARGIN, RUNS_AT_LEAST, RUNS_LOOKED_AT, Choice, advise
from swangpu.domain.records import RunPeak

GB = 10**9
CHOICES = [
    Choice("A100", "a100", 40 * GB, 1),
    Choice("A100 slice, 5 GB", "a100/1g.5gb", 5 * GB, 2),
    Choice("A100 slice, 10 GB", "a100/2g.10gb", 10 * GB, 1),
]


def runs(*peaks_gb: float) -> list[RunPeak]:
    return [RunPeak(f"r{n}", -float(n), int(peak * GB), 40 * GB) for n, peak in enumerate(peaks_gb)]


def test_the_smallest_that_fits_is_named_with_its_numbers() -> None:
    said = advise(runs(3.1, 2.9, 3.0, 3.1, 2.0), CHOICES, 40 * GB, "fit.ipynb")
    assert said is not None
    assert said.text == (
        "The last 5 profiled runs of fit.ipynb peaked at 3.1 GB: A100 slice, 5 GB fits with 20 % to spare and is free "
        "now."
    )
    assert dict(said.params)["flavor"] == "a100/1g.5gb"
    assert dict(said.params)["peak_bytes"] == 3_100_000_000


def test_without_a_wish_it_is_what_the_last_run_had() -> None:
    assert advise(runs(3, 3, 3), CHOICES, None, "n") is not None
    small = [RunPeak("r", 0.0, GB, 5 * GB)] * 3
    assert advise(small, CHOICES, None, "n") is None


def test_nothing_is_said_of_too_few_runs_or_of_what_is_taken() -> None:
    assert advise(runs(3, 3), CHOICES, 40 * GB, "n") is None
    taken = [Choice(c.title, c.flavor, c.memory_bytes, 0) for c in CHOICES]
    assert advise(runs(3, 3, 3), taken, 40 * GB, "n") is None


@given(
    peaks=st.lists(st.integers(0, 90 * GB), max_size=8),
    sizes=st.lists(st.tuples(st.integers(1, 80 * GB), st.integers(0, 3)), max_size=6),
    wanted=st.one_of(st.none(), st.integers(1, 80 * GB)),
)
def test_what_is_advised_fits_is_free_and_is_less(
    peaks: list[int], sizes: list[tuple[int, int]], wanted: int | None
) -> None:
    past = [RunPeak(str(n), -float(n), peak, 40 * GB) for n, peak in enumerate(peaks)]
    choices = [Choice(f"c{n}", f"c{n}", size, free) for n, (size, free) in enumerate(sizes)]
    said = advise(past, choices, wanted, "n")
    if said is None:
        return
    params = dict(said.params)
    assert len(past) >= RUNS_AT_LEAST
    size = params["memory_bytes"]
    assert isinstance(size, int)
    counted = peaks[:RUNS_LOOKED_AT]
    assert size >= max(counted) * (1 + MARGIN) + CONTEXT_BYTES - 1
    assert size < (wanted if wanted is not None else 40 * GB)
    assert any(c.free and c.flavor == params["flavor"] for c in choices)
