"""The simulation of a shared site: the same every time, honest books, and invariants that notice a broken broker."""

from __future__ import annotations

import pytest

from swangpu.broker import lifecycle, pausing, queue
from swangpu.broker.state import BrokerState, Changes
from swangpu.domain.rows import replace
from swangpu.ledger.codec import decode, encode
from swangpu.simulation.bound import run_bound
from swangpu.simulation.fleet_size import Target, needed
from swangpu.simulation.meter import Meter, Outcome, jain, quantile
from swangpu.simulation.schemes import SCHEMES
from swangpu.simulation.shared import run_shared
from swangpu.simulation.site import Site, layout
from swangpu.simulation.soak import soak
from swangpu.simulation.workload import GB, Cell, Visit, Workload, generate

WORKLOAD = Workload(arrivals_per_hour=8.0, users=20)
DAYS = 0.5
VISITS = generate(WORKLOAD, DAYS, 1)


class Codec:
    """The ledger's, as the shell uses it."""

    def encode(self, value: object) -> str:
        return encode(value)

    def state(self, text: str) -> BrokerState:
        state: BrokerState = decode(text, {"BrokerState": BrokerState})
        return state

    def changes(self, text: str) -> Changes:
        changes: Changes = decode(text, {"Changes": Changes})
        return changes


def visit(name: str, at: float, *cells: tuple[float, float], memory_gb: int = 40, closes: bool = True) -> Visit:
    """Somebody whose cells are (gap, run) in seconds and use half of the memory."""
    made = tuple(Cell(gap, run) for gap, run in cells)
    size = memory_gb * GB
    return Visit(name, at, name, "", size, size // 2, made, closes, 7200.0, ("offload", "carry", "checkpoint"))


# -- the workload ----------------------------------------------------------------------------------


def test_the_same_seed_brings_the_same_people_and_another_one_others() -> None:
    assert generate(WORKLOAD, DAYS, 1) == VISITS
    assert generate(WORKLOAD, DAYS, 2) != VISITS


def test_the_defaults_are_what_was_published() -> None:
    visits = generate(Workload(), 30.0, 7)
    assert len(visits) / (30 * 24) == pytest.approx(16.0, rel=0.05)
    touching = [v for v in visits if v.touches]
    assert len(touching) / len(visits) == pytest.approx(0.3, abs=0.02)
    runs = [c.run_s for v in touching for c in v.cells]
    assert quantile(runs, 0.5) == pytest.approx(120.0, rel=0.05)
    assert quantile(runs, 0.75) == pytest.approx(300.0, rel=0.05)
    gaps = [c.gap_s for v in visits for c in v.cells[1:]]
    assert quantile(gaps, 0.5) == pytest.approx(300.0, rel=0.05)
    by_day = [sum(1 for v in visits if 12 <= v.at / 3600 % 24 < 20), sum(1 for v in visits if v.at / 3600 % 24 < 8)]
    assert by_day[0] > 2 * by_day[1], "more come by day than by night"
    assert all(v.used_bytes < v.memory_bytes for v in visits)


def test_one_person_can_make_half_of_all_requests() -> None:
    visits = generate(Workload(heavy_part=0.5), 10.0, 3)
    assert sum(v.user == "heavy" for v in visits) / len(visits) == pytest.approx(0.5, abs=0.04)


def test_a_site_is_cut_as_is_asked_for_and_keeps_one_whole() -> None:
    assert layout(1, WORKLOAD.memory_gb) == {"whole": 1}
    for count in range(1, 60):
        cut = layout(count, WORKLOAD.memory_gb)
        assert sum(cut.values()) == count
        assert cut["whole"] >= 1
    assert layout(100, ((5.0, 1.0),)) == {"1g.5gb": 100}


# -- one run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n, s in SCHEMES.items() if not s.bound])
def test_a_run_is_the_same_every_time_and_its_books_add_up(name: str) -> None:
    site = Site(devices={"1g.5gb": 1, "2g.10gb": 1, "whole": 2})
    first, second = (run_shared(SCHEMES[name], site, VISITS, DAYS) for _ in range(2))
    assert {**first.figures(), "steps_per_s": 0} == {**second.figures(), "steps_per_s": 0}
    assert first.capacity_s == pytest.approx(4 * DAYS * 86400)
    assert sum(first.held_s.values()) <= first.capacity_s
    assert first.held_s["useful"] > 0


def test_two_share_one_gpu_beyond_its_memory_and_each_cell_is_paid_once() -> None:
    visits = [
        visit("ann", 0.0, (0, 600), (600, 300), (1200, 300)),
        visit("bob", 700.0, (0, 200), (800, 400)),
    ]
    out = run_shared(SCHEMES["E2"], Site(devices={"whole": 1}), visits, 0.2)
    assert out.held_s["useful"] == pytest.approx(600 + 300 + 300 + 200 + 400)
    assert out.killed == 0
    assert out.moves > 0
    assert max(out.cell_waits) < 700.0
    assert out.host_peak_bytes >= 20 * GB


def test_who_asks_for_a_part_of_a_gpu_takes_turns_on_it_without_moving_until_somebody_needs_all_of_it() -> None:
    two = [
        visit("ann", 0.0, (0, 60), (600, 30), (600, 30), memory_gb=10),
        visit("bob", 100.0, (0, 60), (600, 30), (600, 30), memory_gb=10),
    ]
    site = Site(devices={"whole": 1})
    out = run_shared(SCHEMES["E1-stay"], site, two, 0.1)
    assert (out.moves, out.host_peak_bytes, out.moved_out) == (0, 0, 0)
    assert out.stays > 0
    assert max(out.cell_waits) < 60.0
    assert run_shared(SCHEMES["E1"], site, two, 0.1).moves > 0
    all_of_it = visit("cem", 200.0, (0, 60))
    crowded = run_shared(SCHEMES["E1-stay"], site, [two[0], two[1], all_of_it], 0.1)
    assert crowded.moved_out > 0
    assert crowded.killed == 0


def test_today_who_leaves_a_notebook_open_keeps_the_gpu_until_it_is_culled() -> None:
    visits = [visit("ann", 0.0, (0, 60), closes=False), visit("bob", 600.0, (0, 60))]
    out = run_bound(SCHEMES["A"], Site(devices={"whole": 1}), visits, 1.0)
    assert out.gave_up == 1
    assert out.held_s["idle"] == pytest.approx(4 * 3600.0)
    shared = run_shared(SCHEMES["E1"], Site(devices={"whole": 1}), visits, 1.0)
    assert shared.gave_up == 0
    assert max(shared.session_waits) < 60.0


def test_today_who_thinks_for_long_is_killed() -> None:
    out = run_bound(SCHEMES["B"], Site(devices={"whole": 1}), [visit("ann", 0.0, (0, 60), (5400, 60))], 1.0)
    assert out.killed == 1
    assert out.lost_work_s == pytest.approx(60.0)


def test_time_slices_make_cells_slow() -> None:
    visits = [visit(name, 0.0, (0, 600)) for name in ("ann", "bob", "cem")]
    out = run_bound(SCHEMES["C"], Site(devices={"whole": 1}), visits, 1.0)
    assert out.figures()["slowdown"] == pytest.approx(3.0, rel=0.01)


def test_without_room_in_host_memory_nobody_is_put_aside() -> None:
    visits = [visit("ann", 0.0, (0, 60), (3600, 60)), visit("bob", 300.0, (0, 60))]
    tight = Site(devices={"whole": 1}, host_bytes=10 * GB)
    out = run_shared(SCHEMES["E2"], tight, visits, 0.5)
    assert out.moves == 0
    assert max(out.session_waits) > 3000.0


# -- figures ---------------------------------------------------------------------------------------


def test_idle_while_others_wait_counts_what_they_could_use_and_no_more() -> None:
    out = Outcome()
    meter = Meter(out, {"whole": 2, "1g.5gb": 1})
    meter.holds("big", "idle", 1.0, 40 * GB)
    meter.holds("small", "idle", 1 / 7, 5 * GB)
    meter.waits("needs 20", 20 * GB)
    meter.advance(10.0)
    assert out.idle_wanted_s == pytest.approx(10.0), "the slice is too small for them"
    meter.waits("needs 5", 5 * GB)
    meter.advance(20.0)
    assert out.idle_wanted_s == pytest.approx(10.0 + 10.0 * (1 + 1 / 7))
    meter.check()


def test_figures_of_nothing_and_of_equals() -> None:
    assert quantile([], 0.95) == 0.0
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert jain([3.0, 3.0]) == 1.0
    assert jain([1.0, 0.0]) == 0.5


def test_the_smallest_fleet_is_found_from_any_first_guess() -> None:
    for start in (1, 5, 7, 40):
        sizes: list[int] = []

        def run(count: int, sizes: list[int] = sizes) -> Outcome:
            sizes.append(count)
            return Outcome(devices=count, session_waits=[0.0 if count >= 7 else 100.0])

        assert needed(run, Target(), start=start)[0] == 7
        assert len(sizes) == len(set(sizes)), "no fleet is run twice"


# -- everything goes wrong -------------------------------------------------------------------------

SEEDS, STEPS = range(20), 800


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_goes_wrong_nothing_is_held_twice_and_everybody_goes_home(seed: int) -> None:
    done = soak(seed, STEPS, Codec())
    assert done.steps >= STEPS
    assert done.checks > 0


def test_a_seed_reproduces_a_run_exactly() -> None:
    first, second = soak(3, STEPS), soak(3, STEPS, Codec())
    assert (first.steps, first.visits, first.longest_wait_s) == (second.steps, second.visits, second.longest_wait_s)


def _twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares are given away when a pause is asked for, not when what was on them is safe."""
    begin = pausing.begin

    def hasty(state, session, why, now, stays_bytes=0):  # type: ignore[no-untyped-def]
        out = begin(state, session, why, now, stays_bytes)
        state.put_session(lifecycle.let_go(state, state.sessions[session.id], now))
        return out

    monkeypatch.setattr(pausing, "begin", hasty)


def _any_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has to come back to a slice is given another one."""
    place = queue.place

    def anywhere(state, session, option, now, **kwargs):  # type: ignore[no-untyped-def]
        free = replace(session, pause=replace(session.pause, device_uuid=None)) if session.pause else session
        return place(state, free, option, now, **kwargs)

    monkeypatch.setattr(queue, "place", anywhere)


def _unpaid(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was held before a pause is not written down."""
    let_go = lifecycle.let_go

    def careless(state, session, now):  # type: ignore[no-untyped-def]
        return replace(let_go(state, session, now), held_s=0.0)

    monkeypatch.setattr(pausing, "let_go", careless)


def _over_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are not looked at."""
    monkeypatch.setattr(queue, "over", lambda state, session, flavor, fraction: None)


def _crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has stayed on a device is not looked at when somebody gets that."""
    monkeypatch.setattr(queue, "fits", lambda state, session, share, through=(): True)


@pytest.mark.parametrize("mutate", [_twice, _any_slice, _unpaid, _over_quota, _crowded])
def test_the_simulation_notices_a_broken_broker(mutate, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    mutate(monkeypatch)
    noticed = False
    for seed in range(12):
        try:
            soak(seed, 1500)
        except AssertionError:
            noticed = True
            break
    assert noticed
