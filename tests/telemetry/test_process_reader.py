"""What is read of a process: what may block holds up nobody, and what never changes is read once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest

from swangpu.telemetry.processes import BELIEVED_S, MAX_STUCK, ProcessReader, started_at


class Machine:
    """Some processes block whoever reads their environment, until they are let go."""

    def __init__(self) -> None:
        self.now = 0.0
        self.blocked: dict[int, threading.Event] = {}
        self.asked: Counter[int] = Counter()
        self.answered = threading.Semaphore(0)

    def begun(self, pid: int) -> tuple[str, Mapping[str, str]]:
        self.asked[pid] += 1
        if pid in self.blocked:
            self.blocked[pid].wait(30)
        try:
            return "python", {"SWANGPU_SESSION_ID": f"of {pid}"}
        finally:
            self.answered.release()


@pytest.fixture
def processes() -> Iterator[list[int]]:
    command = [sys.executable, "-c", "input()"]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(MAX_STUCK + 1)]
    yield [child.pid for child in children]
    for child in children:
        child.kill()
        child.wait()
        assert child.stdin is not None
        child.stdin.close()


def test_a_stuck_process_is_known_without_what_blocks_and_told_of_later(processes: list[int]) -> None:
    machine, (stuck, other, *_) = Machine(), processes
    machine.blocked[stuck] = threading.Event()
    reader = ProcessReader(lambda: machine.now, machine.begun)
    found = reader.facts(stuck)
    assert found is not None
    assert found.parent_pid > 0
    assert found.session_id is None
    told = reader.facts(other)
    assert told is not None
    assert told.session_id == f"of {other}"

    machine.blocked[stuck].set()
    assert machine.answered.acquire(timeout=10)
    assert machine.answered.acquire(timeout=10)
    machine.now += BELIEVED_S + 1

    def session() -> str | None:
        machine.now += BELIEVED_S + 1
        again = reader.facts(stuck)
        return again.session_id if again is not None else None

    assert any(session() == f"of {stuck}" for _ in range(10_000))
    assert machine.asked == {stuck: 1, other: 1}


def test_only_so_many_threads_wait(processes: list[int]) -> None:
    machine = Machine()
    machine.blocked = {pid: threading.Event() for pid in processes}
    reader = ProcessReader(lambda: machine.now, machine.begun)
    for pid in processes:
        assert reader.facts(pid) is not None
    assert sum(machine.asked.values()) == MAX_STUCK
    for event in machine.blocked.values():
        event.set()


def test_a_process_that_has_ended_is_none() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert ProcessReader(lambda: 0.0).facts(child.pid) is None
    assert started_at(child.pid) is None


def test_two_processes_are_told_apart_by_when_they_began(processes: list[int]) -> None:
    before = time.time()
    found = ProcessReader(lambda: 0.0).facts(processes[0])
    assert found is not None
    assert found.started_at is not None
    assert abs(found.started_at - before) < 60
    assert started_at(processes[0]) == found.started_at


@pytest.mark.parametrize("pid", [0, -1])
def test_no_process_has_such_an_id(pid: int) -> None:
    assert ProcessReader(lambda: 0.0).facts(pid) is None
    assert started_at(pid) is None
