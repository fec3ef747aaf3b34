"""Moving what jax has on a device: an array gives its buffer up, and is given an equal one.

An array is immutable, and its buffer is not: in some versions (0.6, not 0.10) it can be deleted and another put in.
Whether that goes is tried out on one array first. It helps only where jax gives memory back, which it does with
``XLA_PYTHON_CLIENT_ALLOCATOR=platform``. By default it keeps what it has taken until the process ends; then all stays.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from typing import Any

from .offload_parts import Found, Framework, Piece, Stay

__all__ = ["Jax", "loaded"]

KEEPS = "jax keeps the memory that it has taken; with XLA_PYTHON_CLIENT_ALLOCATOR=platform it would give it back"
SPREAD = "it is spread over several devices"
VERSION = "the arrays of this version of jax can't be moved"
PLATFORMS = frozenset({"gpu", "cuda", "rocm"})


def loaded() -> Jax | None:
    """None unless the person has imported jax and used a device with it."""
    jax: Any = sys.modules.get("jax")
    bridge: Any = sys.modules.get("jax._src.xla_bridge")
    if jax is None or bridge is None or not bridge.backends_are_initialized():
        return None
    if not any(one.platform in PLATFORMS for one in jax.local_devices()):
        return None
    return Jax(jax, PLATFORMS)


class Jax(Framework):
    """Jax in this process.

    Parameters
    ----------
    jax : module
    platforms : collection of str
        What counts as a device.
    """

    name = "jax"

    def __init__(self, jax: Any, platforms: Collection[str]) -> None:
        self._jax, self._platforms = jax, platforms
        self._movable: dict[Any, bool] = {}

    def find(self, objects: Sequence[Any], names: dict[int, str]) -> Found:
        found = Found()
        kept = {device: size for device in self._devices() for size in [_pool_bytes(device)] if size is not None}
        for device, size in kept.items():
            if size:
                found.stays.append(Stay(self.name, f"all arrays on {device}", size, KEEPS))
        groups: dict[tuple[Any, int], list[Any]] = {}
        arrays = {id(one): one for one in self._jax.live_arrays()}
        for array in arrays.values():
            devices = [] if array.is_deleted() else list(array.devices())
            if not devices or devices[0].platform not in self._platforms or devices[0] in kept or not array.nbytes:
                continue
            if len(devices) > 1:
                found.stays.append(Stay(self.name, _describe(array, names), int(array.nbytes), SPREAD))
                continue
            groups.setdefault((devices[0], int(array.unsafe_buffer_pointer())), []).append(array)
        for (device, address), several in groups.items():
            what, size = _describe(several[0], names), int(several[0].nbytes)
            if self._can_move(device):
                found.pieces.append(_Buffer(self._jax, several, what, address))
            else:
                found.stays.append(Stay(self.name, what, size, VERSION, address))
        return found

    def wait(self) -> None:
        """Nothing: a copy to the host waits for what it copies."""

    def give_back(self) -> None:
        """Nothing: what is not pooled goes back by itself."""

    def held_bytes(self) -> int | None:
        return None

    def cached_bytes(self) -> int:
        return 0

    def _devices(self) -> list[Any]:
        return [one for one in self._jax.local_devices() if one.platform in self._platforms]

    def _can_move(self, device: Any) -> bool:
        """Try it on an array of ours, once a device."""
        if device not in self._movable:
            try:
                one = self._jax.device_put(sys.modules["numpy"].arange(3), device)
                piece = _Buffer(self._jax, [one], "", 0)
                piece.copy(False)
                piece.free()
                gone = one.is_deleted()
                piece.back()
                self._movable[device] = bool(gone and one.tolist() == [0, 1, 2] and one.devices() == {device})
            except Exception:  # whatever it is, this version does not do what it must
                self._movable[device] = False
        return self._movable[device]


class _Buffer(Piece):
    framework = "jax"

    def __init__(self, jax: Any, arrays: list[Any], what: str, address: int) -> None:
        self._jax, self._arrays, self.what, self.address = jax, arrays, what, address
        self.size_bytes = int(arrays[0].nbytes)
        self._sharding = arrays[0].sharding
        self._host: Any = None
        self._away = False

    def pinned_bytes(self) -> int:
        return self.size_bytes

    def copy(self, pinned: bool) -> None:
        # an array remembers its copy in host memory; that of another head of the same buffer goes with it
        other = self._jax.device_put(self._arrays[0], self._sharding)
        self._host = sys.modules["numpy"].asarray(other)
        self.host_bytes = self.size_bytes

    def free(self) -> None:
        if not self._away:
            self._away = True
            for array in self._arrays:
                array.delete()

    def back(self) -> None:
        if self._away:
            new = self._jax.device_put(self._host, self._sharding)
            new.block_until_ready()
            for array in self._arrays:
                array._arrays = [new]
            self._away = False

    def drop(self) -> None:
        self._host = None


def _pool_bytes(device: Any) -> int | None:
    """What its allocator has taken of a device; None if it takes and gives back as needed."""
    stats = device.memory_stats()
    if not stats:
        return None
    known = [int(stats[name]) for name in ("pool_bytes", "bytes_reserved", "bytes_in_use") if stats.get(name)]
    return max(known, default=0)


def _describe(array: Any, names: dict[int, str]) -> str:
    shape = "×".join(str(n) for n in array.shape) or "1"
    name = names.get(id(array))
    return f"{name} ({array.dtype}, {shape})" if name else f"an array ({array.dtype}, {shape})"
