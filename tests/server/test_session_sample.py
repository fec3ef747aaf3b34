"""What a session is said to do with devices that others use too."""

from __future__ import annotations

from swangpu.domain.devices import Share, ShareKind
from swangpu.domain.sessions import Request, Session, SessionKind, SessionState
from swangpu.domain.telemetry import ProcessUse, Sample
from swangpu.server.telemetry import session_sample
from swangpu.telemetry.attribution import Attributed, Owner


def quarter(device: str, number: int) -> Share:
    return Share(f"{device}/{number}", "local", "t4/time-4", ShareKind.TIME_SLICE, device, 4 * 10**9)


def session(*shares: Share) -> Session:
    request = Request(flavor="t4/time-4", count=len(shares), kind=SessionKind.JOB)
    return Session("mine", "ada", request, SessionState.ACTIVE, 0.0, 1, shares=shares)


def used(device: str, pid: int, percent: float, owner: str) -> Attributed:
    return Attributed(device, ProcessUse(pid, 10**9, None, percent), Owner(session_id=owner))


def device(uuid: str) -> Sample:
    return Sample(uuid, 1.0, utilization_percent=100.0, memory_used_bytes=9 * 10**9, power_mw=70_000, processes=())


SAMPLES = {uuid: device(uuid) for uuid in ("GPU-0", "GPU-1")}


def test_only_its_own_processes_count() -> None:
    found = session_sample(
        session(quarter("GPU-0", 0)), SAMPLES, [used("GPU-0", 1, 30.0, "mine"), used("GPU-0", 2, 70.0, "theirs")]
    )
    assert found is not None
    assert (found.utilization_percent, found.memory_used_bytes) == (30.0, 10**9)
    assert found.power_mw is None
    assert found.pcie_tx_bytes_per_s is None
    assert dict(found.missing)["power_mw"] == dict(found.missing)["pcie_tx_bytes_per_s"] == "shared"


def test_over_two_devices_it_is_the_mean_as_for_whole_ones() -> None:
    busy = [used("GPU-0", 1, 90.0, "mine"), used("GPU-1", 1, 30.0, "mine")]
    both = session_sample(session(quarter("GPU-0", 0), quarter("GPU-1", 0)), SAMPLES, busy)
    assert both is not None
    assert both.utilization_percent == 60.0
    # Two shares of one device are one device.
    one = session_sample(session(quarter("GPU-0", 0), quarter("GPU-0", 1)), SAMPLES, busy[:1])
    assert one is not None
    assert one.utilization_percent == 90.0
