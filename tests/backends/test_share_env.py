from __future__ import annotations

from swangpu.backends.flavors import LocalPoolConfig, shares_of
from swangpu.backends.share_env import VARIABLES, Overuse, as_asked, environment_of, overuse
from swangpu.domain.devices import Share, ShareKind
from swangpu.domain.telemetry import DeviceInfo, ProcessUse, Sample

GIB = 2**30
T4 = DeviceInfo("GPU-t", 1, "Tesla T4", 16 * GIB)
MIG = Share("MIG-1", "local", "a100-40gb/1g.5gb", ShareKind.MIG, "GPU-a", 5 * GIB, "MIG-1", "1g.5gb")


def slices(kind: str, n: int = 4) -> tuple[Share, ...]:
    return shares_of(T4, LocalPoolConfig(slices_per_model={"T4": n}, slice_kind=kind))


def test_whole_devices_and_mig_by_uuid_and_nothing_else() -> None:
    whole = shares_of(T4, LocalPoolConfig())
    env = environment_of(whole)
    assert env["CUDA_VISIBLE_DEVICES"] == "GPU-t"
    assert env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert {k for k, v in env.items() if v is not None} == {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"}
    assert environment_of([MIG])["CUDA_VISIBLE_DEVICES"] == "MIG-1"
    assert environment_of([])["CUDA_VISIBLE_DEVICES"] == ""


def test_every_kind_of_share_says_something_of_every_variable() -> None:
    for shares in ([], [MIG], slices("time_slice")[:1], slices("mps")[:1]):
        assert set(environment_of(shares)) == set(VARIABLES)


def test_mps_limits_are_enforced_by_cuda() -> None:
    env = environment_of(slices("mps")[:1], {"GPU-t": 16 * GIB}, "/run/mps")
    assert env["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=4096M"
    assert env["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "25"
    assert env["CUDA_MPS_PIPE_DIRECTORY"] == "/run/mps"
    assert env["CUDA_VISIBLE_DEVICES"] == "GPU-t"


def test_a_time_slice_is_told_to_the_frameworks() -> None:
    for memory in ({"GPU-t": 16 * GIB}, {}):
        env = environment_of(slices("time_slice")[:1], memory)
        assert env["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.250"
        assert env["CUPY_GPU_MEMORY_LIMIT"] == env["SWANGPU_MEMORY_LIMIT_BYTES"] == str(4 * GIB)
        assert env["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
        assert env["CUDA_MPS_PIPE_DIRECTORY"] is None


def sample(*uses: tuple[int, int]) -> dict[str, Sample]:
    return {"GPU-t": Sample("GPU-t", 0.0, processes=tuple(ProcessUse(pid, n * GIB) for pid, n in uses))}


def test_who_uses_more_than_the_share_is_named_with_whom_it_hurts() -> None:
    a, b, c, _ = slices("time_slice")
    held = {"one": (a,), "two": (b,), "three": (c,)}
    pids = {"one": {10, 11}, "two": {20}}
    found = overuse(held, pids, sample((10, 3), (11, 3), (20, 1), (99, 9)))
    assert found == [Overuse("one", "GPU-t", 6 * GIB, 4 * GIB, ("three", "two"))]
    assert overuse(held, pids, sample((10, 4))) == []
    assert overuse({"one": (a, b)}, pids, sample((10, 6))) == []


def test_what_is_not_visible_is_held_against_nobody() -> None:
    (share, *_) = slices("time_slice")
    assert overuse({"one": (share,)}, {"one": {1}}, {"GPU-t": Sample("GPU-t", 0.0)}) == []
    assert overuse({"one": (share,)}, {"one": {1}}, {}) == []
    assert overuse({"one": (slices("mps")[0],)}, {"one": {10}}, sample((10, 9))) == []


def test_who_asked_for_less_than_there_is_leaves_room_for_those_who_have_stayed() -> None:
    shares = shares_of(T4, LocalPoolConfig())
    env = environment_of(shares)
    assert as_asked(env, shares, None) == env
    assert as_asked(env, shares, 16 * GIB) == env
    less = as_asked(env, shares, 2 * GIB)
    assert (less["XLA_PYTHON_CLIENT_PREALLOCATE"], less["TF_FORCE_GPU_ALLOW_GROWTH"]) == ("false", "true")
    assert as_asked({"NAME": "of another service"}, shares, 2 * GIB) == {"NAME": "of another service"}
