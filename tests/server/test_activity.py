"""A session is idle when neither a cell runs nor its GPU does anything."""

from __future__ import annotations

from dataclasses import replace

from swangpu.domain.sessions import Request, Session, SessionState
from swangpu.domain.telemetry import Sample
from swangpu.ports import KernelInfo
from swangpu.server.activity import Activity

GB = 10**9
HELD = Session("s1", "alice", Request(), SessionState.ACTIVE, 0.0, 1, kernel_ids=("k1",))


class Heard:
    def __init__(self) -> None:
        self.said: list[tuple[str, bool]] = []
        self.cells: dict[str, str] = {}
        self.activity = Activity(lambda session_id, busy: self.said.append((session_id, busy)), self.kernels)

    def kernels(self) -> list[KernelInfo]:
        return [KernelInfo(kernel_id, "s1", state, None, "python3") for kernel_id, state in self.cells.items()]

    def read(self, session: Session = HELD, **fields: object) -> None:
        sample = Sample("GPU-1", 0.0, **fields)  # type: ignore[arg-type]
        self.activity.look([session], lambda _: sample)


def test_a_gpu_that_computes_without_a_cell_is_not_idle() -> None:
    heard = Heard()
    heard.activity.cell("s1", True)
    heard.read(utilization_percent=80.0)
    heard.activity.cell("s1", False)
    assert heard.said == [("s1", True)], "a thread goes on"
    heard.read(utilization_percent=0.0)
    assert heard.said[-1] == ("s1", False)


def test_a_cell_that_only_thinks_is_not_idle() -> None:
    heard = Heard()
    heard.activity.cell("s1", True)
    heard.read(utilization_percent=0.0)
    heard.read(utilization_percent=0.0)
    assert heard.said == [("s1", True)]


def test_without_utilization_memory_that_moves_counts() -> None:
    heard = Heard()
    heard.read(memory_used_bytes=2 * GB)
    heard.read(memory_used_bytes=2 * GB + 1000)
    assert heard.said == [("s1", False)]
    heard.read(memory_used_bytes=3 * GB)
    assert heard.said[-1] == ("s1", True)
    heard.read(memory_used_bytes=3 * GB)
    assert heard.said[-1] == ("s1", False)


def test_what_is_not_known_leaves_it_to_the_kernel() -> None:
    heard = Heard()
    heard.activity.look([HELD], lambda _: None)
    heard.activity.cell("s1", True)
    heard.activity.look([HELD], lambda _: None)
    assert heard.said == [("s1", False), ("s1", True)]


def test_behind_a_closed_gate_the_gpu_says_nothing() -> None:
    heard = Heard()
    heard.read(replace(HELD, state=SessionState.PAUSED), utilization_percent=90.0)
    assert heard.said == []


def test_a_restarted_server_believes_what_is_known_of_the_session() -> None:
    heard = Heard()
    heard.read(replace(HELD, busy=True), utilization_percent=0.0)
    assert heard.said == [("s1", True)], "its cell goes on until the kernel says otherwise"


def test_a_cell_that_waits_at_the_gate_is_told_though_the_gpu_was_at_work_when_the_session_was_paused() -> None:
    heard = Heard()
    heard.activity.cell("s1", True)
    heard.read(utilization_percent=80.0)
    heard.activity.cell("s1", False)
    paused = replace(HELD, state=SessionState.PAUSED)
    heard.activity.cell("s1", True)
    assert heard.said[-1] == ("s1", True)
    assert len(heard.said) == 2, "or nobody brings its GPU back"
    heard.read(paused, utilization_percent=90.0)
    heard.activity.cell("s1", False)
    assert heard.said[-1] == ("s1", False), "interrupted: whose GPU it is now says nothing of it"


def test_a_session_works_as_long_as_one_of_its_kernels_does() -> None:
    heard = Heard()
    heard.cells = {"k1": "busy", "k2": "busy"}
    heard.activity.cell("s1", True)
    heard.activity.cell("s1", True)
    heard.cells["k2"] = "idle"
    heard.activity.cell("s1", False)
    assert heard.said == [("s1", True)], "the cell of the other one runs"
    heard.cells["k1"] = "idle"
    heard.activity.cell("s1", False)
    assert heard.said[-1] == ("s1", False)


def test_what_came_back_with_a_cell_is_believed_to_run_until_the_kernel_says_otherwise() -> None:
    heard = Heard()
    heard.read(utilization_percent=0.0)
    heard.read(replace(HELD, state=SessionState.PAUSED))
    heard.read(replace(HELD, busy=True), utilization_percent=0.0)
    assert heard.said == [("s1", False), ("s1", True)]
    heard.activity.cell("s1", False)
    assert heard.said[-1] == ("s1", False)


def test_a_broker_that_believes_otherwise_is_told_again() -> None:
    heard = Heard()
    heard.read(utilization_percent=0.0)
    assert heard.said == [("s1", False)]
    # by somebody who looked for himself: the cell was over before it was heard of
    heard.read(replace(HELD, busy=True), utilization_percent=0.0)
    assert heard.said == [("s1", False), ("s1", False)]
    heard.read(utilization_percent=0.0)
    assert heard.said == [("s1", False), ("s1", False)]
