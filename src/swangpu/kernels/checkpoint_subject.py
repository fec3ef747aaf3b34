"""The process that the suspend test suspends: it writes a pattern to a device, and says later whether it is there.

Started as ``python -m swangpu.kernels.checkpoint_subject hold BYTES`` or ``… look`` (how much of the device is free).
It talks in lines of JSON and takes the first device that it sees. It uses the driver's calls alone, by ctypes: nothing
needs to be installed.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["DriverError", "Gpu", "main"]

BLOCK = 1 << 22
LIBRARY = "libcuda.so.1"


class DriverError(Exception):
    """The driver did not do what it was asked for; the message is for a person."""


class Gpu:
    """The first device that this process sees, with its primary context."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError:
            raise DriverError(f"the driver's library {LIBRARY} was not found") from None
        self._call("cuInit", ctypes.c_uint(0))
        device, self._context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)
        self._call("cuCtxSetCurrent", self._context)

    def free_bytes(self) -> int:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def allocate(self, size: int) -> int:
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value

    def write(self, address: int, data: bytes) -> None:
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), data, ctypes.c_size_t(len(data)))

    def read(self, address: int, size: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        self._call("cuMemcpyDtoH_v2", buffer, ctypes.c_uint64(address), ctypes.c_size_t(size))
        return buffer.raw

    def _call(self, name: str, *arguments: Any) -> None:
        try:
            function = getattr(self._library, name)
        except AttributeError:
            raise DriverError(f"the driver has no {name}") from None
        code = function(*arguments)
        if code:
            raise DriverError(f"{name.removesuffix('_v2')} answers {self._words(code)}")

    def _words(self, code: int) -> str:
        text = ctypes.c_char_p()
        if getattr(self._library, "cuGetErrorString", lambda *_: 1)(ctypes.c_int(code), ctypes.byref(text)):
            return f"error {code}"
        return (text.value or b"").decode(errors="replace") or f"error {code}"


def _blocks(size: int) -> Iterator[tuple[int, bytes]]:
    """The pattern: where each block begins and what is in it. No two blocks are the same."""
    for start in range(0, size, BLOCK):
        length = min(BLOCK, size - start)
        seed = hashlib.sha256(start.to_bytes(8, "little")).digest()
        yield start, (seed * (length // len(seed) + 1))[:length]


def _say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def _hold(gpu: Gpu, size: int) -> None:
    address = gpu.allocate(size)
    for start, data in _blocks(size):
        gpu.write(address + start, data)
    _say(ready=True)
    for line in sys.stdin:
        if line.strip() == "compare":
            _say(same=all(gpu.read(address + start, len(data)) == data for start, data in _blocks(size)))


def main(arguments: Sequence[str]) -> int:
    """Do what the words say, until the other side closes our input."""
    try:
        gpu = Gpu()
        if arguments[0] == "look":
            _say(free_bytes=gpu.free_bytes())
        else:
            _hold(gpu, int(arguments[1]))
    except DriverError as error:
        _say(error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
