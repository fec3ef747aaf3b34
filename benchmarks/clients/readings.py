"""Makes full readings of all devices with one tool and says what they cost; a process of its own for each tool.

Each line on its standard input is answered with one line of JSON, after so many readings as the line says. It runs in
the environment that has the tool, and needs nothing else.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path


def each(read: Callable[[], object]) -> Callable[[int], object]:
    def reads(number: int) -> None:
        for _ in range(number):
            read()

    return reads


def swangpu_driver() -> Callable[[int], object]:
    from swangpu.telemetry.nvml import NvmlDriver

    driver = NvmlDriver(host_pids=True)
    uuids = [device.uuid for device in driver.devices()]
    return each(lambda: [driver.sample(uuid) for uuid in uuids])


def swangpu_sampler() -> Callable[[int], object]:
    """The whole way: the sampler's thread, the history, whoever listens. One after the other, as the rest of them."""
    from swangpu.runtime import SystemClock
    from swangpu.telemetry.nvml import NvmlDriver
    from swangpu.telemetry.sampler import Sampler

    sampler = Sampler(NvmlDriver(host_pids=True), SystemClock(), look_interval_s=0.0)
    come = threading.Semaphore(0)
    go = threading.Semaphore(0)
    left = 1

    def heard(snapshot: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            come.release()
            go.acquire()

    sampler.refresh().result()
    sampler.subscribe(heard)
    sampler.watch()
    come.acquire()

    def read(number: int) -> None:
        nonlocal left
        left = number
        go.release()
        come.acquire()

    return read


def calls_alone() -> Callable[[int], object]:
    """So many plain calls as a full reading makes, through ctypes and nothing else: the floor of this machine."""
    import ctypes

    import pynvml

    pynvml.nvmlInit()
    handle, out = pynvml.nvmlDeviceGetHandleByIndex(0), ctypes.c_uint()
    function, reference = pynvml._nvmlGetFunctionPointer("nvmlDeviceGetPowerUsage"), ctypes.byref(out)
    return each(lambda: [function(handle, reference) for _ in range(46)])


def gpustat() -> Callable[[int], object]:
    import gpustat as tool

    return each(tool.new_query)


def nvitop() -> Callable[[int], object]:
    import nvitop as tool

    devices = tool.Device.all()

    def read() -> None:
        for device in devices:
            with device.oneshot():
                device.as_snapshot()
                for process in device.processes().values():
                    process.as_snapshot()

    return each(read)


def nvdashboard() -> Callable[[int], object]:
    """One reading of each of its panels, as its websockets make them; without the sending."""
    from jupyterlab_nvdashboard.apps import gpu

    panels = []
    for kind in (
        gpu.GPUUtilizationWebSocketHandler,
        gpu.GPUUsageWebSocketHandler,
        gpu.GPUResourceWebSocketHandler,
        gpu.PCIStatsWebSocketHandler,
        gpu.NVLinkThroughputWebSocketHandler,
    ):
        panel = kind.__new__(kind)
        panel.write_message = lambda message: None
        panels.append(panel)
    return each(lambda: [panel.send_data() for panel in panels])


TOOLS = {tool.__name__: tool for tool in (calls_alone, swangpu_driver, swangpu_sampler, gpustat, nvitop, nvdashboard)}


def counted(path: str) -> tuple[int, int]:
    """All calls of the driver so far, and those on the main thread."""
    content = Path(path).read_bytes()
    return int.from_bytes(content[:8], sys.byteorder), int.from_bytes(content[8:16], sys.byteorder)


def main(name: str, counter: str) -> None:
    read = TOOLS[name]()
    read(3)
    print("{}", flush=True)
    for line in sys.stdin:
        number = int(line)
        calls, cpu, wall = counted(counter), time.process_time(), time.perf_counter()
        read(number)
        spent, took = time.process_time() - cpu, time.perf_counter() - wall
        after = counted(counter)
        answer = {
            "cpu_ms": 1000 * spent / number,
            "wall_ms": 1000 * took / number,
            "calls": (after[0] - calls[0]) / number,
            "main_thread_calls": (after[1] - calls[1]) / number,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
