from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from swangpu.domain.telemetry import DeviceInfo, DriverStatus, MigInfo, Sample
from swangpu.simulation.world import World
from swangpu.telemetry.metrics import DRIVER_STATES, THROTTLE_REASONS
from swangpu.telemetry.prometheus import (
    MAX_DEVICES,
    METRICS,
    STALE_S,
    FlavorCounts,
    PoolCounts,
    SiteCounts,
    UserCounts,
    Waits,
    expose,
    families,
)
from swangpu.telemetry.sampler import Sampler, Snapshot

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
MIG = MigInfo("MIG-1", "1g.5gb", 5 * 10**9)
MORE: dict[str, Any] = {
    "sm_activity_percent": 12.0,
    "throttle_reasons": ("power_cap",),
    "pcie_tx_bytes_per_s": 1.0,
    "pcie_rx_bytes_per_s": 2.0,
    "nvlink_tx_bytes_per_s": 3.0,
    "nvlink_rx_bytes_per_s": 4.0,
    "ecc_uncorrected_count": 5,
    "last_xid": 79,
    "last_xid_at": 90.0,
}
SNAPSHOT = Snapshot(
    status=DriverStatus("ok"),
    devices={"GPU-1": DeviceInfo("GPU-1", 0, "NVIDIA A100", 40 * 10**9, True, (MIG,))},
    samples={
        "GPU-1": Sample("GPU-1", 100.0, 42.0, 10**9, 40 * 10**9, 250_000, 7_500_000, 61, 1410, **MORE),
        "MIG-1": Sample("MIG-1", 100.0, None, 10**8, 5 * 10**9),
    },
    as_of=100.0,
    number=3,
    calls=7,
)
SLICE = ("local", "a100-40gb/1g.5gb")
COUNTS = SiteCounts(
    version="1.0",
    simulated=True,
    sessions={"active": 2, "queued": 1},
    ended={"released": 4, "reclaimed": 0},
    queue_length=1,
    oldest_wait_s=33.0,
    waits=Waits((1.0, 60.0), (3, 1, 1), 500.0),
    pools={"local": PoolCounts(True, 95.0)},
    flavors={SLICE: FlavorCounts(free=4, busy=1, held_idle=2, taken=0, queued=1, held_s=12.0, busy_s=3.0)},
    users={"alice": UserCounts(2, 12.0)},
)


class FakeSampler:
    def __init__(self, snapshot: Snapshot = SNAPSHOT) -> None:
        self.snapshot = snapshot


def lines() -> list[str]:
    return [line for line in generate_latest(REGISTRY).decode().splitlines() if line.startswith("swan_gpu_")]


def samples(
    snapshot: Snapshot | None = SNAPSHOT, counts: SiteCounts | None = COUNTS, now: float = 110.0
) -> dict[str, Any]:
    """Name and labels to value, after a round trip through the text format."""

    class Once:
        def collect(self) -> Any:
            return families(snapshot, counts, now)

    registry = CollectorRegistry()
    registry.register(Once())
    found: dict[str, Any] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            key = sample.name + "".join(f" {k}={v}" for k, v in sorted(sample.labels.items()))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def test_what_comes_out_at_metrics() -> None:
    withdraw = expose(FakeSampler(), lambda: COUNTS, lambda: 110.0)
    try:
        device = '{gpu="0",model="NVIDIA A100",profile="",uuid="GPU-1"}'
        out = lines()
        assert f"swan_gpu_utilization_ratio{device} 0.42" in out
        assert f"swan_gpu_power_watts{device} 250.0" in out
        assert f"swan_gpu_energy_joules_total{device} 7500.0" in out
        assert f"swan_gpu_sm_clock_hertz{device} 1.41e+09" in out
        assert sum("swan_gpu_utilization_ratio{" in line for line in out) == 1  # None has no sample
        assert sum("swan_gpu_energy_joules_total{" in line for line in out) == 1
        assert any('profile="1g.5gb"' in line and "memory_used" in line for line in out)
        assert 'swan_gpu_sessions{state="active"} 2.0' in out
        assert "swan_gpu_queue_length 1.0" in out
        assert 'swan_gpu_shares{flavor="a100-40gb/1g.5gb",pool="local",use="held_idle"} 2.0' in out
    finally:
        withdraw()
    assert not any("{" in line for line in lines())


def test_what_else_an_operator_asks() -> None:
    found = samples()
    where = "flavor=a100-40gb/1g.5gb pool=local"
    assert found["swan_gpu_info simulated=true version=1.0"] == 1
    assert found["swan_gpu_reading_age_seconds"] == 10.0
    assert found["swan_gpu_readings_total"] == 3
    assert found["swan_gpu_pool_age_seconds pool=local"] == 15.0
    assert found["swan_gpu_queue_oldest_wait_seconds"] == 33.0
    assert found[f"swan_gpu_flavor_queue_length {where}"] == 1
    assert found[f"swan_gpu_held_seconds_total {where}"] == 12.0
    assert found[f"swan_gpu_busy_seconds_total {where}"] == 3.0
    assert [found[f"swan_gpu_queue_wait_seconds_bucket le={le}"] for le in ("1.0", "60.0", "+Inf")] == [3, 4, 5]
    assert found["swan_gpu_queue_wait_seconds_sum"] == 500.0
    assert found["swan_gpu_user_sessions user=alice"] == 2
    assert found["swan_gpu_sessions_ended_total reason=reclaimed"] == 0  # known to be none


def test_what_the_driver_tells_beside() -> None:
    found, device = samples(), "gpu=0 model=NVIDIA A100 profile= {}uuid=GPU-1"
    plain = device.format("")
    assert found[f"swan_gpu_sm_activity_ratio {plain}"] == 0.12
    assert found[f"swan_gpu_pcie_receive_bytes_per_second {plain}"] == 2.0
    assert found[f"swan_gpu_nvlink_transmit_bytes_per_second {plain}"] == 3.0
    assert found[f"swan_gpu_ecc_uncorrected_errors_total {plain}"] == 5
    assert (found[f"swan_gpu_last_xid {plain}"], found[f"swan_gpu_last_xid_timestamp_seconds {plain}"]) == (79, 90.0)
    throttled = {r: found["swan_gpu_throttled " + device.format(f"reason={r} ")] for r in THROTTLE_REASONS}
    assert throttled == {reason: float(reason == "power_cap") for reason in THROTTLE_REASONS}
    assert not any("throttled" in key and "MIG-1" in key for key in found)  # unknown is not "no"


def test_every_reason_for_low_clocks_has_its_row() -> None:
    said = re.search(r"throttle_reasons : .*?Empty", str(Sample.__doc__), flags=re.DOTALL)
    assert said is not None
    assert set(re.findall(r"``(\w+)``", said[0])) == set(THROTTLE_REASONS)


def test_scraping_never_calls_the_driver() -> None:
    class Unasked:
        simulated = False

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"a scrape called the driver: {name}")

    world = World()
    sampler = Sampler(Unasked(), world.clock)
    withdraw = expose(sampler, lambda: COUNTS, world.clock.now)
    try:
        for _ in range(10):
            assert "swan_gpu_queue_length 1.0" in lines()
            world.run(100.0)
        assert sampler.snapshot.number == 0
        assert not any(line.startswith("swan_gpu_readings_total ") for line in lines())
    finally:
        withdraw()
        sampler.close()


def test_the_driver_is_in_one_state() -> None:
    for code, shown in [("ok", "ok"), ("driver_not_loaded", "driver_not_loaded"), ("never heard of", "failed")]:
        found = samples(replace(SNAPSHOT, status=DriverStatus(code)))
        states = {state: found[f"swan_gpu_driver_state code={state}"] for state in DRIVER_STATES}
        assert states == {state: float(state == shown) for state in DRIVER_STATES}


def test_every_state_that_the_driver_can_be_in_has_its_row() -> None:
    from swangpu.domain.telemetry import DriverStatus
    from swangpu.telemetry.nvml_errors import status_for

    said = set(re.findall(r"``(\w+)``", str(DriverStatus.__doc__))) - {"code"}
    assert said == set(DRIVER_STATES)
    assert {status_for(None, code=c).code for c in DRIVER_STATES if c != "ok"} == set(DRIVER_STATES) - {"ok"}


def test_a_lost_device_is_down_and_a_silent_sampler_knows_nothing() -> None:
    device = "swan_gpu_device_up gpu=0 model=NVIDIA A100 profile= uuid=GPU-1"
    assert samples()[device] == 1
    lost = replace(SNAPSHOT.devices["GPU-1"], lost_reason="not_answering")
    assert samples(replace(SNAPSHOT, devices={"GPU-1": lost}))[device] == 0
    unread = samples(Snapshot(), None)
    assert unread == {}


def test_what_is_old_is_left_out_and_its_age_is_told() -> None:
    found = samples(counts=None, now=100.0 + STALE_S + 1)
    assert found == {
        "swan_gpu_reading_age_seconds": STALE_S + 1,
        "swan_gpu_readings_total": 3,
        "swan_gpu_driver_calls_total": 7,
    }


def test_nobody_waits_is_not_a_wait_of_zero() -> None:
    assert "swan_gpu_queue_oldest_wait_seconds" not in samples(counts=replace(COUNTS, oldest_wait_s=None))


def test_exposing_again_replaces_and_an_old_withdrawal_does_no_harm() -> None:
    first = expose(FakeSampler(), SiteCounts, lambda: 110.0)
    second = expose(FakeSampler(), lambda: COUNTS, lambda: 110.0)
    first()
    assert "swan_gpu_queue_length 1.0" in lines()
    second()


def test_a_failure_of_ours_leaves_the_rest_of_the_page() -> None:
    def broken() -> SiteCounts:
        raise ValueError("no")

    withdraw = expose(FakeSampler(), broken, lambda: 110.0)
    assert "swan_gpu_readings_total 3.0" in lines()
    withdraw()
    withdraw = expose(FakeSampler(None), lambda: COUNTS, broken)  # type: ignore[arg-type,return-value]
    text = generate_latest(REGISTRY).decode()
    assert "python_info" in text
    assert "swan_gpu_queue_length 1.0" not in text
    withdraw()


def test_the_number_of_devices_is_bounded_and_what_is_left_out_is_counted() -> None:
    migs = tuple(MigInfo(f"MIG-{n}", "1g.5gb", 1) for n in range(7))
    many = {f"GPU-{i}": DeviceInfo(f"GPU-{i}", i, "X", 1, True, migs) for i in range(MAX_DEVICES)}
    units = [u for i in range(MAX_DEVICES) for u in (f"GPU-{i}", *(m.uuid for m in migs))]
    snapshot = replace(SNAPSHOT, devices=many, samples={u: Sample(u, 1.0, 1.0) for u in units})
    shown = {family.name: len(family.samples) for family in families(snapshot, None, 100.0)}
    assert shown["swan_gpu_utilization_ratio"] == MAX_DEVICES
    assert max(shown.values()) == MAX_DEVICES
    left_out = next(f for f in families(snapshot, None, 100.0) if f.name == "swan_gpu_devices_left_out")
    assert left_out.samples[0].value == 8 * MAX_DEVICES - MAX_DEVICES


@given(name=st.text(min_size=1, max_size=20), user=st.text(min_size=1, max_size=20))
def test_whatever_a_name_holds_it_comes_out_as_it_is(name: str, user: str) -> None:
    device = replace(SNAPSHOT.devices["GPU-1"], name=name)
    counts = replace(COUNTS, users={user: UserCounts(1, 1.0)}, flavors={(name, user): FlavorCounts(free=1)})

    class Once:
        def collect(self) -> Any:
            return families(replace(SNAPSHOT, devices={"GPU-1": device}), counts, 110.0)

    registry = CollectorRegistry()
    registry.register(Once())
    text = generate_latest(registry).decode()
    expected = name.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    assert f'model="{expected}"' in text
    # No name begins a line of its own: what is not a sample is a comment of ours.
    assert all(re.match(r"swan_gpu_|# (HELP|TYPE) swan_gpu_", line) for line in text.split("\n") if line)


def test_the_page_of_the_documentation_says_what_comes_out() -> None:
    rows = re.findall(r"^\| `(swan_gpu_\w+)` \| (\w+) \|([^|]*)\| (\w+) \|", PAGE.read_text(), flags=re.MULTILINE)
    documented = {name: (kind, tuple(re.findall(r"`(\w+)`", labels)), unit) for name, kind, labels, unit in rows}
    assert len(documented) == len(rows), "a metric is documented twice"
    assert documented == {m.name: (m.kind, m.labels, m.unit) for m in METRICS}
    out = list(families(SNAPSHOT, COUNTS, 110.0, 0.25))
    for family, metric in zip(out, METRICS, strict=True):
        assert family.type == metric.kind
        assert family.samples, f"{metric.name} is never shown"
        assert {tuple(k for k in s.labels if k != "le") for s in family.samples} == {metric.labels}


def test_names_follow_the_conventions() -> None:
    base = {"ratio", "bytes", "watts", "joules", "celsius", "hertz", "seconds"}
    for metric in METRICS:
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.unit not in base or metric.name.removesuffix("_total").endswith(f"_{metric.unit}")
        assert not set(metric.labels) & {"instance", "job", "le", "quantile"}
