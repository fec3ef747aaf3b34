"""The agent's sockets: the ports that clients see, and the connections to the kernel's own.

Identities are kept, so that replies and ``input()`` find their way; shell and stdin share one identity towards the
kernel, since it sends an input request to whoever sent the execution. Curve keys pass through: the kernel's key pair
is the agent's on both sides, as jupyter_client uses it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import zmq
from zmq.backend import Socket as PlainSocket

from swangpu.kernels.waiter import Waiter

__all__ = ["Relay", "receive"]

CHANNELS = ("shell", "control", "stdin", "iopub", "hb")
#: retry quickly while the kernel boots: the default of 100 ms would be felt in every start
CONNECT_RETRY_MS = 5
#: messages of a kernel that wait here before it has to drop some: between socket files the system keeps far fewer bytes
#: than between ports
OUTPUT_WAITS = 20_000
LINGER_MS = 1000
#: how long what a kernel said last is still read after it has ended, in seconds: in all, and without a word
LAST_WORDS_S = 0.3
SILENCE_MS = 20
#: how long a port that is taken is tried again, in seconds: less than a kernel takes to start
BIND_S = 3.0


# pyzmq's own functions for messages of many frames look up an option and combine two enumerations for each frame, which
# is four fifths of what a message costs here, and every cell waits for six: plain numbers, frames that say whether more
# follow, and `send` without what it does for sockets of other kinds
NOBLOCK = int(zmq.NOBLOCK)
NOBLOCK_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)


def receive(socket: Any) -> list[bytes]:
    """One message that has arrived.

    Raises
    ------
    zmq.Again
        When there is none.
    """
    frame = socket.recv(NOBLOCK, copy=False)
    frames = [frame.bytes]
    while frame.more:
        frame = socket.recv(NOBLOCK, copy=False)
        frames.append(frame.bytes)
    return frames


def send(socket: Any, frames: list[bytes]) -> None:
    """Send one message.

    Raises
    ------
    zmq.ZMQError
        When it can't be taken now; nothing of it was sent, since only its first frame can be refused.
    """
    for frame in frames[:-1]:
        PlainSocket.send(socket, frame, NOBLOCK_MORE)
    PlainSocket.send(socket, frames[-1], NOBLOCK)


class Relay:
    """Ten sockets, as pairs by channel.

    Parameters
    ----------
    outer, inner : dict
        Jupyter connection information: what clients see, and what the kernel was given.
    waiter : Waiter
        Is to wait for all of them.
    """

    def __init__(self, outer: dict[str, Any], inner: dict[str, Any], waiter: Waiter) -> None:
        self._inner_info = inner
        self._waiter = waiter
        self._identity = f"swangpu-{os.urandom(16).hex()}".encode("ascii")
        self._context = zmq.Context()
        self._curve = (outer.get("curve_publickey"), outer.get("curve_secretkey"))
        self.outer: dict[str, Any] = {}
        self.inner: dict[str, Any] = {}
        self.monitor: Any = None
        kinds = {"iopub": zmq.XPUB}
        for channel in CHANNELS:
            socket = self._socket(kinds.get(channel, zmq.ROUTER), server=True)
            if channel == "iopub":
                # tell of every subscriber: each is welcomed, and the first after an outage gets what it missed
                socket.setsockopt(zmq.XPUB_VERBOSE, 1)
            else:
                socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
            if channel in ("shell", "control", "stdin"):
                # a reply for a client that is gone must fail here, not vanish
                socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
                socket.setsockopt(zmq.SNDHWM, 0)
            _bind(socket, _url(outer, channel))
            self.outer[channel] = socket
            waiter.add_socket(socket)
        self._connect()

    def _connect(self) -> None:
        """Towards the kernel."""
        for channel in CHANNELS:
            socket = self._socket(zmq.SUB if channel == "iopub" else zmq.DEALER, server=False)
            socket.setsockopt(zmq.RECONNECT_IVL, CONNECT_RETRY_MS)
            # a kernel that does not read while it computes must not hold up the interrupt that would end that
            socket.setsockopt(zmq.SNDHWM, 0)
            if channel == "iopub":
                socket.setsockopt(zmq.RCVHWM, OUTPUT_WAITS)
                socket.setsockopt(zmq.SUBSCRIBE, b"")
            elif channel != "hb":
                socket.setsockopt(zmq.IDENTITY, self._identity)
            self.inner[channel] = socket
        # requests go to the kernel only when its output is heard, or the first cell's would be lost
        self.monitor = self.inner["iopub"].get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self.inner["iopub"].connect(_url(self._inner_info, "iopub"))
        self.kernel_heard = False
        for socket in (self.monitor, *self.inner.values()):
            self._waiter.add_socket(socket)

    def connect_again(self) -> None:
        """Another kernel listens at the same ports: what was on its way to the one before is not for this one."""
        self._disconnect()
        self._connect()

    def _disconnect(self) -> None:
        if self.monitor is not None:
            self.inner["iopub"].disable_monitor()
            self._waiter.remove_socket(self.monitor)
            # as long as any socket is open the context does not end, and with it the agent
            self.monitor.close(0)
            self.monitor = None
        for socket in self.inner.values():
            self._waiter.remove_socket(socket)
            socket.close(0)
        self.inner = {}

    def _socket(self, kind: int, *, server: bool) -> Any:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, LINGER_MS)
        public, secret = self._curve
        if public and secret:
            socket.curve_publickey = public.encode("ascii")
            socket.curve_secretkey = secret.encode("ascii")
            if server:
                socket.curve_server = True
            else:
                socket.curve_serverkey = public.encode("ascii")
        return socket

    def on_monitor(self) -> None:
        """The kernel's output is connected: now connect what makes it speak."""
        try:
            self.monitor.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            # woken for something else
            return
        if self.kernel_heard:
            return
        self.kernel_heard = True
        # it has said all that it has to say
        self._waiter.remove_socket(self.monitor)
        for channel in CHANNELS:
            if channel != "iopub":
                self.inner[channel].connect(_url(self._inner_info, channel))
                self._waiter.used(self.inner[channel])

    def to_client(self, channel: str, frames: list[bytes]) -> bool:
        """Send to the client that the first frame names; False when it is not connected."""
        try:
            self._send(self.outer[channel], frames)
        except zmq.ZMQError as problem:
            if problem.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def to_kernel(self, channel: str, frames: list[bytes]) -> None:
        self._send(self.inner[channel], frames)

    def publish(self, frames: list[bytes]) -> None:
        self._send(self.outer["iopub"], frames)

    def _send(self, socket: Any, frames: list[bytes]) -> None:
        self._waiter.used(socket)
        send(socket, frames)

    def last_words(self) -> Iterator[tuple[str, Any]]:
        """The kernel has ended: on which channels there is still something to read, such as the reply to a shutdown."""
        end = time.monotonic() + LAST_WORDS_S
        poller = zmq.Poller()
        for socket in self.inner.values():
            poller.register(socket, zmq.POLLIN)
        channels = {socket: channel for channel, socket in self.inner.items()}
        while time.monotonic() < end and (ready := poller.poll(SILENCE_MS)):
            for socket, _ in ready:
                yield channels[socket], socket

    def close(self) -> None:
        """Close all, giving what is on its way to clients a moment."""
        self._disconnect()
        for socket in self.outer.values():
            socket.close()
        self._context.term()


def _bind(socket: Any, url: str) -> None:
    """Bind, also where somebody's outgoing connection has the port for a moment: it was free when it was chosen."""
    end = time.monotonic() + BIND_S
    while True:
        try:
            socket.bind(url)
        except zmq.ZMQError as problem:
            if problem.errno != zmq.EADDRINUSE or time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


def _url(info: dict[str, Any], channel: str) -> str:
    separator = ":" if info["transport"] == "tcp" else "-"
    return f"{info['transport']}://{info['ip']}{separator}{info[f'{channel}_port']}"
