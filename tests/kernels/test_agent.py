"""The agent with real kernels: everything that works without it works with it."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from behind_agent import TIMEOUT_S, Attached, outputs_of, reply_to, text_of

from readiness import wait_until_ready
from swangpu.kernels import registry
from swangpu.kernels.bindings import BINDINGS, Binding

GPU = {"CUDA_VISIBLE_DEVICES": "GPU-1"}


def test_python_gets_the_shares_environment(kernel: Attached) -> None:
    assert kernel.run("import os; print(os.environ['CUDA_VISIBLE_DEVICES'])") == "GPU-1\n"


def test_a_variable_can_be_unset(attach: Callable[..., Attached], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "of-somebody-else")
    kernel = attach("python3", {**GPU, "CUDA_MPS_PIPE_DIRECTORY": None})
    assert kernel.run("import os; print(os.environ.get('CUDA_MPS_PIPE_DIRECTORY'))") == "None\n"


def test_another_language(attach: Callable[..., Attached]) -> None:
    kernel = attach("bash", GPU)
    assert kernel.run("echo $CUDA_VISIBLE_DEVICES").strip() == "GPU-1"
    kernel.ask("close", message="wait")
    held = kernel.client.execute("echo on")
    kernel.ask("open")
    assert any("on" in text_of(m) for m in outputs_of(kernel.client, held))


def test_a_plain_kernel_has_no_agent(attach: Callable[..., Attached]) -> None:
    kernel = attach("python3", None)
    assert int(kernel.run("import os; print(os.getppid())")) == os.getpid()
    assert not kernel.record_path.exists()


def test_the_record_tells_the_truth_and_is_private(kernel: Attached) -> None:
    record = kernel.record
    assert registry.alive(record)
    assert record["kernel_pid"] == int(kernel.run("import os; print(os.getpid())"))
    assert record["agent_pid"] == kernel.manager.provisioner.pid
    for secret in (kernel.record_path, Path(record["socket"]), Path(record["inner_file"])):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_the_agent_is_small(kernel: Attached) -> None:
    assert psutil.Process(kernel.record["agent_pid"]).memory_info().rss < 40e6


def test_input(kernel: Attached) -> None:
    answers = []

    def answer(message: dict) -> None:  # type: ignore[type-arg]
        answers.append(message["content"]["prompt"])
        kernel.client.input("42")

    out: list[str] = []
    kernel.client.execute_interactive(
        "print(int(input('how many? ')) + 1)",
        timeout=TIMEOUT_S,
        stdin_hook=answer,
        output_hook=lambda m: out.append(text_of(m)),
    )
    assert answers == ["how many? "]
    assert "".join(out) == "43\n"


def test_a_big_message_both_ways(kernel: Attached) -> None:
    kernel.run(f"text = '{'x' * 5_000_000}'")
    assert len(kernel.run("print(text)")) == 5_000_001


def test_two_clients_get_their_own_replies(kernel: Attached) -> None:
    other = kernel.connect()
    mine, theirs = kernel.client.execute("a = 1"), other.execute("b = 2")
    assert reply_to(kernel.client, mine)["content"]["status"] == "ok"
    assert reply_to(other, theirs)["content"]["status"] == "ok"
    # both see everything that is published
    assert outputs_of(kernel.client, theirs)


@pytest.mark.parametrize("name", ["python3", "bash"])
def test_interrupt_while_running(attach: Callable[..., Attached], name: str) -> None:
    kernel = attach(name, GPU)
    code = {
        "python3": "print('begun')\nimport time; time.sleep(60)",
        # no command of its own: bash may not hear of an interrupt between two of them
        "bash": "echo begun; while :; do :; done",
    }[name]
    running = kernel.client.execute(code)
    while "begun" not in text_of(kernel.client.get_iopub_msg(timeout=TIMEOUT_S)):
        pass
    kernel.manager.interrupt_kernel()
    assert reply_to(kernel.client, running)["content"]["status"] != "ok"


def test_restart_keeps_share_ports_and_id(kernel: Attached) -> None:
    before, ports = kernel.record, kernel.manager.ports
    kernel.run("lost = 1")
    kernel.manager.restart_kernel(now=True)
    wait_until_ready(kernel.client, TIMEOUT_S)
    assert kernel.manager.ports == ports
    assert kernel.run("import os; print(os.environ['CUDA_VISIBLE_DEVICES'], 'lost' in globals())") == "GPU-1 False\n"
    assert kernel.record["agent_pid"] != before["agent_pid"]
    assert not registry.alive(before)


def test_attach_and_detach_by_restart(attach: Callable[..., Attached]) -> None:
    kernel = attach("python3", None)
    for env in ({"CUDA_VISIBLE_DEVICES": "GPU-7"}, None, {"CUDA_VISIBLE_DEVICES": "GPU-8"}):
        if env is None:
            del BINDINGS.of_kernel[kernel.id]
        else:
            BINDINGS.of_kernel[kernel.id] = Binding("s-2", env)
        kernel.manager.restart_kernel(now=True)
        wait_until_ready(kernel.client, TIMEOUT_S)
        expected = env["CUDA_VISIBLE_DEVICES"] if env else "None"
        assert kernel.run("import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'))") == f"{expected}\n"
        assert kernel.record_path.exists() == (env is not None)


def test_a_polite_shutdown_leaves_nothing(kernel: Attached) -> None:
    record = kernel.record
    agent = psutil.Process(record["agent_pid"])
    kernel.manager.shutdown_kernel()
    assert not agent.is_running()
    assert registry.process_start(record["kernel_pid"]) is None
    assert not kernel.record_path.exists()
    assert not Path(record["socket"]).exists()
    assert not Path(record["inner_file"]).exists()


def test_the_agent_ends_as_its_kernel_does(kernel: Attached) -> None:
    process = kernel.manager.provisioner.process
    kernel.client.execute("import os; os._exit(7)")
    assert process.wait(TIMEOUT_S) == 7


def test_a_killed_kernel_is_seen_as_killed(kernel: Attached) -> None:
    process = kernel.manager.provisioner.process
    os.kill(kernel.record["kernel_pid"], signal.SIGKILL)
    assert process.wait(TIMEOUT_S) == -signal.SIGKILL


def test_a_killed_agent_takes_its_kernel_along(kernel: Attached) -> None:
    record = kernel.record
    os.kill(record["agent_pid"], signal.SIGKILL)
    psutil.wait_procs([psutil.Process(record["kernel_pid"])], timeout=TIMEOUT_S)
    assert registry.process_start(record["kernel_pid"]) is None


def test_stop_ends_a_kernel_that_does_not_listen(kernel: Attached) -> None:
    process = kernel.manager.provisioner.process
    kernel.run("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    kernel.ask("stop")
    assert process.wait(TIMEOUT_S) == -signal.SIGKILL


def test_a_command_that_does_not_exist(attach: Callable[..., Attached], runtime_dir: Path) -> None:
    kernel = attach("python3", GPU)
    kernel.manager.kernel_spec.argv[0] = "/does/not/exist"
    kernel.manager.restart_kernel(now=True)
    assert kernel.manager.provisioner.process.wait(TIMEOUT_S) == 127


def test_rubbish_at_the_ports_and_at_the_door(kernel: Attached) -> None:
    import zmq

    context, opened = zmq.Context(), []
    for channel in ("shell", "control", "stdin"):
        socket = context.socket(zmq.DEALER)
        socket.linger = 0
        socket.connect(f"tcp://{kernel.manager.ip}:{getattr(kernel.manager, channel + '_port')}")
        socket.send_multipart([b"hello"])
        socket.send_multipart([b"<IDS|MSG>", b"forged", b"{", b"[]", b"", b"{}"])
        opened.append(socket)
    import socket as sockets

    with sockets.socket(sockets.AF_UNIX) as door:
        door.connect(kernel.record["socket"])
        door.sendall(b'not json\n[]\n{"do": "dance"}\n')
        received = b""
        while received.count(b"\n") < 3:
            received += door.recv(65536)
    assert received.count(b'"ok": false') == 3
    assert kernel.run("print('fine')") == "fine\n"
    for socket in opened:
        socket.close()
    context.destroy(linger=0)
