"""The site's other GPUs as people see them."""

from __future__ import annotations

from dataclasses import replace

from swangpu.api.remote_views import remote_devices, remote_trouble
from swangpu.domain.telemetry import DeviceInfo, DriverStatus, MigInfo, Sample
from swangpu.telemetry.dcgm import Holder
from swangpu.telemetry.dcgm_live import NO_METRICS
from swangpu.telemetry.reading import nothing
from swangpu.telemetry.remote import RemoteDevice, RemoteSnapshot

CUT = RemoteDevice(
    DeviceInfo("GPU-m", 1, "A100", 40 * 10**9, True, (MigInfo("GPU-m/1", "1g.5gb", 5 * 10**9),)),
    "node-1",
    88.0,
    {"GPU-m": (), "GPU-m/1": (Holder("swan", "jupyter-bob"), Holder("swan", "jupyter-eve"))},
)
READ = RemoteSnapshot(
    DriverStatus("ok"),
    (CUT,),
    {
        "GPU-m": Sample("GPU-m", 88.0, missing=(("utilization_percent", "not_supported"),)),
        "GPU-m/1": Sample("GPU-m/1", 88.0, 42.0),
    },
    number=3,
)


def test_it_can_be_watched_and_not_be_had() -> None:
    (device,) = remote_devices(READ, 100.0, operator=False)
    assert (device.pool, device.simulated, device.lost) == ("", False, None)
    assert device.remote is not None
    assert (device.remote.host, device.remote.age_s) == ("node-1", 12.0)
    assert device.sample is not None
    assert device.sample.missing == {"utilization_percent": "not_supported"}
    (mig,) = device.mig_devices
    assert mig.sample is not None
    assert (mig.uuid, mig.sample.utilization_percent) == ("GPU-m/1", 42.0)
    assert remote_trouble(READ) is None


def test_pods_are_a_number_but_for_an_operator() -> None:
    (device,) = remote_devices(READ, 100.0, operator=False)
    assert device.remote is not None
    assert (device.remote.pods.count, device.remote.pods.items) == (0, None)
    pods = device.mig_devices[0].pods
    assert pods is not None
    assert (pods.count, pods.items, pods.reason) == (2, None, None)
    pods = remote_devices(READ, 100.0, operator=True)[0].mig_devices[0].pods
    assert pods is not None
    assert [(one.namespace, one.name) for one in pods.items or ()] == [("swan", "jupyter-bob"), ("swan", "jupyter-eve")]


def test_where_no_pod_is_named_nobody_knows_who_holds_it() -> None:
    untold = replace(READ, devices=(replace(CUT, holders=None),))
    for operator in (True, False):
        (device,) = remote_devices(untold, 100.0, operator=operator)
        for pods in (device.remote and device.remote.pods, device.mig_devices[0].pods):
            assert pods is not None
            assert (pods.count, pods.items) == (None, None)
            assert pods.reason is not None
            assert pods.reason.code == "pods_not_told"


def test_what_is_wrong_is_said_of_the_device_or_of_prometheus() -> None:
    silent = replace(CUT, info=replace(CUT.info, lost_reason="not_answering"))
    samples = {u: nothing(u, 100.0, "not_answering") for u in READ.samples}
    (device,) = remote_devices(replace(READ, devices=(silent,), samples=samples), 300.0, operator=False)
    assert device.lost is not None
    assert (device.lost.code, device.lost.params) == ("not_scraped", {"age_s": 212.0})

    status = DriverStatus("not_answering", "Prometheus can't be reached.", "Look at the URL.")
    away = replace(READ, status=status, devices=(silent,), samples=samples)
    trouble = remote_trouble(away)
    assert trouble is not None
    assert (trouble.code, trouble.params["hint"]) == ("prometheus_away", "Look at the URL.")
    assert trouble.text == "The site's other GPUs can't be seen. Prometheus can't be reached."
    assert remote_devices(away, 300.0, operator=False)[0].lost == trouble
    assert [
        found.code
        for status in (NO_METRICS, DriverStatus("failed", "It answered 500."), DriverStatus("no_permission"))
        if (found := remote_trouble(RemoteSnapshot(status, number=1))) is not None
    ] == ["prometheus_has_none", "prometheus_failed", "prometheus_refuses"]


def test_while_it_is_asked_for_the_first_time_nothing_is_wrong() -> None:
    assert remote_trouble(RemoteSnapshot(DriverStatus("not_answering"))) is None


def test_those_left_out_are_counted() -> None:
    trouble = remote_trouble(replace(READ, left_out=7))
    assert trouble is not None
    assert (trouble.code, trouble.params["count"]) == ("remote_left_out", 7)
