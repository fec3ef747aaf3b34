from __future__ import annotations

from prometheus_client import REGISTRY, generate_latest

from swangpu.domain.telemetry import DeviceInfo, DriverStatus, MigInfo, Sample
from swangpu.telemetry.prometheus import MAX_DEVICES, SiteCounts, expose, families
from swangpu.telemetry.sampler import Snapshot

MIG = MigInfo("MIG-1", "1g.5gb", 5 * 10**9)
SNAPSHOT = Snapshot(
    status=DriverStatus("ok"),
    devices={"GPU-1": DeviceInfo("GPU-1", 0, "NVIDIA A100", 40 * 10**9, True, (MIG,))},
    samples={
        "GPU-1": Sample("GPU-1", 100.0, 42.0, 10**9, 40 * 10**9, 250_000, None, 61),
        "MIG-1": Sample("MIG-1", 100.0, None, 10**8, 5 * 10**9),
    },
    as_of=100.0,
    number=1,
)
COUNTS = SiteCounts({"active": 2, "queued": 1}, 1, {("local", "a100-40gb/1g.5gb"): (7, 5)})


class FakeSampler:
    snapshot = SNAPSHOT


def lines() -> list[str]:
    return [line for line in generate_latest(REGISTRY).decode().splitlines() if line.startswith("swan_gpu_")]


def test_what_comes_out_at_metrics() -> None:
    withdraw = expose(FakeSampler(), lambda: COUNTS, lambda: 110.0)
    try:
        device = '{gpu="0",model="NVIDIA A100",profile="",uuid="GPU-1"}'
        out = lines()
        assert f"swan_gpu_utilization_ratio{device} 0.42" in out
        assert f"swan_gpu_power_watts{device} 250.0" in out
        assert sum("swan_gpu_utilization_ratio{" in line for line in out) == 1  # None has no sample
        assert any('profile="1g.5gb"' in line and "memory_used" in line for line in out)
        assert 'swan_gpu_sessions{state="active"} 2.0' in out
        assert "swan_gpu_queue_length 1.0" in out
        assert 'swan_gpu_shares_free{flavor="a100-40gb/1g.5gb",pool="local"} 5.0' in out
    finally:
        withdraw()
    assert not any("{" in line for line in lines())


def test_exposing_again_replaces_and_an_old_withdrawal_does_no_harm() -> None:
    first = expose(FakeSampler(), SiteCounts, lambda: 110.0)
    second = expose(FakeSampler(), lambda: COUNTS, lambda: 110.0)
    first()
    assert "swan_gpu_queue_length 1.0" in lines()
    second()


def test_what_is_old_or_counted_wrongly_is_left_out() -> None:
    def broken() -> SiteCounts:
        raise ValueError("no")

    withdraw = expose(FakeSampler(), broken, lambda: 1000.0)
    assert not any("{" in line for line in lines())
    withdraw()


def test_the_number_of_series_is_bounded() -> None:
    many = {f"GPU-{i}": DeviceInfo(f"GPU-{i}", i, "X", 1) for i in range(2 * MAX_DEVICES)}
    snapshot = Snapshot(
        status=DriverStatus("ok"), devices=many, samples={u: Sample(u, 1.0, 1.0) for u in many}, as_of=1.0, number=1
    )
    assert all(len(family.samples) <= MAX_DEVICES for family in families(snapshot, None, 1.0))
