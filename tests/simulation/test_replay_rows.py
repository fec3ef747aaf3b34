"""A ledger of a site with other GPUs than the simulated ones: its people come, and can be served."""

from __future__ import annotations

from swangpu.domain.records import DemandRecord, UsageRecord
from swangpu.simulation.replay import visits_from
from swangpu.simulation.site import CUTS

GB = 10**9


def usage(count: int, memory_bytes: int, busy_s: float | None = 500.0) -> UsageRecord:
    return UsageRecord(
        session_id="s1",
        user="alice",
        project=None,
        kind="job",
        pool="local",
        flavor="h100",
        count=count,
        memory_bytes=memory_bytes,
        created_at=1000.0,
        started_at=1010.0,
        ended_at=2000.0,
        held_s=990.0,
        busy_s=busy_s,
        end_reason="released",
        simulated=False,
    )


def test_who_had_more_than_a_simulated_device_has_comes_for_a_whole_one() -> None:
    (whole,) = visits_from([usage(1, 80 * GB)])
    assert whole.memory_bytes == CUTS["whole"].memory_bytes
    assert whole.used_bytes <= whole.memory_bytes


def test_who_had_several_shares_comes_for_one_of_their_size() -> None:
    (two,) = visits_from([usage(2, 20 * GB)])
    assert two.memory_bytes == 10 * GB


def test_who_asked_for_more_in_vain_does_too() -> None:
    row = DemandRecord(at=1000.0, user="bob", outcome="given_up", kind="kernel", memory_bytes=80 * GB, waited_s=10.0)
    assert visits_from([], [row])[0].memory_bytes == CUTS["whole"].memory_bytes


def test_a_command_computes_as_long_as_it_runs_in_a_replay_too() -> None:
    (job,) = visits_from([usage(1, 20 * GB, busy_s=None)])
    assert job.touches
    assert [cell.run_s for cell in job.cells] == [990.0]
