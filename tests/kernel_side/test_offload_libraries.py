"""cupy, jax, tensorflow and numba, each as far as its part asks it: stand-ins that keep to what the real ones do.

The stand-ins have the attributes, and the rules, that cupy 14 and jax 0.6 have; they hold host memory. So this
proves what is moved, in which order, and what is left; it proves nothing about CUDA.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from swangpu.kernel_side import offload, offload_cupy, offload_jax, offload_others


@pytest.fixture(autouse=True)
def unmoved() -> Any:
    yield
    offload._moved = None


# -- cupy ---------------------------------------------------------------------------------------------------


class PooledMemory:
    def __init__(self, ptr: int, size: int) -> None:
        self.ptr, self.size, self.device_id = ptr, size, 0


class UnownedMemory(PooledMemory):
    pass


class MemoryPointer:
    """As cupy's: to initialise it again points it elsewhere."""

    def __init__(self, mem: PooledMemory, offset: int) -> None:
        assert mem.ptr != 0 or offset == 0
        self.mem, self.ptr, self.device_id = mem, mem.ptr + offset, mem.device_id


class Array:
    dtype = "float32"

    def __init__(self, data: MemoryPointer, shape: tuple[int, ...]) -> None:
        self._data, self.shape = data, shape

    @property
    def data(self) -> MemoryPointer:
        return self._data


class Bus:
    """The part that knows devices: memory by address."""

    def __init__(self) -> None:
        self.memory: dict[int, bytes] = {}
        self.next = 1000
        self.emptied = 0

    def new(self, data: bytes, kind: type[PooledMemory] = PooledMemory) -> PooledMemory:
        self.next += 1000
        self.memory[self.next] = data
        return kind(self.next, len(data))

    def wait(self, devices: Any) -> None: ...

    def copy_out(self, memory: PooledMemory, pinned: bool) -> bytes:
        return self.memory[memory.ptr]

    def copy_in(self, host: bytes, size_bytes: int, device_id: int) -> PooledMemory:
        assert len(host) == size_bytes
        return self.new(host)

    def nothing(self, device_id: int) -> PooledMemory:
        return UnownedMemory(0, 0)

    def give_back(self, devices: Any) -> None:
        self.emptied += 1

    def used_bytes(self, devices: Any) -> int:
        return 0

    def free_bytes(self, devices: Any) -> int:
        return 0


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Bus:
    bus = Bus()
    framework = offload_cupy.Cupy(SimpleNamespace(ndarray=Array), bus)  # type: ignore[arg-type]
    monkeypatch.setattr(offload, "FRAMEWORKS", [lambda: framework])
    return bus


@pytest.fixture(params=[0, 1], ids=["as here", "as Python 3.14 counts"])
def counted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many references there are: a name that is passed on counts once less in newer versions."""
    count = sys.getrefcount
    if request.param:
        # our own call in between counts for one
        monkeypatch.setattr(sys, "getrefcount", lambda one: count(one) - 2)


@pytest.mark.usefixtures("counted")
def test_views_of_one_allocation_move_together(bus: Bus) -> None:
    whole = Array(MemoryPointer(bus.new(b"abcdefgh"), 0), (8,))
    part = Array(MemoryPointer(whole.data.mem, 3), (2,))
    same = Array(whole.data, (2, 4))
    pointers = [id(one.data) for one in (whole, part, same)]
    report = offload.out()
    assert (report["moved_bytes"], report["stays"]) == (8, [])
    assert whole.data.ptr == part.data.ptr == 0
    assert bus.emptied == 1
    before = set(bus.memory)
    assert offload.back()["ok"]
    (new,) = set(bus.memory) - before
    assert whole.data.mem is part.data.mem is same.data.mem
    assert (whole.data.ptr, part.data.ptr) == (new, new + 3)
    assert bus.memory[new] == b"abcdefgh"
    assert [id(one.data) for one in (whole, part, same)] == pointers


@pytest.mark.usefixtures("counted")
def test_memory_that_somebody_else_refers_to_stays(bus: Bus) -> None:
    mine = Array(MemoryPointer(bus.new(b"mine"), 0), (4,))
    held = mine.data.mem
    theirs = Array(MemoryPointer(bus.new(b"theirs", UnownedMemory), 0), (6,))
    report = offload.out()
    assert report["moved_bytes"] == 0
    assert {line["why"]: line["bytes"] for line in report["stays"]} == {
        offload_cupy.UNKNOWN: 4,
        offload_cupy.FOREIGN: 6,
    }
    assert (mine.data.mem, theirs.data.mem.size) == (held, 6)


# -- jax ----------------------------------------------------------------------------------------------------


class Device:
    platform = "gpu"

    def __init__(self, stats: dict[str, int] | None) -> None:
        self._stats = stats

    def memory_stats(self) -> dict[str, int] | None:
        return self._stats

    def __str__(self) -> str:
        return "gpu:0"


class JaxArray:
    """As jax's: its buffer can be deleted and another put in."""

    dtype = "float32"

    def __init__(self, device: Device, data: tuple[int, ...], address: int) -> None:
        self._device, self._buffer, self.address = device, data, address
        self._npy_value: Any = None
        self.nbytes, self.shape, self.sharding = 4 * len(data), (len(data),), device

    @property
    def _arrays(self) -> Any:
        return None if self._buffer is None else [self]

    @_arrays.setter
    def _arrays(self, value: Any) -> None:
        self._buffer, self.address = value[0]._buffer, value[0].address

    def delete(self) -> None:
        self._buffer = None  # type: ignore[assignment]

    def is_deleted(self) -> bool:
        return self._buffer is None

    def devices(self) -> set[Device]:
        return {self._device}

    def unsafe_buffer_pointer(self) -> int:
        return self.address

    def block_until_ready(self) -> None: ...

    def tolist(self) -> list[int]:
        return list(self._buffer)


def jax_on(monkeypatch: pytest.MonkeyPatch, stats: dict[str, int] | None) -> tuple[Any, Device, list[JaxArray]]:
    device, live = Device(stats), []
    addresses = iter(range(10_000, 90_000, 1000))

    def put(data: Any, where: Any) -> JaxArray:
        if isinstance(data, JaxArray):
            return JaxArray(device, data._buffer, data.address)
        return JaxArray(device, tuple(data), next(addresses))

    def to_numpy(array: JaxArray) -> tuple[int, ...]:
        array._npy_value = array._buffer
        return array._buffer

    numpy = ModuleType("numpy")
    vars(numpy).update(arange=range, asarray=to_numpy)
    monkeypatch.setitem(sys.modules, "numpy", numpy)
    jax = SimpleNamespace(local_devices=lambda: [device], live_arrays=lambda: list(live), device_put=put)
    framework = offload_jax.Jax(jax, {"gpu"})
    monkeypatch.setattr(offload, "FRAMEWORKS", [lambda: framework])
    return jax, device, live


def test_jax_arrays_are_given_an_equal_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    _, device, live = jax_on(monkeypatch, None)
    one, alias = JaxArray(device, (1, 2, 3), 500), JaxArray(device, (1, 2, 3), 500)
    live += [one, alias]
    report = offload.out()
    assert report["moved_bytes"] == 12, "one buffer, once"
    assert one.is_deleted()
    assert alias.is_deleted()
    assert offload.back()["ok"]
    assert one.tolist() == alias.tolist() == [1, 2, 3]
    assert one.address == alias.address != 500
    assert one._npy_value is None, "the copy in host memory is not kept"


def test_jax_that_gives_nothing_back_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _, device, live = jax_on(monkeypatch, {"bytes_in_use": 40, "pool_bytes": 4000})
    live.append(JaxArray(device, (1, 2, 3), 500))
    report = offload.out()
    assert report["stays"] == [{"what": "jax: all arrays on gpu:0", "bytes": 4000, "why": offload_jax.KEEPS}]
    assert live[0].tolist() == [1, 2, 3]


def test_a_jax_whose_arrays_are_different_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _, device, live = jax_on(monkeypatch, None)
    live.append(JaxArray(device, (1, 2, 3), 500))
    monkeypatch.setattr(JaxArray, "_arrays", property(lambda self: [self]))
    report = offload.out()
    assert [(line["bytes"], line["why"]) for line in report["stays"]] == [(12, offload_jax.VERSION)]
    assert live[0].tolist() == [1, 2, 3]


# -- what never moves -----------------------------------------------------------------------------------------


def test_tensorflow_stays_with_its_bytes_and_is_not_woken_up(monkeypatch: pytest.MonkeyPatch) -> None:
    device = SimpleNamespace(name="/device:GPU:0")
    experimental = SimpleNamespace(get_memory_info=lambda name: {"current": 700})
    tensorflow = ModuleType("tensorflow")
    tensorflow.config = SimpleNamespace(list_logical_devices=lambda kind: [device], experimental=experimental)  # type: ignore[attr-defined]
    context = ModuleType("tensorflow.python.eager.context")
    context._context = SimpleNamespace(_initialized=False)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
    monkeypatch.setitem(sys.modules, "tensorflow.python.eager.context", context)
    assert offload.out()["stays"] == []
    offload.back()
    context._context._initialized = True
    stays = offload.out()["stays"]
    assert [(line["bytes"], line["why"]) for line in stays] == [(700, offload_others.TENSORFLOW_KEEPS)]


def test_what_numba_knows_by_its_address_keeps_another_librarys_array_there(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Array(MemoryPointer(bus.new(b"both"), 0), (4,))

    class DeviceArray:
        dtype, shape, alloc_size = "int8", (4,), 4
        __cuda_array_interface__ = {"data": (mine.data.ptr, False)}  # noqa: RUF012

    kept = [DeviceArray()]
    module = ModuleType("numba.cuda.cudadrv.devicearray")
    module.DeviceNDArrayBase = DeviceArray  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "numba.cuda.cudadrv.devicearray", module)
    monkeypatch.setattr(offload, "FRAMEWORKS", [*offload.FRAMEWORKS, offload_others.numba_loaded])
    report = offload.out()
    assert (report["moved_bytes"], report["stays_bytes"]) == (0, 4), "one memory, counted once"
    assert kept
