"""The agent's sockets, without a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from swangpu.kernels.relay import CHANNELS, Relay
from swangpu.kernels.waiter import Waiter


@pytest.fixture
def waiter() -> Waiter:
    return Waiter()


@pytest.fixture
def inner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    # the path of a socket is short
    monkeypatch.chdir(tmp_path)
    return {"transport": "ipc", "ip": "inner", **{f"{c}_port": n for n, c in enumerate(CHANNELS)}}


@pytest.fixture
def relay(inner: dict[str, object], waiter: Waiter) -> Iterator[Relay]:
    relay = Relay({**inner, "ip": "outer"}, inner, waiter)
    yield relay
    relay.close()


def test_a_kernel_is_heard_when_it_is_and_not_before(relay: Relay, waiter: Waiter) -> None:
    relay.on_monitor()
    assert not relay.kernel_heard, "woken for nothing"
    kernel = zmq.Context()
    try:
        output = kernel.socket(zmq.PUB)
        output.bind(f"ipc://inner-{CHANNELS.index('iopub')}")
        while not relay.kernel_heard:
            ready = waiter.wait(20_000)
            assert ready, "nothing is heard of the kernel"
            if any(source is relay.monitor for source, _ in ready):
                relay.on_monitor()
        relay.on_monitor()
    finally:
        kernel.destroy(linger=0)


def test_what_a_kernel_says_while_nobody_reads_is_not_lost(relay: Relay) -> None:
    kernel = zmq.Context()
    try:
        output = kernel.socket(zmq.XPUB)
        # it would drop what does not fit; here it waits, and then says so
        output.setsockopt(zmq.XPUB_NODROP, 1)
        output.setsockopt(zmq.SNDTIMEO, 10_000)
        output.setsockopt(zmq.RCVTIMEO, 10_000)
        output.bind(f"ipc://inner-{CHANNELS.index('iopub')}")
        assert output.recv() == b"\x01", "the agent listens"
        for _ in range(10_000):
            output.send(b"x" * 600)
        relay.inner["iopub"].setsockopt(zmq.RCVTIMEO, 10_000)
        for _ in range(10_000):
            relay.inner["iopub"].recv()
    finally:
        kernel.destroy(linger=0)


def test_it_can_be_closed_when_it_could_not_connect_again(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise zmq.ZMQError(24)

    monkeypatch.setattr(relay, "_socket", refuse)
    with pytest.raises(zmq.ZMQError):
        relay.connect_again()
    relay.close()
    assert all(socket.closed for socket in relay.outer.values())


def test_another_kernel_is_heard_anew(relay: Relay, waiter: Waiter) -> None:
    before = set(relay.inner.values())
    relay.connect_again()
    assert not relay.kernel_heard
    assert not before & set(relay.inner.values())
    assert waiter.wait(0) == [], "what was closed is not waited for"
