"""The pure half of the idle report: what holds for every set of series."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swangpu.reports.cells import Reading, merge
from swangpu.reports.figures import Report
from swangpu.reports.idle import Tally, flavor_of
from swangpu.telemetry.dcgm import FB_USED, GPU_UTIL, GR_ENGINE, Holder, Subject, device_part, holder_of, subject_of

STEP_S = 300
PER_STEP = 10
INTERVAL_S = STEP_S / PER_STEP
A100 = Subject("GPU-1", model="NVIDIA A100-PCIE-40GB")
SLICE = Subject("GPU-2", "7", "1g.5gb", model="NVIDIA A100-PCIE-40GB")
ALICE, BOB = Holder("swan", "jupyter-alice"), Holder("swan", "jupyter-bob")


def reading(
    counts: dict[int, int],
    busy: float | None = 0.0,
    holder: Holder | None = ALICE,
    subject: Subject = A100,
    metric: str = GPU_UTIL,
) -> Reading:
    sums = None if busy is None else {step: busy * n for step, n in counts.items()}
    return Reading(subject, holder, metric, INTERVAL_S, counts, sums)


def report(*readings: Reading, hold_min_s: float = 600.0) -> Report:
    tally = Tally(STEP_S, hold_min_s=hold_min_s, clock=time.gmtime)
    tally.add(merge(readings, STEP_S))
    return tally.report(0.0, 1000 * STEP_S)


def hours(steps: float) -> float:
    return steps * STEP_S / 3600


def some(figure: float | None) -> float:
    assert figure is not None
    return figure


counts = st.dictionaries(st.integers(0, 30), st.integers(1, PER_STEP), max_size=12)
series = st.builds(
    reading,
    counts,
    st.none() | st.floats(0, 1),
    st.sampled_from([None, ALICE, BOB, Holder("other", "job")]),
    st.sampled_from([A100, SLICE, Subject("GPU-2", model="NVIDIA A30"), Subject("GPU-3", "1", "2g.10gb")]),
    st.sampled_from([GPU_UTIL, GR_ENGINE]),
) | st.builds(reading, counts, st.none(), st.just(ALICE), st.just(A100), st.just(FB_USED))


@given(st.lists(series, max_size=8))
def test_used_idle_and_not_known_are_what_was_held(many: list[Reading]) -> None:
    said = report(*many)
    groups = [said.total, *said.flavors.values(), *said.namespaces.values(), *said.hours.values(), *said.days.values()]
    for one in groups:
        if one.held_h is not None:
            assert some(one.used_h) + some(one.idle_h) + some(one.unknown_h) == pytest.approx(one.held_h, abs=1e-9)
            assert min(one.held_h, some(one.used_h), some(one.idle_h), some(one.unknown_h)) >= 0
            assert one.known_h >= one.held_h - 1e-9
    if said.pods_named:
        for parts in (said.flavors, said.namespaces, said.hours, said.days):
            assert sum(some(f.held_h) for f in parts.values()) == pytest.approx(some(said.total.held_h), abs=1e-9)
            assert sum(some(f.used_h) for f in parts.values()) == pytest.approx(some(said.total.used_h), abs=1e-9)
        assert some(said.total.long_idle_h) <= some(said.total.idle_h) * 1.02 + 1e-9
        assert sum(h.idle_gpu_h for h in said.holds) == pytest.approx(some(said.total.long_idle_h), abs=1e-9)
    assert 0 <= said.covered_part <= 1


@given(st.lists(series, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_series_does_not_matter(many: list[Reading], random: object) -> None:
    shuffled = list(many)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert asdict(report(*shuffled), dict_factory=repr) == asdict(report(*many), dict_factory=repr)


@given(st.lists(series, max_size=6), st.integers(1, 3))
def test_copies_are_never_added_up(many: list[Reading], times: int) -> None:
    assert repr(report(*many, *many * times)) == repr(report(*many))


@given(st.lists(series, max_size=8))
def test_no_gpu_has_more_time_than_there_is(many: list[Reading]) -> None:
    for cell in merge(many, STEP_S):
        assert cell.covered_s <= STEP_S + 1.5 * INTERVAL_S + 1e-6


@given(counts, st.integers(0, 30))
def test_a_gap_lowers_what_is_known_and_is_never_idle(counts: dict[int, int], lost: int) -> None:
    every = dict.fromkeys(range(31), PER_STEP)
    left = {step: n for step, n in every.items() if step != lost and step not in counts}
    if not left:
        return
    whole, holed = report(reading(every)), report(reading(left))
    assert whole.covered_part == pytest.approx(1.0)
    assert some(holed.total.idle_h) == pytest.approx(hours(len(left)))
    between = max(left) - min(left) + 1
    assert holed.gap_h == pytest.approx(hours(between - len(left)))
    assert holed.covered_part == pytest.approx(len(left) / between)
    assert sum(h.idle_s for h in holed.holds) <= len(left) * STEP_S


@given(st.integers(2, 12), st.floats(0, 1))
def test_pods_on_a_time_sliced_gpu_share_its_time(pods: int, busy: float) -> None:
    steps = dict.fromkeys(range(12), PER_STEP)
    said = report(*(reading(steps, busy, Holder("team", f"pod-{n}")) for n in range(pods)))
    assert said.total.held_h == pytest.approx(1.0)
    assert said.total.shared_h == pytest.approx(1.0)
    assert said.total.used_h == pytest.approx(busy)
    assert said.namespaces["team"].held_h == pytest.approx(1.0)
    if busy == 0:
        assert len(said.holds) == pods
        assert {h.sharing for h in said.holds} == {pods}
        assert {h.idle_s for h in said.holds} == {3600.0}


def test_pods_after_each_other_are_not_sharing() -> None:
    said = report(reading({0: 10, 1: 4}, 0.5), reading({1: 6, 2: 10}, 0.5, BOB))
    assert said.total.held_h == pytest.approx(hours(3))
    assert said.total.shared_h == 0
    assert said.total.used_h == pytest.approx(hours(1.5))


def test_a_copy_without_pods_is_not_a_free_gpu() -> None:
    said = report(reading({0: 10, 1: 10}, 0.5), reading({0: 10, 1: 10, 2: 10}, 0.5, None))
    assert said.total.held_h == pytest.approx(hours(2))
    assert said.total.known_h == pytest.approx(hours(3))
    assert said.total.unnamed_h == pytest.approx(hours(0.5))


def test_a_gpu_that_is_cut_counts_by_its_instances() -> None:
    device = Subject("GPU-2", model="NVIDIA A100-PCIE-40GB")
    said = report(reading({0: 10}, 0.9, ALICE, device), reading({0: 10}, 0.25, ALICE, SLICE, GR_ENGINE))
    assert said.total.held_h == pytest.approx(hours(1 / 7))
    assert said.total.used_h == pytest.approx(hours(0.25 / 7))
    assert list(said.flavors) == ["a100-40gb/1g.5gb"]


def test_an_instance_without_any_measure_is_not_known_and_not_idle() -> None:
    said = report(reading({0: 10, 1: 10, 2: 10}, None, ALICE, SLICE, FB_USED))
    assert said.total.unknown_h == pytest.approx(said.total.held_h)
    assert (said.total.used_h, said.total.idle_h, said.holds) == (0, 0, ())
    assert said.total.idle_part is None


def test_without_pods_what_was_held_is_not_known() -> None:
    said = report(reading({0: 10}, 0.5, None))
    assert (said.total.held_h, said.total.idle_h, said.pods_named) == (None, None, False)
    assert said.total.unnamed_h == pytest.approx(hours(0.5))


def idle_holds(*readings: Reading) -> Sequence[tuple[str, float, float, float]]:
    return sorted((h.pod, h.begin, h.end, h.gap_s) for h in report(*readings).holds)


def test_idle_holds_begin_and_end_where_they_do() -> None:
    full = dict.fromkeys(range(10), PER_STEP)
    busy = Reading(A100, ALICE, GPU_UTIL, INTERVAL_S, full, {n: 8.0 if n in (0, 9) else 0.0 for n in full})
    assert idle_holds(busy) == [(ALICE.pod, 300.0, 2700.0, 0.0)]
    # a pod that comes and goes in the midst of a step
    assert idle_holds(reading({0: 4, 1: 10, 2: 10, 3: 5})) == [(ALICE.pod, 180.0, 1050.0, 0.0)]
    # another one after it does not lengthen it
    assert idle_holds(reading({0: 10, 1: 10}), reading({2: 10, 3: 10, 4: 10}, 0.0, BOB)) == [
        (ALICE.pod, 0.0, 600.0, 0.0),
        (BOB.pod, 600.0, 1500.0, 0.0),
    ]


def test_scrapes_that_do_not_fit_a_step_make_no_gaps() -> None:
    # every 45 s: 7 samples in a step of 300 s, then 6 or 7
    counts = {n: (n + 1) * 300 // 45 - n * 300 // 45 for n in range(24)}
    uneven = Reading(A100, ALICE, GPU_UTIL, 45.0, counts, dict.fromkeys(counts, 0.0))
    (hold,) = report(uneven).holds
    assert (hold.begin, hold.end) == (0.0, 7200.0)
    assert hold.idle_s == 7200.0
    assert hold.gap_s == 0.0
    # and a scrape that was missed is one
    missed = {**counts, 5: counts[5] - 1}
    (hold,) = report(Reading(A100, ALICE, GPU_UTIL, 45.0, missed, dict.fromkeys(counts, 0.0))).holds
    assert (hold.idle_s, hold.gap_s) == (7155.0, 45.0)


def test_an_idle_hold_goes_on_over_a_short_gap_which_does_not_count() -> None:
    short = {n: PER_STEP for n in range(12) if n not in (5, 6)}
    assert idle_holds(reading(short)) == [(ALICE.pod, 0.0, 3600.0, 600.0)]
    assert report(reading(short)).holds[0].idle_s == 3000.0
    long = {n: PER_STEP for n in range(30) if not 5 <= n < 20}
    assert len(idle_holds(reading(long))) == 2
    # in the gap somebody else had it
    assert len(idle_holds(reading(short), reading({5: 10, 6: 10}, 0.0, BOB))) == 3


def test_chunks_make_no_difference() -> None:
    full = {n: PER_STEP for n in range(40) if n not in (11, 12)}
    whole = report(reading(full), reading(full, 0.4, BOB, SLICE, GR_ENGINE))
    tally = Tally(STEP_S, hold_min_s=600.0, clock=time.gmtime)
    for start in range(0, 40, 7):
        part = {n: c for n, c in full.items() if start <= n < start + 7}
        tally.add(merge([reading(part), reading(part, 0.4, BOB, SLICE, GR_ENGINE)], STEP_S))
    parts = tally.report(0.0, 1000 * STEP_S)
    assert parts.holds == whole.holds
    assert parts.total.held_h == pytest.approx(some(whole.total.held_h))
    assert parts.gap_h == pytest.approx(whole.gap_h)


# -- labels -----------------------------------------------------------------------------------------

OWN = {"UUID": "GPU-1", "gpu": "0", "job": "dcgm", "modelName": "NVIDIA A100", "Hostname": "node-1"}


@pytest.mark.parametrize(
    ("labels", "renaming", "holder"),
    [
        ({}, (), None),
        ({"pod": "jupyter-alice", "namespace": "swan"}, (), ALICE),
        ({"exported_pod": "jupyter-alice", "exported_namespace": "swan", "pod": "x", "namespace": "y"}, (), ALICE),
        # nobody holds it: these are the target's own labels
        ({"pod": "exporter-7xk2p", "namespace": "monitoring"}, ("dcgm",), None),
        ({"pod": "nvidia-dcgm-exporter-7xk2p", "namespace": "gpu-operator"}, (), None),
        ({"pod": "jupyter-alice", "namespace": "swan"}, ("another",), ALICE),
        ({"pod_name": "jupyter-alice", "pod_namespace": "swan"}, (), ALICE),
    ],
)
def test_who_holds_it(labels: dict[str, str], renaming: tuple[str, ...], holder: Holder | None) -> None:
    assert holder_of({**OWN, **labels}, renaming) == holder


def test_which_gpu_it_is() -> None:
    assert subject_of(OWN) == Subject("GPU-1")
    assert subject_of({**OWN, "GPU_I_ID": "7", "GPU_I_PROFILE": "1g.5gb"}) == Subject("GPU-1", "7", "1g.5gb")
    unnamed = subject_of({"hostname": "node-1", "gpu": "3"})
    assert unnamed is not None
    assert (unnamed.device, unnamed.host) == ("node-1/3", "node-1")
    assert subject_of({"job": "other"}) is None


@pytest.mark.parametrize(
    ("model", "profile", "flavor", "part"),
    [
        ("NVIDIA A100-PCIE-40GB", None, "a100-40gb", 1.0),
        ("NVIDIA A100-PCIE-40GB", "1g.5gb", "a100-40gb/1g.5gb", 1 / 7),
        ("NVIDIA H100 80GB HBM3", "3g.40gb", "h100-80gb/3g.40gb", 3 / 7),
        ("NVIDIA A30", "2g.12gb", "a30/2g.12gb", 0.5),
        ("Tesla T4", None, "t4", 1.0),
        ("NVIDIA H100 PCIe", None, "h100", 1.0),
        ("", None, "gpu", 1.0),
    ],
)
def test_what_it_is_called_and_counts_as(model: str, profile: str | None, flavor: str, part: float) -> None:
    assert flavor_of(Subject("GPU-1", "1" if profile else None, profile, model)) == flavor
    assert device_part(model, profile) == pytest.approx(part)
