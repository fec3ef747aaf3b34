"""A site's GPUs, live from a real Prometheus that scrapes pages in dcgm-exporter's format."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import Exporter
from services import Prometheus, prometheus
from swangpu.domain.telemetry import Sample
from swangpu.errors import BadInput
from swangpu.runtime.clock import SystemClock
from swangpu.telemetry.dcgm import FB_USED, GPU_UTIL, GR_ENGINE, Holder
from swangpu.telemetry.dcgm_live import Point, live
from swangpu.telemetry.dcgm_source import DcgmSource
from swangpu.telemetry.promql import PromQl
from swangpu.telemetry.sampler import Sampler, Snapshot

MIB = 2**20
A100 = 'gpu="0",UUID="GPU-a",modelName="NVIDIA A100-PCIE-40GB",Hostname="node-1",DCGM_FI_DRIVER_VERSION="550.90.07"'
CUT = 'gpu="1",UUID="GPU-m",modelName="NVIDIA A100-PCIE-40GB",Hostname="node-1",DCGM_FI_DRIVER_VERSION="550.90.07"'
T4 = 'gpu="0",UUID="GPU-t",modelName="Tesla T4",hostname="node-2",DCGM_FI_DRIVER_VERSION="550.90.07"'
FREE = 'gpu="1",UUID="GPU-f",modelName="Tesla T4",hostname="node-2"'
OLD = 'gpu="0",UUID="GPU-o",modelName="Tesla T4",Hostname="node-3"'


def pod(name: str, namespace: str = "swan") -> str:
    return f',container="main",namespace="{namespace}",pod="{name}"'


def node_1(busy: int) -> str:
    one, five, two = (
        f'{CUT},GPU_I_ID="{n}",GPU_I_PROFILE="{p}"' for n, p in ((1, "1g.5gb"), (5, "1g.5gb"), (3, "2g.10gb"))
    )
    return f"""# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{{{A100}{pod("jupyter-alice")}}} {busy}
DCGM_FI_DEV_FB_USED{{{A100}{pod("jupyter-alice")}}} 30000
DCGM_FI_DEV_FB_FREE{{{A100}{pod("jupyter-alice")}}} 10000
DCGM_FI_DEV_FB_RESERVED{{{A100}{pod("jupyter-alice")}}} 500
DCGM_FI_DEV_POWER_USAGE{{{A100}{pod("jupyter-alice")}}} 201.5
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{{A100}{pod("jupyter-alice")}}} 7500000
DCGM_FI_DEV_GPU_TEMP{{{A100}{pod("jupyter-alice")}}} 61
DCGM_FI_DEV_SM_CLOCK{{{A100}{pod("jupyter-alice")}}} 1410
DCGM_FI_DEV_XID_ERRORS{{{A100}{pod("jupyter-alice")}}} 0
DCGM_FI_PROF_GR_ENGINE_ACTIVE{{{one}{pod("jupyter-bob")}}} 0.42
DCGM_FI_DEV_FB_USED{{{one}{pod("jupyter-bob")}}} 1000
DCGM_FI_DEV_FB_FREE{{{one}{pod("jupyter-bob")}}} 3800
DCGM_FI_PROF_GR_ENGINE_ACTIVE{{{five}}} 0
DCGM_FI_DEV_FB_USED{{{five}}} 0
DCGM_FI_DEV_FB_USED{{{two}{pod("jupyter-carol")}}} 12
DCGM_FI_DEV_GPU_TEMP{{{two}{pod("jupyter-carol")}}} 40
"""


def node_2(busy: int) -> str:
    shared = "\n".join(f"DCGM_FI_DEV_GPU_UTIL{{{T4}{pod(f'student-{n}', 'course')}}} {busy}" for n in range(3))
    return f"{shared}\nDCGM_FI_DEV_GPU_UTIL{{{FREE}}} 0\nDCGM_FI_DEV_XID_ERRORS{{{FREE}}} 79\n"


class Site:
    def __init__(self) -> None:
        self.busy = {1: 73, 2: 30}
        # Prometheus takes the time that a page gives itself, and knows nothing newer of this one
        late = int((time.time() - 100) * 1000)
        self.nodes = {
            1: Exporter(lambda: node_1(self.busy[1])),
            2: Exporter(lambda: node_2(self.busy[2])),
            3: Exporter(lambda: f"DCGM_FI_DEV_GPU_UTIL{{{OLD}}} 5 {late}\n"),
        }

    @property
    def config(self) -> str:
        def job(name: str, node: int, labels: str = "{}") -> str:
            target = f"127.0.0.1:{self.nodes[node].port}"
            return f"- {{job_name: {name}, static_configs: [{{targets: ['{target}'], labels: {labels}}}]}}\n"

        own = "{namespace: monitoring, pod: exporter-x7k2p}"
        return (
            "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\nscrape_configs:\n"
            + job("dcgm", 1)
            + job("dcgm-again", 1)
            + job("renamed", 2, own)
            + job("late", 3)
        )


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[Site, Prometheus]]:
    made = Site()
    for node in made.nodes.values():
        node.start()
    try:
        with prometheus(made.config) as server:
            yield made, server
    finally:
        for node in made.nodes.values():
            node.stop()


@contextmanager
def reading(url: str, **settings: Any) -> Iterator[tuple[DcgmSource, Callable[..., Snapshot]]]:
    """A source, and a function that reads through a sampler until something is so."""
    source = DcgmSource(PromQl(url, timeout_s=2.5), read_s=0.05, stale_s=60.0, **settings)
    sampler = Sampler(source, SystemClock())

    def until(condition: Callable[[Snapshot], bool]) -> Snapshot:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            snapshot = sampler.refresh().result(20)
            if condition(snapshot):
                return snapshot
            time.sleep(0.05)
        raise AssertionError(f"It never came to that: {sampler.snapshot}")

    try:
        yield source, until
    finally:
        sampler.close()


def all_there(snapshot: Snapshot) -> bool:
    return {"GPU-a", "GPU-m", "GPU-t", "GPU-f", "GPU-o"} <= snapshot.devices.keys()


def reasons(sample: Sample) -> dict[str, str]:
    return dict(sample.missing)


def test_the_same_samples_as_from_a_driver(site: tuple[Site, Prometheus]) -> None:
    with reading(site[1].url) as (_, until):
        snapshot = until(all_there)
    assert snapshot.status.ok
    assert not snapshot.simulated
    device, sample = snapshot.devices["GPU-a"], snapshot.samples["GPU-a"]
    assert (device.name, device.index, device.memory_bytes) == ("NVIDIA A100-PCIE-40GB", 0, 40500 * MIB)
    assert (sample.utilization_percent, sample.memory_used_bytes) == (73.0, 30000 * MIB)
    assert (sample.power_mw, sample.energy_mj, sample.temperature_c) == (201_500, 7_500_000, 61)
    assert (sample.sm_clock_mhz, sample.last_xid) == (1410, None)
    assert abs(snapshot.as_of - sample.taken_at) < 20
    assert sample.processes is None
    assert reasons(sample)["processes"] == "not_visible"
    assert reasons(sample)["sm_activity_percent"] == "not_supported"
    assert "utilization_percent" not in reasons(sample)
    assert snapshot.samples["GPU-f"].last_xid == 79


def test_mig_instances(site: tuple[Site, Prometheus]) -> None:
    with reading(site[1].url) as (source, until):
        snapshot = until(all_there)
        holders = source.seen("GPU-m").holders  # type: ignore[union-attr]
    device = snapshot.devices["GPU-m"]
    assert device.mig_enabled
    assert [(mig.uuid, mig.profile, mig.memory_bytes) for mig in device.mig_devices] == [
        ("GPU-m/1", "1g.5gb", 4800 * MIB),
        ("GPU-m/3", "2g.10gb", 10 * 10**9),
        ("GPU-m/5", "1g.5gb", 5 * 10**9),
    ]
    assert snapshot.samples["GPU-m/1"].utilization_percent == pytest.approx(42.0)
    assert snapshot.samples["GPU-m/5"].utilization_percent == 0.0
    for name in ("GPU-m/3", "GPU-m"):
        assert snapshot.samples[name].utilization_percent is None
        assert reasons(snapshot.samples[name])["utilization_percent"] == "not_supported"
    assert snapshot.samples["GPU-m"].temperature_c == 40
    assert holders["GPU-m/1"] == (Holder("swan", "jupyter-bob"),)
    assert holders["GPU-m/5"] == ()


def test_a_time_sliced_gpu_is_one_and_says_who_shares_it(site: tuple[Site, Prometheus]) -> None:
    with reading(site[1].url) as (source, until):
        snapshot = until(all_there)
        shared, free = source.seen("GPU-t"), source.seen("GPU-f")
    assert shared is not None
    assert free is not None
    assert snapshot.samples["GPU-t"].utilization_percent == 30.0
    assert shared.holders["GPU-t"] == tuple(Holder("course", f"student-{n}") for n in range(3))
    assert shared.host == "node-2"
    assert free.holders["GPU-f"] == (), "the exporter's own pod holds nothing"


def test_values_change(site: tuple[Site, Prometheus]) -> None:
    made, server = site
    with reading(server.url) as (_, until):
        until(all_there)
        made.busy[1] = 11
        try:
            before = until(lambda s: s.samples["GPU-a"].utilization_percent == 11.0)
            after = until(lambda s: s.samples["GPU-a"].taken_at > before.samples["GPU-a"].taken_at + 0.15)
            assert after.samples["GPU-a"].utilization_percent == 11.0
        finally:
            made.busy[1] = 73


def test_what_is_old_is_not_taken_for_new(site: tuple[Site, Prometheus]) -> None:
    with reading(site[1].url) as (source, until):
        snapshot = until(all_there)
        age_s = source.seen("GPU-o").age_s  # type: ignore[union-attr]
    assert age_s > 95
    assert snapshot.devices["GPU-o"].lost_reason == "not_answering"
    assert snapshot.samples["GPU-o"].utilization_percent is None
    assert reasons(snapshot.samples["GPU-o"])["utilization_percent"] == "not_answering"


def test_an_exporter_that_goes_away_and_comes_back(site: tuple[Site, Prometheus]) -> None:
    made, server = site
    with reading(server.url) as (_, until):
        until(lambda s: all_there(s) and s.devices["GPU-t"].lost_reason is None)
        made.nodes[2].stop()
        gone = until(lambda s: s.devices["GPU-t"].lost_reason == "not_answering")
        assert gone.samples["GPU-t"].utilization_percent is None
        assert reasons(gone.samples["GPU-t"])["utilization_percent"] == "not_answering"
        assert gone.devices["GPU-a"].lost_reason is None, "each device fails alone"
        made.busy[2] = 44
        made.nodes[2].start()
        back = until(lambda s: s.samples["GPU-t"].utilization_percent == 44.0)
        assert back.devices["GPU-t"].lost_reason is None


def test_a_prometheus_that_goes_away_and_comes_back(site: tuple[Site, Prometheus]) -> None:
    made, _ = site
    with prometheus(made.config) as own, reading(own.url) as (_, until):
        until(all_there)
        own.process.terminate()
        gone = until(lambda s: not s.status.ok)
        assert gone.status.code == "not_answering"
        assert "Prometheus" in gone.status.text
        assert gone.devices["GPU-a"].lost_reason == "not_answering"
        own.process.wait(20)
        with prometheus(made.config, None, port=own.port):
            assert until(lambda s: s.samples["GPU-a"].utilization_percent == 73.0).status.ok


def test_one_node_only(site: tuple[Site, Prometheus]) -> None:
    with reading(site[1].url, only={"Hostname": "node-1"}) as (_, until):
        assert until(lambda s: "GPU-m" in s.devices).devices.keys() == {"GPU-a", "GPU-m"}
    hostile = 'x"} or {__name__="up'
    with reading(site[1].url, only={"Hostname": hostile}) as (_, until):
        assert until(lambda s: s.number > 0).status.code == "failed"
    with PromQl("http://127.0.0.1:9") as prom, pytest.raises(BadInput):
        DcgmSource(prom, only={'a="b"} or up{c': "d"})


# -- the pure half ----------------------------------------------------------------------------------

LABELS = st.fixed_dictionaries(
    {
        "__name__": st.sampled_from([GPU_UTIL, GR_ENGINE, FB_USED, "DCGM_FI_DEV_POWER_USAGE"]),
        "UUID": st.sampled_from(["GPU-1", "GPU-2"]),
    },
    optional={
        "GPU_I_ID": st.sampled_from(["1", "2"]),
        "GPU_I_PROFILE": st.just("1g.5gb"),
        "pod": st.sampled_from(["a", "b", "nvidia-dcgm-exporter-1"]),
        "namespace": st.just("swan"),
        "job": st.sampled_from(["x", "y"]),
    },
)
POINTS = st.lists(st.builds(Point, LABELS, st.floats(0, 1, width=16) | st.just(float("nan")), st.floats(0, 60)))


@given(POINTS, st.randoms(use_true_random=False))
def test_neither_order_nor_copies_matter(points: list[Point], order: random.Random) -> None:
    shuffled = [*points, *points]
    order.shuffle(shuffled)
    assert live(shuffled, 1000.0) == live(points, 1000.0)


@given(POINTS)
def test_what_is_not_known_has_a_reason(points: list[Point]) -> None:
    for one in live(points, 1000.0).values():
        for sample in one.samples:
            reasons = dict(sample.missing)
            for name in ("utilization_percent", "memory_used_bytes", "power_mw", "processes"):
                assert (getattr(sample, name) is None) == (name in reasons)
            assert 1000 - 60 <= sample.taken_at <= 1000
