"""A real agent's gate, and what it keeps while nobody listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from behind_agent import TIMEOUT_S, Attached, outputs_of, reply_to, text_of

from readiness import wait_until_ready
from swangpu.kernels import registry

WAIT = "Getting your GPU back …"


@pytest.fixture
def closed(kernel: Attached) -> Iterator[Attached]:
    """A kernel whose gate is closed."""
    kernel.run("seen = []")
    assert kernel.ask("close", message=WAIT)["closed"]
    yield kernel
    if registry.process_start(kernel.manager.provisioner.pid) and kernel.record_path.exists():
        kernel.ask("open")


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def holds(kernel: Attached, count: int) -> None:
    eventually(lambda: kernel.ask("status")["held"] == count)


def test_held_cells_go_on_in_order_and_their_progress_is_taken_away(closed: Attached) -> None:
    cells = [closed.client.execute(f"seen.append({i}); print(seen)") for i in range(3)]
    holds(closed, 3)
    assert closed.ask("status")["busy"]
    closed.ask("open")
    told = [outputs_of(closed.client, cell) for cell in cells]
    kinds = [m["header"]["msg_type"] for m in told[0]]
    assert kinds.index("stream") < kinds.index("clear_output") < kinds.index("execute_input")
    assert text_of(told[0][kinds.index("stream")]) == f"{WAIT}\n"
    assert ["".join(map(text_of, messages)) for messages in told][1:] == ["[0, 1]\n", "[0, 1, 2]\n"]
    for cell in cells:
        assert reply_to(closed.client, cell)["content"]["status"] == "ok"


def test_kernel_info_is_answered_meanwhile(closed: Attached) -> None:
    held = closed.client.execute("1")
    asked = closed.client.kernel_info()
    assert reply_to(closed.client, asked)["content"]["implementation"] == "ipython"
    assert [m["content"]["execution_state"] for m in outputs_of(closed.client, asked)] == ["busy", "idle"]
    other = closed.connect()  # as a tab that is opened meanwhile
    holds(closed, 1)
    closed.ask("open")
    assert reply_to(closed.client, held)["content"]["status"] == "ok"
    del other


@pytest.mark.parametrize("mode", ["signal", "message"])
def test_interrupt_while_held(closed: Attached, mode: str) -> None:
    closed.manager.kernel_spec.interrupt_mode = mode
    first, second = closed.client.execute("seen.append(1)"), closed.client.execute("seen.append(2)")
    holds(closed, 2)
    closed.manager.interrupt_kernel()
    failed = reply_to(closed.client, first)["content"]
    assert (failed["status"], failed["ename"]) == ("error", "KeyboardInterrupt")
    assert reply_to(closed.client, second)["content"]["status"] == "aborted"
    assert any(m["header"]["msg_type"] == "error" for m in outputs_of(closed.client, first))
    closed.ask("open")
    assert closed.run("print(seen)") == "[]\n"


def test_interrupt_of_what_runs_when_the_gate_closed(kernel: Attached) -> None:
    running = kernel.client.execute("print('begun')\nimport time\nwhile True: time.sleep(0.01)")
    while "begun" not in text_of(kernel.client.get_iopub_msg(timeout=TIMEOUT_S)):
        pass
    kernel.ask("close")
    waiting = kernel.client.execute("1")
    holds(kernel, 1)
    kernel.manager.interrupt_kernel()
    # in whatever order: the held one is the agent's to abort, the running one the kernel's to end
    replies: dict[str, str] = {}
    while not {running, waiting} <= replies.keys():
        # a slow kernel was asked more than once whether it is ready: answers to that come here too
        message = kernel.client.get_shell_msg(timeout=TIMEOUT_S)
        replies[message["parent_header"]["msg_id"]] = message["content"]["status"]
    assert (replies[running], replies[waiting]) == ("error", "aborted")


def test_a_silent_execution_leaves_no_progress(closed: Attached) -> None:
    silent = closed.client.execute("1", silent=True)
    holds(closed, 1)
    closed.ask("open")
    kinds = {m["header"]["msg_type"] for m in outputs_of(closed.client, silent)}
    assert "stream" not in kinds
    assert "clear_output" not in kinds


def test_shutdown_while_held(closed: Attached) -> None:
    held = closed.client.execute("1")
    holds(closed, 1)
    closed.manager.shutdown_kernel()
    assert reply_to(closed.client, held)["content"]["status"] == "error"


def test_a_restart_opens_the_gate(closed: Attached) -> None:
    closed.client.execute("1")
    holds(closed, 1)
    closed.manager.restart_kernel(now=True)
    wait_until_ready(closed.client, TIMEOUT_S)
    assert closed.run("print('on')") == "on\n"


def leave(kernel: Attached) -> None:
    """As a server that is killed: all its connections end."""
    kernel.client.stop_channels()
    eventually(lambda: kernel.ask("status")["outage"])


def test_who_comes_back_gets_what_was_said_meanwhile_in_order(kernel: Attached, tmp_path: Path) -> None:
    go = tmp_path / "go"
    me = kernel.client.session.session
    cell = kernel.client.execute(
        f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n"
        "for i in range(300): print(i, flush=True)"
    )
    leave(kernel)
    go.touch()
    eventually(lambda: not kernel.ask("status")["busy"])
    back = kernel.manager.client()
    back.session.session = me
    back.start_channels()
    kernel.clients.append(back)
    back.kernel_info()
    told = outputs_of(back, cell)
    assert "".join(map(text_of, told)).split() == [str(i) for i in range(300)]
    assert reply_to(back, cell)["content"]["status"] == "ok"
    assert kernel.run("print('and on')", back) == "and on\n"


def test_who_listens_before_it_speaks_does_not_take_a_cell_for_ended(kernel: Attached, tmp_path: Path) -> None:
    go = tmp_path / "go"
    me = kernel.client.session.session
    cell = kernel.client.execute(
        f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\nprint('out')"
    )
    leave(kernel)
    back = kernel.manager.client()
    back.session.session = me
    back.iopub_channel.start()
    kernel.clients.append(back)
    go.touch()
    # the kernel's state is told all the same: a server's own socket sees that it is free
    heard = []
    while not heard or heard[-1]["content"].get("execution_state") != "idle":
        heard.append(back.get_iopub_msg(timeout=TIMEOUT_S))
    assert cell not in {m["parent_header"]["msg_id"] for m in heard}
    back.shell_channel.start()
    back.kernel_info()
    assert "".join(map(text_of, outputs_of(back, cell))) == "out\n"
    assert reply_to(back, cell)["content"]["status"] == "ok"


def test_a_cell_that_goes_on_printing_is_told_once_and_in_order(kernel: Attached) -> None:
    me = kernel.client.session.session
    cell = kernel.client.execute("import time\nfor i in range(200): print(i, flush=True); time.sleep(0.005)")
    leave(kernel)
    back = kernel.manager.client()
    back.session.session = me
    back.start_channels()
    kernel.clients.append(back)
    back.kernel_info()
    text = "".join(map(text_of, outputs_of(back, cell))).split()
    # what was told before we left is not told again
    assert text == [str(i) for i in range(int(text[0]), 200)]


def test_a_kernel_that_nobody_comes_back_to_ends(
    attach: Callable[..., Attached], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = registry.write
    monkeypatch.setattr(registry, "write", lambda path, record: write(path, {**record, "alone_limit_s": 1.0}))
    kernel = attach("python3", {})
    process = kernel.manager.provisioner.process
    assert kernel.run("print('as long as somebody is there')")
    kernel.client.stop_channels()
    assert process.wait(TIMEOUT_S) is not None
