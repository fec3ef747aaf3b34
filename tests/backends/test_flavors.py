"""Names, titles and cuts of real devices, as NVML names them and reports their memory."""

from __future__ import annotations

import pytest

from swangpu.backends.flavors import LocalPoolConfig, check, flavor_name, flavors_of, memory_gb, model_title, shares_of
from swangpu.domain.devices import ShareKind
from swangpu.domain.telemetry import DeviceInfo, MigInfo
from swangpu.errors import Misconfigured

MIB = 2**20


@pytest.mark.parametrize(
    ("model", "mib", "name", "title", "gb"),
    [
        ("NVIDIA A100-SXM4-40GB", 40960, "a100-40gb", "A100", 40),
        ("NVIDIA A100 80GB PCIe", 81920, "a100-80gb", "A100", 80),
        ("NVIDIA A100-SXM-64GB", 65536, "a100-64gb", "A100", 64),
        ("Tesla T4", 15360, "t4", "T4", 16),
        ("NVIDIA H100 80GB HBM3", 81559, "h100-80gb", "H100", 80),
        ("NVIDIA H100 PCIe", 81559, "h100-80gb", "H100", 80),
        ("NVIDIA H100 NVL", 95830, "h100-94gb", "H100", 94),
        ("NVIDIA H200", 143771, "h200", "H200", 141),
        ("NVIDIA B200", 183359, "b200", "B200", 180),
        ("NVIDIA GH200 480GB", 97871, "gh200-96gb", "GH200", 96),
        ("NVIDIA L4", 23034, "l4", "L4", 24),
        ("NVIDIA L40S", 46068, "l40s", "L40S", 48),
        ("NVIDIA A30", 24576, "a30", "A30", 24),
        ("NVIDIA A10G", 23028, "a10g", "A10G", 24),
        ("NVIDIA A2", 15356, "a2", "A2", 16),
        ("NVIDIA RTX A6000", 49140, "rtx-a6000", "RTX A6000", 48),
        ("NVIDIA RTX 6000 Ada Generation", 49140, "rtx-6000-ada", "RTX 6000 Ada", 48),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97887, "rtx-pro-6000-blackwell", "RTX PRO 6000 Blackwell", 96),
        ("Quadro RTX 6000", 24576, "quadro-rtx-6000", "Quadro RTX 6000", 24),
        ("NVIDIA GeForce RTX 4090", 24564, "rtx-4090", "RTX 4090", 24),
        ("NVIDIA GeForce RTX 3070 Laptop GPU", 8192, "rtx-3070-laptop", "RTX 3070 Laptop", 8),
        ("NVIDIA GeForce GTX 1080 Ti", 11264, "gtx-1080-ti", "GTX 1080 Ti", 11),
        ("NVIDIA GeForce GTX 1060 6GB", 6144, "gtx-1060-6gb", "GTX 1060", 6),
        ("Tesla V100-SXM2-16GB", 16384, "v100-16gb", "V100", 16),
        ("Tesla V100-PCIE-32GB", 32768, "v100-32gb", "V100", 32),
        ("Tesla P100-PCIE-16GB", 16384, "p100-16gb", "P100", 16),
        ("Tesla K80", 11441, "k80", "K80", 12),
        ("TITAN X (Pascal)", 12288, "titan-x-pascal", "TITAN X Pascal", 12),
        ("GRID A100D-10C", 10240, "grid-a100d-10c", "GRID A100D 10C", 10),
        ("", 0, "gpu", "GPU", 1),
        ("NVIDIA Graphics", 1000, "gpu", "GPU", 1),
        ("'; rm -rf \"/\n", 1000, "rm-rf", "'; rm rf \"", 1),
    ],
)
def test_names(model: str, mib: int, name: str, title: str, gb: int) -> None:
    assert flavor_name(model, mib * MIB) == name
    assert model_title(model) == title
    assert memory_gb(model, mib * MIB) == gb


A100 = DeviceInfo("GPU-a", 0, "NVIDIA A100-SXM4-40GB", 40960 * MIB)
T4 = DeviceInfo("GPU-t", 1, "Tesla T4", 15360 * MIB)
CUT = DeviceInfo(
    "GPU-c",
    2,
    "NVIDIA A100-SXM4-40GB",
    40960 * MIB,
    True,
    (
        MigInfo("MIG-2", "2g.10gb", 9728 * MIB),
        MigInfo("MIG-1", "1g.5gb", 4864 * MIB),
        MigInfo("MIG-3", "1g.10gb+me", 9728 * MIB),
    ),
)


def test_a_whole_device() -> None:
    (share,) = shares_of(A100, LocalPoolConfig())
    assert (share.id, share.flavor, share.kind) == ("GPU-a", "a100-40gb", ShareKind.WHOLE)
    (flavor,) = flavors_of([A100], [share])
    assert flavor.title == "A100 whole, 40 GB"
    assert flavor.max_per_kernel == 1
    twin = DeviceInfo("GPU-b", 1, A100.name, A100.memory_bytes)
    (flavor,) = flavors_of([A100, twin], [share, *shares_of(twin, LocalPoolConfig())])
    assert flavor.max_per_kernel == 2


def test_mig_devices_as_they_exist() -> None:
    shares = shares_of(CUT, LocalPoolConfig(slices_per_model={"A100": 4}, whole_too=True))
    assert [s.id for s in shares] == ["MIG-1", "MIG-2", "MIG-3"]
    assert all(s.kind is ShareKind.MIG and s.mig_uuid == s.id and s.device_uuid == "GPU-c" for s in shares)
    titles = {f.name: f.title for f in flavors_of([CUT], shares)}
    assert titles == {
        "a100-40gb/1g.5gb": "A100 slice, 5 GB",
        "a100-40gb/2g.10gb": "A100 slice, 10 GB (2g.10gb)",
        "a100-40gb/1g.10gb+me": "A100 slice, 10 GB (1g.10gb+me)",
    }
    assert all(f.max_per_kernel == 1 for f in flavors_of([CUT], shares))


def test_slices_alone_and_beside_the_whole() -> None:
    config = LocalPoolConfig(slices_per_model={"t4": 4, "": 1} | {"T": 2})
    config = LocalPoolConfig(slices_per_model={"t4": 4, "T": 2})
    shares = shares_of(T4, config)
    assert [s.id for s in shares] == [f"GPU-t/time-{i}of4" for i in range(4)]
    assert {s.memory_bytes for s in shares} == {15360 * MIB // 4}
    (flavor,) = flavors_of([T4], shares)
    assert (flavor.name, flavor.title, flavor.kind) == ("t4/time-4", "T4 quarter, 4 GB", ShareKind.TIME_SLICE)
    both = shares_of(T4, LocalPoolConfig(slices_per_model={"T4": 3}, whole_too=True))
    assert [f.title for f in flavors_of([T4], both)] == ["T4 whole, 16 GB", "T4 third, 5.3 GB"]


def test_mps_shares_need_the_daemon() -> None:
    config = LocalPoolConfig(slices_per_model={"T4": 4}, slice_kind="mps")
    shares = shares_of(T4, config)
    assert {(s.flavor, s.compute_percent) for s in shares} == {("t4/mps-4", 25)}
    (share,) = shares_of(T4, config, mps=False)
    assert share.kind is ShareKind.WHOLE


def test_only_configured_devices_are_offered() -> None:
    assert shares_of(T4, LocalPoolConfig(devices=("0",))) == ()
    assert shares_of(T4, LocalPoolConfig(devices=("1",)))
    assert shares_of(T4, LocalPoolConfig(devices=("GPU-t",)))


@pytest.mark.parametrize(
    ("config", "trait"),
    [
        (LocalPoolConfig(slice_kind="half"), "slice_kind"),
        (LocalPoolConfig(slices_per_model={"T4": 0}), "slices_per_model"),
        (LocalPoolConfig(slices_per_model={"T4": 1000}), "slices_per_model"),
        (LocalPoolConfig(slices_per_model={" ": 2}), "slices_per_model"),
        (LocalPoolConfig(slices_per_model={"T4": "2"}), "slices_per_model"),  # type: ignore[dict-item]
        (LocalPoolConfig(name="a/b"), "name"),
    ],
)
def test_settings_that_make_no_sense_are_named(config: LocalPoolConfig, trait: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        check(config)
    assert caught.value.params["trait"] == trait
