from __future__ import annotations

import threading
import time
from pathlib import Path

from swangpu.runtime import SystemClock
from swangpu.simulation.driver import SimulatedDriver
from swangpu.simulation.fleet import demo_fleet
from swangpu.telemetry.own_cost import NAMES, ThreadTime
from swangpu.telemetry.sampler import Sampler


def test_what_a_thread_computes_is_counted_and_stays_when_it_ends() -> None:
    cost = ThreadTime(("ours",))
    assert cost.seconds() is None
    done, go_on = threading.Event(), threading.Event()

    def compute() -> None:
        begin = time.thread_time()
        while time.thread_time() - begin < 0.05:
            sum(range(1000))
        done.set()
        go_on.wait(30)

    thread = threading.Thread(target=compute, name="ours", daemon=True)
    thread.start()
    assert done.wait(30)
    used = cost.seconds()
    assert used is not None
    assert 0.04 < used < 5.0
    go_on.set()
    thread.join()
    after = cost.seconds()
    assert after is not None
    assert after >= used


def test_an_id_that_is_used_again_does_not_make_the_sum_fall(tmp_path: Path) -> None:
    name = threading.current_thread().name
    cost = ThreadTime((name,), tmp_path)
    assert cost.seconds() is None  # the system does not tell
    folder = tmp_path / str(threading.get_native_id())
    folder.mkdir()
    sums = []
    for used_ns in (5 * 10**9, 6 * 10**9, 10**9):
        (folder / "schedstat").write_text(f"{used_ns} 0 0\n")
        sums.append(cost.seconds())
    assert sums == [5.0, 6.0, 7.0]


def test_the_samplers_threads_are_found_by_their_names() -> None:
    found: set[str] = set()
    sampler = Sampler(SimulatedDriver(demo_fleet(), SystemClock()), SystemClock())
    with sampler.watch():
        sampler.refresh().result(30)
        found = {thread.name for thread in threading.enumerate()} & set(NAMES)
        assert ThreadTime().seconds() is not None
    sampler.close()
    assert found == {"swangpu-sampler", "swangpu-lookout"}
