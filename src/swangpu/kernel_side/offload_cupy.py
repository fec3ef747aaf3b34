"""Moving what cupy has on a device: the pointers of arrays are pointed elsewhere, arrays are never touched.

An array has a *memory pointer*, an object of its own that refers to an allocation and can be initialised anew. All
pointers into one allocation are moved together, so views stay views. Memory that anybody else refers to stays.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from .offload_parts import Found, Framework, Piece, Stay

__all__ = ["Cupy", "Runtime", "loaded"]

#: allocations that are cupy's own and can be had again in the same way
OWN = frozenset({"Memory", "PooledMemory", "MemoryAsync"})
FOREIGN = "its memory belongs to another library"
UNKNOWN = "something else than arrays uses it too"


class Runtime:
    """The part of cupy that knows devices.

    Parameters
    ----------
    cupy : module
    """

    def __init__(self, cupy: Any) -> None:
        self._cupy, self._runtime = cupy, cupy.cuda.runtime

    def wait(self, devices: Iterable[int]) -> None:
        for n in devices:
            with self._cupy.cuda.Device(n):
                self._runtime.deviceSynchronize()

    def copy_out(self, memory: Any, pinned: bool) -> Any:
        """A copy in host memory."""
        size = memory.size
        host = self._host(size, pinned)
        with self._cupy.cuda.Device(memory.device_id):
            self._runtime.memcpy(_address(host), memory.ptr, size, self._runtime.memcpyDeviceToHost)
        return host

    def copy_in(self, host: Any, size_bytes: int, device_id: int) -> Any:
        """A new allocation on a device with what the copy holds."""
        with self._cupy.cuda.Device(device_id):
            memory = self._cupy.cuda.alloc(size_bytes).mem
            self._runtime.memcpy(memory.ptr, _address(host), size_bytes, self._runtime.memcpyHostToDevice)
        return memory

    def nothing(self, device_id: int) -> Any:
        """An allocation of no bytes, for pointers to point at meanwhile."""
        return self._cupy.cuda.UnownedMemory(0, 0, None, device_id)

    def give_back(self, devices: Iterable[int]) -> None:
        self._each(devices, "free_all_blocks")
        self._cupy.get_default_pinned_memory_pool().free_all_blocks()

    def used_bytes(self, devices: Iterable[int]) -> int:
        return sum(map(int, self._each(devices, "used_bytes")))

    def free_bytes(self, devices: Iterable[int]) -> int:
        return sum(map(int, self._each(devices, "free_bytes")))

    def _each(self, devices: Iterable[int], method: str) -> list[Any]:
        """What the pool answers for each device: it speaks of the current one only."""
        out = []
        for n in devices:
            with self._cupy.cuda.Device(n):
                out.append(getattr(self._cupy.get_default_memory_pool(), method)())
        return out

    def _host(self, size: int, pinned: bool) -> Any:
        if pinned:
            try:
                return self._cupy.cuda.alloc_pinned_memory(size)
            except Exception:  # noqa: S110 - no more of it: the other kind does as well, only slower
                pass
        return bytearray(size)


def loaded() -> Cupy | None:
    """None unless the person has imported cupy. Without arrays no device is touched."""
    cupy: Any = sys.modules.get("cupy")
    return Cupy(cupy, Runtime(cupy)) if cupy is not None else None


class Cupy(Framework):
    """Cupy in this process.

    Parameters
    ----------
    cupy : module
    runtime : Runtime
    """

    name = "cupy"

    def __init__(self, cupy: Any, runtime: Runtime) -> None:
        self._cupy, self._runtime = cupy, runtime
        self._devices: set[int] = set()

    def find(self, objects: Sequence[Any], names: dict[int, str]) -> Found:
        found = Found()
        arrays: dict[int, list[Any]] = {}
        # pointers and allocations are not seen by the garbage collector; arrays are
        pointers: dict[int, dict[int, Any]] = {}
        kind = self._cupy.ndarray
        for array in [one for one in objects if issubclass(type(one), kind)]:
            pointer = array.data
            if pointer.mem.size:
                self._devices.add(int(pointer.mem.device_id))
                arrays.setdefault(id(pointer.mem), []).append(array)
                pointers.setdefault(id(pointer.mem), {})[id(pointer)] = pointer
        for key, each in pointers.items():
            several = list(each.values())
            first = next((one for one in arrays[key] if id(one) in names), arrays[key][0])
            found_one = self._one(several, _describe(first, names))
            (found.stays if isinstance(found_one, Stay) else found.pieces).append(found_one)  # type: ignore[arg-type]
        return found

    def _one(self, pointers: list[Any], what: str) -> Piece | Stay:
        memory = pointers[0].mem
        # what a name of this function and the count itself refer to: less in newer versions of Python
        alone = object()
        own = sys.getrefcount(alone)
        # beside these only the pointers, and maybe the list of all objects
        others = sys.getrefcount(memory) - len(pointers) - own - gc.is_tracked(memory)
        if type(memory).__name__ not in OWN:
            why = FOREIGN
        elif others > 0:
            why = UNKNOWN
        else:
            return _Allocation(self._runtime, pointers, what)
        return Stay(self.name, what, int(memory.size), why, int(memory.ptr))

    def wait(self) -> None:
        self._runtime.wait(sorted(self._devices))

    def give_back(self) -> None:
        self._runtime.give_back(sorted(self._devices))

    def held_bytes(self) -> int | None:
        return self._runtime.used_bytes(sorted(self._devices))

    def cached_bytes(self) -> int:
        return self._runtime.free_bytes(sorted(self._devices))


class _Allocation(Piece):
    framework = "cupy"

    def __init__(self, runtime: Runtime, pointers: list[Any], what: str) -> None:
        memory = pointers[0].mem
        self._runtime, self._pointers, self.what = runtime, pointers, what
        self.size_bytes, self.address = int(memory.size), int(memory.ptr)
        self._device_id = int(memory.device_id)
        self._offsets = [int(pointer.ptr) - self.address for pointer in pointers]
        self._host: Any = None
        self._away = False

    def copy(self, pinned: bool) -> None:
        self._host = self._runtime.copy_out(self._pointers[0].mem, pinned)
        # pinned memory says how much it is
        self.host_bytes = int(getattr(getattr(self._host, "mem", None), "size", self.size_bytes))

    def free(self) -> None:
        if not self._away:
            nothing = self._runtime.nothing(self._device_id)
            self._away = True
            for pointer in self._pointers:
                pointer.__init__(nothing, 0)

    def back(self) -> None:
        if self._away:
            memory = self._runtime.copy_in(self._host, self.size_bytes, self._device_id)
            for pointer, offset in zip(self._pointers, self._offsets):  # noqa: B905 - Python 3.9 has no strict
                pointer.__init__(memory, offset)
            self._away = False

    def drop(self) -> None:
        self._host = None


def _describe(array: Any, names: dict[int, str]) -> str:
    shape = "×".join(str(n) for n in array.shape) or "1"
    name = names.get(id(array))
    return f"{name} ({array.dtype}, {shape})" if name else f"an array ({array.dtype}, {shape})"


def _address(host: Any) -> int:
    if isinstance(host, bytearray):
        return ctypes.addressof((ctypes.c_char * len(host)).from_buffer(host))
    return int(host.ptr)
