"""Ports of kernels are not those that outgoing connections take."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
import zmq

from swangpu.kernels import freeports, relay
from swangpu.kernels.freeports import free_port


def test_it_is_below_what_the_system_picks_itself(tmp_path: Path) -> None:
    given = tmp_path / "range"
    given.write_text("20005\t60999\n")
    assert {free_port("127.0.0.1", given) for _ in range(50)} <= set(range(20000, 20005))


def test_where_the_system_picks_all_ports_it_picks_this_one(tmp_path: Path) -> None:
    given = tmp_path / "range"
    given.write_text("1024 65000\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port("127.0.0.1", given)))
    assert freeports.LOWEST <= free_port("127.0.0.1", tmp_path / "missing") < freeports.USUAL_RANGE_START


def test_a_port_that_somebody_has_for_a_moment_is_tried_again() -> None:
    context = zmq.Context()
    wanted = context.socket(zmq.ROUTER)
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    gone = threading.Timer(0.3, taken.close)
    gone.start()
    try:
        relay._bind(wanted, f"tcp://127.0.0.1:{port}")
        assert wanted.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").endswith(str(port).encode())
    finally:
        gone.join()
        wanted.close(0)
        context.term()


def test_a_port_that_stays_taken_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "BIND_S", 0.1)
    context = zmq.Context()
    wanted = context.socket(zmq.ROUTER)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(zmq.ZMQError) as raised:
            relay._bind(wanted, f"tcp://127.0.0.1:{taken.getsockname()[1]}")
    assert raised.value.errno == zmq.EADDRINUSE
    wanted.close(0)
    context.term()
