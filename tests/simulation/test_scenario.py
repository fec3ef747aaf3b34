"""Scenarios, replays of a ledger, and how estimates are judged."""

from __future__ import annotations

from typing import Any

import pytest

from swangpu.domain.records import DemandRecord, UsageRecord
from swangpu.errors import BadInput
from swangpu.simulation.calibration import Foreseen, WatchedSite, calibrate
from swangpu.simulation.replay import visits_from
from swangpu.simulation.scenario import parse
from swangpu.simulation.schemes import SCHEMES
from swangpu.simulation.shared import BEGIN
from swangpu.simulation.site import Site
from swangpu.simulation.workload import DAY_S, GB, Cell, Workload, generate

DAY = 1_700_006_400.0


def usage(session_id: str = "s1", **kwargs: Any) -> UsageRecord:
    fields: dict[str, Any] = {
        "session_id": session_id,
        "user": "ann",
        "project": "atlas",
        "kind": "kernel",
        "pool": "site",
        "flavor": "t4",
        "count": 1,
        "memory_bytes": 10 * GB,
        "created_at": DAY + 3600.0,
        "started_at": DAY + 3610.0,
        "ended_at": DAY + 7210.0,
        "held_s": 3600.0,
        "busy_s": 600.0,
        "end_reason": "released",
    }
    return UsageRecord(**{**fields, **kwargs})


def test_nothing_written_is_the_defaults() -> None:
    scenario = parse({})
    assert scenario.workload == Workload()
    assert scenario.site == Site()
    assert scenario.devices is None


def test_units_that_people_write_become_those_inside() -> None:
    scenario = parse(
        {
            "days": 3,
            "schemes": ["E1", "A", "E1"],
            "site": {"bandwidth_gb_s": 2.4, "host_gb": 64},
            "workload": {"memory_gb": {"40": 1, "5": 3}, "groups": {"it": 1}, "users": 5},
            "devices": {"whole": 2, "1g.5gb": 1},
            "target": {"cell_p95_s": 30},
            "faults": {"crash_every_s": 3600},
        }
    )
    assert scenario.schemes == ("E1", "A")
    assert scenario.site.bandwidth_bytes_s == pytest.approx(2.4 * GB)
    assert scenario.site.host_bytes == 64 * GB
    assert scenario.site.faults.crash_every_s == 3600.0
    assert scenario.workload.memory_gb == ((5.0, 3.0), (40.0, 1.0))
    assert scenario.devices == {"whole": 2, "1g.5gb": 1}
    assert scenario.target.cell_p95_s == 30.0
    assert scenario.target.session_p95_s == 60.0


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ({"day": 3}, "day"),
        ({"days": 0}, "days"),
        ({"days": float("inf")}, "days"),
        ({"days": True}, "days"),
        ({"seed": -1}, "seed"),
        ({"schemes": ["Z"]}, "schemes"),
        ({"schemes": "A"}, "schemes"),
        ({"workload": 3}, "workload"),
        ({"workload": {"arrivals": 3}}, "workload.arrivals"),
        ({"workload": {"closes_part": 1.5}}, "workload.closes_part"),
        ({"workload": {"cell_p50_s": 500}}, "workload.cell_p75_s"),
        ({"workload": {"cells_mean": 0.5}}, "workload.cells_mean"),
        ({"workload": {"memory_gb": {"80": 1}}}, "workload.memory_gb"),
        ({"workload": {"memory_gb": {"many": 1}}}, "workload.memory_gb.many"),
        ({"workload": {"groups": {"it": 0}}}, "workload.groups"),
        ({"workload": {"used_part": [0.1]}}, "workload.used_part"),
        ({"site": {"bandwidth_gb_s": 0}}, "site.bandwidth_gb_s"),
        ({"site": {"disks": 1}}, "site.disks"),
        ({"devices": {}}, "devices"),
        ({"devices": {"half": 1}}, "devices.half"),
        ({"devices": {"whole": 1.5}}, "devices.whole"),
        ({"target": {"p95": 1}}, "target.p95"),
        ({"faults": {"crash_every_s": "often"}}, "faults.crash_every_s"),
    ],
)
def test_what_is_wrong_is_named(text: dict[str, Any], key: str) -> None:
    with pytest.raises(BadInput) as raised:
        parse(text)
    assert raised.value.params["key"] == key
    assert key in raised.value.detail


# -- replay ----------------------------------------------------------------------------------------


def test_a_ledger_brings_the_same_people_at_the_same_times() -> None:
    first, second = visits_from([usage("s2", created_at=DAY + 90000.0), usage("s1")])
    assert (first.id, first.at) == ("s1", 3600.0)
    assert (second.id, second.at) == ("s2", 90000.0)
    assert first.group == "atlas"
    assert first.work_s == pytest.approx(600.0)
    assert sum(c.gap_s for c in first.cells) <= 3000.0
    assert first.closes


def test_the_journal_tells_when_cells_ran() -> None:
    start = DAY + 3610.0
    told = {"s1": [(start + 60.0, True), (start + 61.0, True), (start + 160.0, False), (start + 1000.0, True)]}
    (visit,) = visits_from([usage()], activity=told)
    assert visit.cells == (Cell(60.0, 100.0), Cell(840.0, 2600.0))


def test_who_never_computed_does_not_in_a_replay() -> None:
    (visit,) = visits_from([usage(busy_s=0.0, end_reason="expired")])
    assert not visit.touches
    assert not visit.closes


def test_who_gave_up_comes_too_and_who_only_looked_does_not() -> None:
    demand = [
        DemandRecord(DAY + 7200.0, "bob", "given_up", "kernel", memory_bytes=5 * GB, waited_s=1800.0, session_id="s9"),
        DemandRecord(DAY + 7200.0, "cem", "looked", "kernel"),
        DemandRecord(DAY + 7200.0, "dan", "granted", "kernel"),
    ]
    (visit,) = visits_from([], demand)
    assert (visit.user, visit.at, visit.memory_bytes) == ("bob", 5400.0, 5 * GB)
    assert visits_from([]) == ()


# -- estimates -------------------------------------------------------------------------------------


def test_calibration_counts_what_was_under_what_was_said() -> None:
    rows = [Foreseen(0.0, 100.0, 200.0, "history", waited) for waited in (50.0, 100.4, 150.0, 250.0)]
    rows.append(Foreseen(0.0, None, None, "", 10.0))
    found = calibrate(rows)
    assert found.waits == 5
    assert found.unknown_part == pytest.approx(0.2)
    assert found.under_p50 == pytest.approx(1.5 / 4), "as long as was said counts half"
    assert found.under_p90 == pytest.approx(3 / 4)
    assert calibrate(rows, after=1.0).waits == 0


def test_estimates_hold_on_a_site_that_is_too_small() -> None:
    visits = generate(Workload(arrivals_per_hour=10.0, patience_p50_s=1e6), 2.5, 5)
    site = WatchedSite(SCHEMES["E0"], Site(devices={"whole": 14}), visits, seed=5)
    site.run(2.5 * DAY_S)
    found = calibrate(site.foreseen, after=BEGIN + DAY_S)
    assert found.waits > 100
    assert 0.3 <= found.under_p50 <= 0.7
    assert 0.8 <= found.under_p90 <= 0.97
