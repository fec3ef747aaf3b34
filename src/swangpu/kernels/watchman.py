"""The agent's loop: relays, gates, keeps what nobody hears, and ends when the kernel does."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import zmq

from swangpu.kernels import registry
from swangpu.kernels.backlog import Backlog
from swangpu.kernels.desk import Desk
from swangpu.kernels.gate import Gate, Verdict
from swangpu.kernels.messages import Message, Scribe
from swangpu.kernels.relay import Relay, receive

__all__ = ["Watchman"]

#: messages taken from one socket before the others get their turn
BURST = 64
#: how long a kernel that was told to end may take before it is killed, in seconds
TERM_GRACE_S = 5.0
#: how long what a kernel said last is still read after it has ended, in seconds
LAST_WORDS_S = 0.3


class Watchman:
    """Stands between a kernel and everybody else.

    Parameters
    ----------
    record_path : Path
        The record that the provisioner wrote; completed here with both processes.
    kernel_pid : int
    wake : int
        The file descriptor to which Python writes the numbers of signals.
    """

    def __init__(self, record_path: Path, kernel_pid: int, wake: int) -> None:
        record = registry.read(record_path)
        if record is None:
            os.kill(kernel_pid, signal.SIGKILL)
            raise SystemExit("the agent's record cannot be read")
        self._record_path = record_path
        self._kernel_pid = kernel_pid
        self._wake = wake
        self._gate = Gate()
        self._backlog = Backlog()
        self._scribe = Scribe(record["outer"]["key"].encode(), record["outer"].get("signature_scheme", "hmac-sha256"))
        self._relay = Relay(record["outer"], record["inner"])
        self._desk = Desk(Path(record["socket"]), self._answer)
        self._subscribed: set[bytes] = set()
        #: nobody listens, or only those who never ask: what the kernel says is kept for who comes back
        self._outage = False
        self._kernel_info: dict[str, Any] | None = None
        self._waiting: list[tuple[str, list[bytes]]] = []
        self._kill_at: float | None = None
        record.update(
            agent_pid=os.getpid(),
            agent_start=registry.process_start(os.getpid()),
            kernel_pid=kernel_pid,
            kernel_start=registry.process_start(kernel_pid),
        )
        registry.write(record_path, record)

    def run(self) -> int:
        """Relay until the kernel has ended; the answer is its wait status."""
        try:
            while True:
                ready = self._poll()
                for socket, channel in self._outer_by_socket.items():
                    if socket in ready:
                        self._drain(socket, lambda frames, c=channel: self._from_client(c, frames))
                for socket, channel in self._inner_by_socket.items():
                    if socket in ready:
                        self._drain(socket, lambda frames, c=channel: self._from_kernel(c, frames))
                if self._relay.monitor in ready:
                    self._relay.on_monitor()
                    self._flush_waiting()
                status = self._signals() if self._wake in ready else None
                if status is None and self._kill_at is not None and time.monotonic() >= self._kill_at:
                    self._kill_at = None
                    self._signal_kernel(signal.SIGKILL)
                if status is not None:
                    if not os.WIFSIGNALED(status):
                        self._last_words()
                    return status
                for fd in [f for f in ready if isinstance(f, int) and f != self._wake]:
                    self._at_desk(fd, ready[fd])
        finally:
            self._desk.close()
            self._relay.close()
            registry.forget(self._record_path, os.getpid())

    # -- the loop ---------------------------------------------------------------------------------

    def _poll(self) -> dict[Any, int]:
        poller = zmq.Poller()
        self._outer_by_socket = {s: c for c, s in self._relay.outer.items()}
        self._inner_by_socket = {s: c for c, s in self._relay.inner.items()}
        for socket in (*self._outer_by_socket, *self._inner_by_socket, self._relay.monitor):
            poller.register(socket, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        for fd in self._desk.readers():
            poller.register(fd, zmq.POLLIN)
        for fd in self._desk.writers():
            poller.register(fd, zmq.POLLIN | zmq.POLLOUT)
        timeout = None if self._kill_at is None else max(0, int(1000 * (self._kill_at - time.monotonic())))
        return dict(poller.poll(timeout))

    def _drain(self, socket: Any, take: Any) -> None:
        for _ in range(BURST):
            frames = receive(socket)
            if frames is None:
                return
            take(frames)

    def _at_desk(self, fd: int, events: int) -> None:
        with contextlib.suppress(KeyError):
            if events & zmq.POLLIN:
                self._desk.on_readable(fd)
            if events & zmq.POLLOUT:
                self._desk.on_writable(fd)

    # -- from clients -----------------------------------------------------------------------------

    def _from_client(self, channel: str, frames: list[bytes]) -> None:
        if channel == "iopub":
            self._subscription(frames[0])
            return
        if channel == "hb":
            self._to_kernel("hb", frames)
            return
        message = Message.parse(frames)
        if message is None:
            return
        if self._outage and message.client[:1] != b"\x00":
            # A client with a name of its own is somebody who reads the answers (what only watches, or nudges, has
            # a made-up one): who was away is back.
            self._replay(message.client)
        if not self._scribe.verify(message):
            # the kernel knows what to do with a forged message; the gate must not act on one
            self._to_kernel(channel, frames)
            return
        if channel == "control" and message.type == "interrupt_request" and self._gate.closed and not self._gate.busy:
            self._interrupt_held()
            self._reply(message, "interrupt_reply", {"status": "ok"}, channel="control")
            return
        if channel == "shell":
            verdict = self._gate.admit(message, can_answer=self._kernel_info is not None)
            if verdict is Verdict.HOLD:
                self._say_waiting(message)
                return
            if verdict is Verdict.ANSWER and self._kernel_info is not None:
                self._status(message, "busy")
                self._reply(message, "kernel_info_reply", self._kernel_info)
                self._status(message, "idle")
                return
        self._to_kernel(channel, frames)

    def _subscription(self, frame: bytes) -> None:
        topic = frame[1:]
        if frame[:1] == b"\x01":
            self._subscribed.add(topic)
        else:
            self._subscribed.discard(topic)
            self._outage = self._outage or not self._subscribed

    def _to_kernel(self, channel: str, frames: list[bytes]) -> None:
        if self._relay.kernel_heard:
            self._relay.to_kernel(channel, frames)
        elif len(self._waiting) < 10_000:
            self._waiting.append((channel, frames))

    def _flush_waiting(self) -> None:
        if self._relay.kernel_heard:
            waiting, self._waiting = self._waiting, []
            for channel, frames in waiting:
                self._relay.to_kernel(channel, frames)

    # -- from the kernel --------------------------------------------------------------------------

    def _from_kernel(self, channel: str, frames: list[bytes]) -> None:
        if channel == "iopub":
            self._say(frames)
            return
        if channel == "shell":
            message = Message.parse(frames)
            if message is not None:
                self._gate.replied(message)
                if message.type == "kernel_info_reply" and self._kernel_info is None:
                    self._kernel_info = message.content
        if not self._relay.to_client(channel, frames) and channel == "shell":
            self._backlog.keep("shell", frames[0], frames[1:])

    def _say(self, frames: list[bytes]) -> None:
        """Publish; or keep for who comes back, but never both: a message that comes twice is taken for a forgery.

        What a new server asks for itself while it connects is answered at once, or it would wait for it.
        """
        if self._outage:
            message = Message.parse(frames)
            if message is None or message.parent.get("msg_type") != "kernel_info_request":
                self._backlog.keep("iopub", b"", frames)
                return
        self._relay.publish(frames)

    def _replay(self, client: bytes) -> None:
        """Say again what was said while nobody heard it; output that had to be dropped is named."""
        self._outage = False
        for parent, size_bytes in self._backlog.dropped.values():
            text = f"[{size_bytes} bytes of output were dropped while nobody was connected]\n"
            self._relay.publish(
                self._scribe.make("stream", {"name": "stderr", "text": text}, parent, idents=[b"stream"])
            )
        for kept in self._backlog.take():
            if kept.channel == "iopub":
                self._relay.publish(kept.frames)
            elif kept.client == client:
                self._relay.to_client(kept.channel, [client, *kept.frames])

    # -- the gate ---------------------------------------------------------------------------------

    def _say_waiting(self, message: Message) -> None:
        if message.type != "execute_request" or self._gate.first is not message:
            return
        self._status(message, "busy")
        if self._gate.message:
            text = {"name": "stderr", "text": f"{self._gate.message}\n"}
            self._publish("stream", text, message)

    def _open_gate(self) -> None:
        for message in self._gate.open():
            self._to_kernel("shell", message.frames)

    def _interrupt_held(self) -> None:
        ended = self._gate.interrupt()
        error = {
            "ename": "KeyboardInterrupt",
            "evalue": "interrupted while waiting for the GPU",
            "traceback": ["KeyboardInterrupt: interrupted while waiting for the GPU"],
        }
        if ended.failed is not None:
            self._publish("error", error, ended.failed)
            self._reply(ended.failed, "execute_reply", {"status": "error", "execution_count": 0, **error})
            self._status(ended.failed, "idle")
        for message in ended.aborted:
            self._reply(message, "execute_reply", {"status": "aborted"})
            self._status(message, "idle")

    def _reply(self, request: Message, kind: str, content: dict[str, Any], channel: str = "shell") -> None:
        self._relay.to_client(channel, self._scribe.make(kind, content, request.header, idents=request.idents))

    def _publish(self, kind: str, content: dict[str, Any], parent: Message) -> None:
        self._say(self._scribe.make(kind, content, parent.header, idents=[kind.encode()]))

    def _status(self, parent: Message, state: str) -> None:
        self._publish("status", {"execution_state": state}, parent)

    # -- the desk ---------------------------------------------------------------------------------

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("do"):
            case "close":
                self._gate.close(str(request.get("message", ""))[:1000])
            case "open":
                self._open_gate()
            case "status":
                pass
            case "stop":
                self._end_kernel()
            case _:
                return {"ok": False, "error": "not a request"}
        return {
            "ok": True,
            "closed": self._gate.closed,
            "held": self._gate.held,
            "busy": self._gate.busy or self._gate.held > 0,
            "kernel_pid": self._kernel_pid,
            "kept": len(self._backlog),
        }

    # -- processes --------------------------------------------------------------------------------

    def _signals(self) -> int | None:
        """Act on the signals that came; the kernel's wait status once it has ended."""
        numbers = b""
        with contextlib.suppress(BlockingIOError):
            numbers = os.read(self._wake, 64)
        for number in numbers:
            if number == signal.SIGINT:
                if self._gate.closed and self._gate.held and not self._gate.busy:
                    self._interrupt_held()
                else:
                    self._signal_kernel(signal.SIGINT)
            elif number == signal.SIGTERM:
                self._end_kernel()
        with contextlib.suppress(ChildProcessError):
            pid, status = os.waitpid(self._kernel_pid, os.WNOHANG)
            return status if pid else None
        return 0

    def _end_kernel(self) -> None:
        self._signal_kernel(signal.SIGTERM)
        self._kill_at = time.monotonic() + TERM_GRACE_S

    def _signal_kernel(self, number: int) -> None:
        # Its process group: what the kernel has started is the kernel's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._kernel_pid, number)

    def _last_words(self) -> None:
        """What is still on its way when the kernel ends, such as the reply to a shutdown."""
        end = time.monotonic() + LAST_WORDS_S
        poller = zmq.Poller()
        for socket in self._relay.inner.values():
            poller.register(socket, zmq.POLLIN)
        while (left := end - time.monotonic()) > 0:
            ready = dict(poller.poll(int(1000 * left)))
            if not ready:
                return
            for socket, channel in self._inner_by_socket.items():
                if socket in ready:
                    self._drain(socket, lambda frames, c=channel: self._from_kernel(c, frames))
