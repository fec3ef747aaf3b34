"""Real kernels that stay on their device behind a closed gate, and are moved out of it later."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest
from behind_agent import Attached
from suspend_bench import Bench, subject

from swangpu.errors import Unavailable
from swangpu.ports import Suspension

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cuda-checkpoint is there for Linux only")

#: a kernel with 10 bytes on its device
TEN_BYTES = """
import swangpu_kernel.offload as o
tried = []
def stays(most_bytes):
    tried.append(most_bytes)
    return {"ok": most_bytes >= 10, "resident_bytes": 10, "error": "It has more."}
def out():
    tried.append("out")
    return {"ok": True, "moved_bytes": 10, "stays_bytes": 0}
def back():
    tried.append("back")
    return {"ok": True}
o.stays, o.out, o.back = stays, out, back
"""
STAYS = Suspension("resident", resident_bytes=10)


@pytest.fixture
def ten(fit: Attached) -> Attached:
    fit.run(TEN_BYTES)
    return fit


def test_what_may_stay_does_and_the_next_cell_goes_on_there(ten: Attached, bench: Bench) -> None:
    assert bench.suspend(ten, "offload", "checkpoint", stays_bytes=10) == STAYS
    assert STAYS.frees
    assert ten.ask("status")["closed"]
    held = ten.client.execute("count += 1; print(count)")
    assert bench.resume(ten), "a cell had waited"
    assert ten.client.get_shell_msg(timeout=60)["parent_header"]["msg_id"] == held
    assert ten.run("print(tried)") == "[10]\n", "nothing was moved"
    assert bench.cuda.actions() == []
    assert bench.suspend(ten, "offload", stays_bytes=9) == Suspension("offload", 10)


def test_it_is_moved_out_later_with_its_gate_closed_all_the_time(ten: Attached, bench: Bench) -> None:
    bench.suspend(ten, "offload", stays_bytes=10)
    assert bench.suspend(ten, "offload", stays_bytes=10) == STAYS, "asked again it says the same"
    held = ten.client.execute("print('it runs')")
    assert bench.suspend(ten, "offload") == Suspension("offload", 10)
    assert ten.ask("status")["held"] == 1
    bench.resume(ten)
    assert ten.client.get_shell_msg(timeout=60)["parent_header"]["msg_id"] == held
    assert ten.run("print(tried)") == "[10, 10, 'out', 'back']\n"


def test_the_next_server_knows_that_it_has_stayed(ten: Attached, bench: Bench) -> None:
    bench.suspend(ten, "offload", stays_bytes=10)
    bench.server()
    assert ten.ask("status")["aside"] == "resident"
    bench.resume(ten)
    assert ten.run("print(tried, count)") == "[10] 41\n"
    bench.suspend(ten, "offload", stays_bytes=10)
    bench.server()
    assert bench.suspend(ten, "offload") == Suspension("offload", 10)
    bench.resume(ten)


def test_what_was_begun_to_be_moved_does_not_stay(ten: Attached, bench: Bench) -> None:
    bench.suspend(ten, "offload")
    assert bench.suspend(ten, "offload", stays_bytes=10) == Suspension("offload", 10)
    bench.resume(ten)


def test_where_a_suspended_process_goes_first_nothing_stays(ten: Attached, bench: Bench) -> None:
    assert bench.suspend(ten, "checkpoint", "offload", stays_bytes=10**9).method == "checkpoint"
    bench.resume(ten)


def test_one_that_has_died_meanwhile_does_not_come_back(ten: Attached, bench: Bench) -> None:
    bench.suspend(ten, "offload", stays_bytes=10)
    known = subject(ten)
    os.kill(known.pid, signal.SIGKILL)
    agent = ten.manager.provisioner.process  # type: ignore[union-attr]
    agent.wait(60)
    with pytest.raises(Unavailable):
        asyncio.run(bench.suspender.resume(known))
