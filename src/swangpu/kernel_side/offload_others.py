"""What stays on a device because its library offers no sound way to move it: tensorflow and numba."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from .offload_parts import Found, Framework, Stay

__all__ = ["Numba", "Tensorflow", "numba_loaded", "tensorflow_loaded"]

TENSORFLOW_KEEPS = "tensorflow keeps the memory that it has taken until the kernel ends"
NUMBA_KEEPS = "numba's arrays are known by their address"


class _Staying(Framework):
    def wait(self) -> None:
        """Nothing moves."""

    def give_back(self) -> None:
        """Nothing is given back."""

    def held_bytes(self) -> int | None:
        return None

    def cached_bytes(self) -> int:
        return 0


def tensorflow_loaded() -> Tensorflow | None:
    """None unless the person has imported tensorflow and used a device: asking it earlier would take all of it."""
    context: Any = getattr(sys.modules.get("tensorflow.python.eager.context"), "_context", None)
    tensorflow: Any = sys.modules.get("tensorflow")
    if tensorflow is None or context is None or not context._initialized:
        return None
    return Tensorflow(tensorflow)


class Tensorflow(_Staying):
    """A variable of it has its device for life, and its allocator never gives anything back.

    Parameters
    ----------
    tensorflow : module
    """

    name = "tensorflow"

    def __init__(self, tensorflow: Any) -> None:
        self._config = tensorflow.config

    def find(self, objects: Sequence[Any], names: dict[int, str]) -> Found:
        found = Found()
        for device in self._config.list_logical_devices("GPU"):
            size = int(self._config.experimental.get_memory_info(device.name)["current"])
            if size:
                found.stays.append(Stay(self.name, f"all tensors on {device.name}", size, TENSORFLOW_KEEPS))
        return found


def numba_loaded() -> Numba | None:
    """None unless the person has arrays of numba."""
    module: Any = sys.modules.get("numba.cuda.cudadrv.devicearray")
    kind = getattr(module, "DeviceNDArrayBase", None)
    return Numba(kind) if kind is not None else None


class Numba(_Staying):
    """Kernels of it are given addresses.

    Parameters
    ----------
    kind : type
        That of its arrays on a device.
    """

    name = "numba"

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def find(self, objects: Sequence[Any], names: dict[int, str]) -> Found:
        found = Found()
        for array in [one for one in objects if issubclass(type(one), self._kind)]:
            what = f"{names.get(id(array), 'an array')} ({array.dtype}, {'×'.join(map(str, array.shape)) or '1'})"
            address = int(array.__cuda_array_interface__["data"][0])
            found.stays.append(Stay(self.name, what, int(array.alloc_size), NUMBA_KEEPS, address))
        return found
