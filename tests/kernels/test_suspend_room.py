"""How much host memory a kernel may take to be put aside: what does not fit is not begun, and said."""

from __future__ import annotations

import asyncio
import sys

import pytest
from behind_agent import Attached
from suspend_bench import Bench, only_checkpoint

from suspend.sim import MIB
from swangpu.ports import Suspension

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cuda-checkpoint is there for Linux only")


#: what moves no more than it may
MODEST = """
import swangpu_kernel.offload as o
asked = []
def out(budget_bytes=None):
    asked.append(budget_bytes)
    if budget_bytes < 10:
        return {"ok": False, "moved_bytes": 0, "error": "It needs 10 B.", "code": "no_room"}
    return {"ok": True, "moved_bytes": 10, "stays_bytes": 0}
o.out, o.back = out, lambda: {"ok": True}
"""


def test_what_would_take_more_host_memory_than_is_left_is_not_begun(fit: Attached, bench: Bench) -> None:
    done = bench.suspend(fit, budget_bytes=63 * MIB)
    assert (done.method, done.frees, done.saved_bytes, done.code) == ("gate", False, 0, "no_room")
    assert done.text == "It needs 67 MB of host memory, and 66 MB are left for paused sessions."
    assert bench.cuda.actions() == []
    bench.resume(fit)
    assert fit.run("print(count)") == "41\n"
    assert bench.suspend(fit, budget_bytes=64 * MIB) == Suspension("checkpoint", 64 * MIB)
    assert bench.suspend(fit, budget_bytes=0) == Suspension("checkpoint", 64 * MIB), "it is there already"
    bench.resume(fit)
    fit.run(MODEST)
    assert bench.suspend(fit, "offload", budget_bytes=9).text == "It needs 10 B."
    bench.resume(fit)
    assert bench.suspend(fit, "offload", budget_bytes=10) == Suspension("offload", 10)
    bench.resume(fit)
    assert fit.run("print(asked, count)") == "[9, 10] 41\n"


def test_of_what_nobody_measured_all_that_was_allowed_counts(fit: Attached, bench: Bench) -> None:
    fit.ask("close")
    fit.ask("aside", method="checkpoint")
    asyncio.run(only_checkpoint(bench, fit))
    bench.server()
    assert bench.suspend(fit, budget_bytes=100 * MIB) == Suspension("checkpoint", 100 * MIB)
    bench.resume(fit)
