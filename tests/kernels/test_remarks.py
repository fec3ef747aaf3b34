"""What an agent says in the output of the next cell: once, where somebody reads it, and only while it is true."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from behind_agent import Attached, outputs_of, text_of

from swangpu.kernels.remarks import Remarks
from swangpu.kernels.saying import hint, say
from swangpu.ports import Remark, Saying


def remark(key: str, text: str = "T4 goes back at 18:10.", until: float | None = None) -> dict[str, Any]:
    return {"key": key, "text": text, "until": until}


def test_each_is_made_once_under_its_key() -> None:
    remarks = Remarks()
    remarks.put([remark("a", "one"), remark("b", "two")])
    assert remarks.take("m1", 0.0) == ["one", "two"]
    remarks.put([remark("a", "one"), remark("c", "three")])
    assert remarks.take("m2", 0.0) == ["three"]


def test_what_is_no_longer_true_is_not_said() -> None:
    remarks = Remarks()
    remarks.put([remark("a")])
    remarks.put([])
    assert remarks.take("m1", 0.0) == []
    remarks.put([remark("b", until=100.0)])
    assert remarks.take("m2", 100.0) == []


def test_what_a_front_end_asks_for_itself_shows_nothing() -> None:
    remarks = Remarks()
    remarks.put([remark("a", "one")])
    remarks.passes("inspector", read=False)
    remarks.passes("cell", read=True)
    assert remarks.take("inspector", 0.0) == []
    assert remarks.take("cell", 0.0) == ["one"]


@pytest.mark.parametrize("rubbish", [None, "text", {}, [None, 1, {"key": "a"}, {"key": "b", "text": 3}]])
def test_rubbish_says_nothing(rubbish: object) -> None:
    remarks = Remarks()
    remarks.put(rubbish)
    assert remarks.take("m1", 0.0) == []


def test_what_helps_is_said_in_the_kernels_own_way() -> None:
    both = ("extend", "release")
    assert hint(both, magics=True) == "`%gpu extend 1h` keeps it longer, `%gpu release` gives it back."
    assert hint(both, magics=False) == "Extend or Release: in the GPU panel."
    assert hint((), magics=True) == ""


@pytest.fixture(params=["python3", "bash"])
def any_kernel(request: pytest.FixtureRequest, attach: Callable[..., Attached]) -> Attached:
    return attach(request.param, {"CUDA_VISIBLE_DEVICES": "GPU-1"})


def test_the_next_cell_of_any_language_says_it_once_in_its_own_output(any_kernel: Attached) -> None:
    client = any_kernel.client
    any_kernel.ask("say", remarks=[remark("a")])
    told = outputs_of(client, client.execute("echo 1" if any_kernel.manager.kernel_name == "bash" else "print(1)"))
    kinds = [m["header"]["msg_type"] for m in told]
    said = told[kinds.index("stream")]
    assert said["content"] == {"name": "stderr", "text": "T4 goes back at 18:10.\n"}
    assert kinds.index("execute_input") < kinds.index("stream") < len(kinds) - 1
    any_kernel.ask("say", remarks=[remark("a")])
    assert "goes back" not in any_kernel.run("echo 2" if any_kernel.manager.kernel_name == "bash" else "print(2)")


def test_a_cell_that_was_sent_before_says_it_when_it_begins(kernel: Attached, tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = (
        f"import pathlib, time\nprint('on', flush=True)\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)"
    )
    first = kernel.client.execute(code)
    while "on" not in text_of(kernel.client.get_iopub_msg(timeout=60)):
        pass
    second = kernel.client.execute("print(2)")
    kernel.ask("say", remarks=[remark("a")])
    go.touch()
    assert "goes back" not in "".join(map(text_of, outputs_of(kernel.client, first)))
    assert "goes back" in "".join(map(text_of, outputs_of(kernel.client, second)))


def test_a_silent_execution_does_not_use_it_up(kernel: Attached) -> None:
    kernel.ask("say", remarks=[remark("a")])
    client = kernel.client
    for settings in ({"silent": True}, {"store_history": False}):
        assert "goes back" not in "".join(map(text_of, outputs_of(client, client.execute("print(1)", **settings))))
    assert "goes back" in kernel.run("print(2)")


def test_what_is_over_by_the_clock_is_not_said_whoever_is_away(kernel: Attached) -> None:
    kernel.ask("say", remarks=[remark("a", until=time.time() - 1), remark("b", "T4 is slow.", time.time() + 600)])
    out = kernel.run("print(1)")
    assert "goes back" not in out
    assert "T4 is slow." in out


def test_a_held_cells_line_changes_in_place_and_goes_when_it_begins(kernel: Attached) -> None:
    kernel.ask("close", message="Getting your GPU back …")
    held = kernel.client.execute("print('done')")
    while kernel.ask("status")["held"] != 1:
        time.sleep(0.01)
    for place in ("3rd", "3rd", "2nd"):
        kernel.ask("say", remarks=[remark("a")], waiting=f"Waiting for a GPU: {place} in the queue.")
    kernel.ask("open")
    # who tells may be late: an open gate stays open
    kernel.ask("say", remarks=[remark("a")], waiting="Waiting for a GPU: next in the queue.")
    told = [m for m in outputs_of(kernel.client, held) if m["header"]["msg_type"] in ("stream", "clear_output")]
    assert [text_of(m).strip() or m["content"] for m in told][:6] == [
        "Getting your GPU back …",
        {"wait": True},
        "Waiting for a GPU: 3rd in the queue.",
        {"wait": True},
        "Waiting for a GPU: 2nd in the queue.",
        {"wait": False},
    ]
    assert [text_of(m).strip() for m in told][6:] == ["T4 goes back at 18:10.", "done"]
    assert not kernel.ask("status")["closed"]


def test_what_the_server_says_arrives_with_what_helps(kernel: Attached) -> None:
    saying = Saying((Remark("a", "T4 goes back at 18:10.", ("release",)),))
    asyncio.run(say(Path(kernel.record["socket"]), saying, magics=True))
    assert kernel.ask("status")["remarks"] == 1
    assert "T4 goes back at 18:10. `%gpu release` gives it back." in kernel.run("1")
