"""Nothing that has arrived is slept over, whatever was done with the sockets before."""

from __future__ import annotations

import os

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from swangpu.kernels.waiter import READABLE, WRITABLE, Waiter

#: longer than any test waits for what must come at once
FOREVER_MS = 20_000
PAIRS = 3

steps = st.lists(
    st.tuples(st.sampled_from(["comes", "goes", "read", "wait"]), st.integers(0, PAIRS - 1), st.integers(1, 3)),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_exactly_what_can_be_read_is_told(steps):
    context = zmq.Context()
    waiter = Waiter()
    pairs = []
    try:
        for n in range(PAIRS):
            near, far = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
            pairs.append((near, far))
            near.bind(f"inproc://pair-{n}")
            far.connect(f"inproc://pair-{n}")
            waiter.add_socket(near)
        unread = [0] * PAIRS
        for what, n, count in [*steps, ("wait", 0, 1)]:
            near, far = pairs[n]
            for _ in range(count):
                if what == "comes":
                    far.send(b"x")
                    unread[n] += 1
                elif what == "goes":
                    waiter.used(near)
                    near.send(b"x")
                elif what == "read" and unread[n]:
                    waiter.used(near)
                    near.recv(zmq.NOBLOCK)
                    unread[n] -= 1
            if what == "wait":
                expected = {near for (near, _), left in zip(pairs, unread, strict=True) if left}
                told = waiter.wait(FOREVER_MS if expected else 0)
                assert {socket for socket, _ in told} == expected
                assert len(told) == len(expected)
    finally:
        context.destroy(linger=0)


def test_what_clients_have_sent_is_told_before_what_comes_from_the_kernel():
    context = zmq.Context()
    try:
        waiter, near = Waiter(), []
        for n in range(4):
            one, far = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
            one.bind(f"inproc://in-order-{n}")
            far.connect(f"inproc://in-order-{n}")
            waiter.add_socket(one)
            near.append((one, far))
        assert waiter.wait(0) == []
        # two of them were used, of the others the descriptors tell
        for one, _ in near[1::2]:
            waiter.used(one)
        for _, far in reversed(near):
            far.send(b"x")
        assert [socket for socket, _ in waiter.wait(FOREVER_MS)] == [one for one, _ in near]
    finally:
        context.destroy(linger=0)


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_descriptors_are_told_with_what_is_ready_of_them(pipe):
    read, write = pipe
    waiter = Waiter()
    waiter.watch(read, READABLE)
    assert waiter.wait(0) == []
    os.write(write, b"x")
    assert waiter.wait(FOREVER_MS) == [(read, READABLE)]
    waiter.watch(write, WRITABLE)
    assert sorted(waiter.wait(FOREVER_MS)) == sorted([(read, READABLE), (write, WRITABLE)])
    waiter.unwatch(read)
    assert waiter.wait(FOREVER_MS) == [(write, WRITABLE)]


def test_a_descriptor_is_told_beside_a_socket_that_never_runs_dry(pipe):
    read, write = pipe
    context = zmq.Context()
    try:
        near, far = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        near.bind("inproc://busy")
        far.connect("inproc://busy")
        waiter = Waiter()
        waiter.watch(read, READABLE)
        waiter.add_socket(near)
        for _ in range(10):
            far.send(b"x")
        assert waiter.wait(FOREVER_MS) == [(near, READABLE)]
        os.write(write, b"x")
        assert waiter.wait(FOREVER_MS) == [(near, READABLE), (read, READABLE)]
        waiter.remove_socket(near)
        assert waiter.wait(FOREVER_MS) == [(read, READABLE)]
    finally:
        context.destroy(linger=0)
