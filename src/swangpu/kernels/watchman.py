"""The agent's loop: relays, gates, keeps what nobody hears, and ends when the kernel does."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import zmq

from swangpu.kernels import registry
from swangpu.kernels.backlog import Backlog
from swangpu.kernels.child import Child
from swangpu.kernels.desk import Desk
from swangpu.kernels.gate import Gate, Verdict
from swangpu.kernels.messages import Message, Scribe, is_for_nobody
from swangpu.kernels.relay import CHANNELS, Relay, receive
from swangpu.kernels.remarks import Remarks
from swangpu.kernels.voice import Voice
from swangpu.kernels.waiter import READABLE, WRITABLE, Waiter

__all__ = ["Watchman"]

#: messages taken from one socket at a time at most
BURST = 64
#: how long a kernel that was told to end may take before it is killed, in seconds
TERM_GRACE_S = 5.0
#: how long a client that came back has to connect its other sockets before it is told what it missed, in seconds
SETTLE_S = 0.15
#: how long a client that came back is waited for when the last socket that listened closes, in seconds: a server that
#: connects closes the socket that it tried the kernel with, sometimes before it has another
RETURN_S = 1.0
#: how long a kernel goes on without any server before it gives its GPU back, in seconds
ALONE_LIMIT_S = 24 * 3600.0
#: what a client waits for, however long it was away
AWAITED = frozenset({"execute_reply", "input_request"})


class Watchman:
    """Stands between a kernel and everybody else.

    Parameters
    ----------
    record_path : Path
        The record that the provisioner wrote; completed here with both processes.
    child : Child
        The kernel.
    wake : int
        The file descriptor to which Python writes the numbers of signals.
    """

    def __init__(self, record_path: Path, child: Child, wake: int) -> None:
        self._child = child
        record = registry.read(record_path)
        if record is None:
            child.signal(signal.SIGKILL)
            raise SystemExit("the agent's record cannot be read")
        self._record_path = record_path
        self._wake = wake
        self._gate = Gate()
        if closed := record.get("closed"):
            self._gate.close(str(closed))
        self._remarks = Remarks()
        self._backlog = Backlog()
        self._scribe = Scribe(record["outer"]["key"].encode(), record["outer"].get("signature_scheme", "hmac-sha256"))
        self._voice = Voice(self._scribe, self._publish, self._to_client)
        self._waiter = Waiter()
        self._waiter.watch(wake, READABLE)
        self._relay = Relay(record["outer"], record["inner"], self._waiter)
        self._desk = Desk(Path(record["socket"]), self._answer)
        self._subscribed: set[bytes] = set()
        #: the last server went away, and no client of its has come back: what the kernel says is kept for them
        self._outage = False
        self._replay_for: bytes | None = None
        self._kernel_info: dict[str, Any] | None = None
        #: how what the kernel has on a device is put aside, and what was saved; kept here, since servers come and go
        self._aside = str(record.get("aside") or "")
        self._saved: list[Any] = record.get("saved") or ([{"untouched": True}] if self._aside else [])
        self._waiting: list[tuple[str, list[bytes]]] = []
        self._alone_limit_s = float(record.get("alone_limit_s") or ALONE_LIMIT_S)
        #: what is to be done when (monotonic seconds), by name
        self._due: dict[str, float] = {"alone": time.monotonic() + self._alone_limit_s}
        self._status: int | None = None
        self._replaced = child.replaced
        record.update(agent_pid=os.getpid(), agent_start=registry.process_start(os.getpid()))
        child.write(record)

    def run(self) -> int:
        """Relay until the kernel has ended; the answer is its wait status."""
        try:
            sources, desk = self._sources(), self._desk.watch(self._waiter, {})
            while self._status is None:
                if self._replaced != self._child.replaced:
                    self._relay.connect_again()
                    self._replaced = self._child.replaced
                    sources = self._sources()
                for source, events in self._waiter.wait(self._timeout_ms()):
                    if act := sources.get(source):
                        act()
                    else:
                        self._at_desk(source, events)
                        desk = self._desk.watch(self._waiter, desk)
                if self._due:
                    self._on_time()
            for channel, socket in self._relay.last_words():
                self._take_all(socket, partial(self._from_kernel, channel))
            return self._status
        finally:
            # What the kernel started must not keep the GPU.
            self._child.signal(signal.SIGKILL)
            self._desk.close()
            registry.forget(self._record_path, os.getpid())
            self._relay.close()

    # -- the loop ---------------------------------------------------------------------------------

    def _sources(self) -> dict[Any, Callable[[], object]]:
        sources: dict[Any, Callable[[], object]] = {self._wake: self._signals, self._relay.monitor: self._on_monitor}
        for channel in CHANNELS:
            outer, inner = self._relay.outer[channel], self._relay.inner[channel]
            sources[outer] = partial(self._take, outer, partial(self._from_client, channel))
            sources[inner] = partial(self._take, inner, partial(self._from_kernel, channel))
        return sources

    def _at_desk(self, fd: int, events: int) -> None:
        with contextlib.suppress(KeyError):
            if events & WRITABLE:
                self._desk.on_writable(fd)
            if events & ~WRITABLE:
                self._desk.on_readable(fd)

    def _timeout_ms(self) -> int:
        return max(0, int(1000 * (min(self._due.values()) - time.monotonic())) + 1) if self._due else -1

    def _on_time(self) -> None:
        now = time.monotonic()
        for name in [n for n, at in self._due.items() if now >= at]:
            del self._due[name]
            if name == "kill":
                self._child.signal(signal.SIGKILL)
            elif name == "alone":
                self._end_kernel()
            elif name == "gone":
                self._replay_for = None
            elif self._subscribed:
                self._replay()

    @staticmethod
    def _take(socket: Any, take: Callable[[list[bytes]], None]) -> bool:
        """Take one message; whether there was one."""
        try:
            frames = receive(socket)
        except zmq.Again:
            return False
        take(frames)
        return True

    def _take_all(self, socket: Any, take: Callable[[list[bytes]], None]) -> None:
        """Take what has arrived by now, within bounds."""
        any(not self._take(socket, take) for _ in range(BURST))

    # -- from clients -----------------------------------------------------------------------------

    def _from_client(self, channel: str, frames: list[bytes]) -> None:
        if channel == "iopub":
            self._subscription(frames[0])
            return
        # what nothing can hold up goes on at once; what it means here is looked at while the kernel works
        at_once = channel != "control" and not self._gate.closed and not self._outage
        if at_once:
            self._to_kernel(channel, frames)
        message = Message.parse(frames) if channel != "hb" else None
        # the kernel knows what to do with a forged message; nothing here must act on one
        if message is not None and self._scribe.verify(message):
            if self._outage and _named(message.client):
                self._back(message.client)
            if channel == "shell" and not self._admitted(message):
                return
            if channel == "control" and message.type in {"interrupt_request", "shutdown_request"}:
                only_ours = self._interrupt_held()
                if only_ours and message.type == "interrupt_request":
                    self._voice.interrupted(message)
                    return
        if not at_once:
            self._to_kernel(channel, frames)

    def _admitted(self, message: Message) -> bool:
        """Whether a request goes on to the kernel now."""
        verdict = self._gate.admit(message, can_answer=self._kernel_info is not None)
        if verdict is Verdict.ANSWER and self._kernel_info is not None:
            self._voice.kernel_info(message, self._kernel_info)
        elif verdict is Verdict.HOLD and message.type == "execute_request":
            self._voice.waits(message, self._gate.message if message is self._gate.first else "")
        elif verdict is Verdict.PASS:
            self._passes(message)
        return verdict is Verdict.PASS

    def _passes(self, request: Message) -> None:
        if request.type == "execute_request":
            self._remarks.passes(request.id, read=request.content.get("store_history") is not False)

    def _subscription(self, frame: bytes) -> None:
        topic = frame[1:]
        if frame[:1] == b"\x01":
            self._subscribed.add(topic)
            self._due.pop("alone", None)
            self._due.pop("gone", None)
            if self._replay_for is not None:
                self._due["replay"] = time.monotonic() + SETTLE_S
            return
        self._subscribed.discard(topic)
        if not self._subscribed:
            self._outage = True
            self._due.pop("replay", None)
            self._due["gone"] = time.monotonic() + RETURN_S
            self._due["alone"] = time.monotonic() + self._alone_limit_s

    def _to_kernel(self, channel: str, frames: list[bytes]) -> None:
        if self._relay.kernel_heard:
            self._relay.to_kernel(channel, frames)
        elif len(self._waiting) < 10_000:
            self._waiting.append((channel, frames))

    def _on_monitor(self) -> None:
        self._relay.on_monitor()
        if not self._relay.kernel_heard:
            return
        waiting, self._waiting = self._waiting, []
        for channel, frames in waiting:
            self._relay.to_kernel(channel, frames)

    # -- from the kernel --------------------------------------------------------------------------

    def _from_kernel(self, channel: str, frames: list[bytes]) -> None:
        if channel == "iopub":
            if is_for_nobody(frames, aside=self._gate.closed, started_anew=bool(self._replaced)):
                return
            self._publish(frames)
            if self._remarks:
                self._remark(frames)
            return
        self._to_client(channel, frames)
        if channel == "shell" and (message := Message.parse(frames)) is not None:
            self._gate.replied(message)
            if message.type == "kernel_info_reply" and self._kernel_info is None:
                self._kernel_info = message.content

    def _remark(self, frames: list[bytes]) -> None:
        """Say in the output of a cell that begins what its person should know."""
        message = Message.parse(frames)
        if message is None or message.type != "execute_input":
            return
        for text in self._remarks.take(str(message.parent.get("msg_id", "")), time.time()):
            self._voice.remark(message.parent, text)

    def _publish(self, frames: list[bytes]) -> None:
        if self._outage:
            message = Message.parse(frames)
            # A new server asks this itself while it connects, and waits for the answer: who was away did not ask.
            if message is not None and message.parent.get("msg_type") == "kernel_info_request":
                self._relay.publish(frames)
                return
            self._backlog.keep("iopub", b"", frames)
            if message is not None and message.type == "status" and self._replay_for is None:
                # The new server must see whether the kernel is busy, so it gets a message of ours. All else waits: told
                # at once, it would come before what was said earlier. Nor is ours an answer to the same request: a
                # front end that hears already, but has not spoken, would take "idle" for the end of all output.
                parent = {**message.parent, "msg_id": os.urandom(16).hex()}
                frames = self._scribe.make("status", message.content, parent, message.idents)
            else:
                return
        self._relay.publish(frames)

    def _to_client(self, channel: str, frames: list[bytes]) -> None:
        if self._relay.to_client(channel, frames) or channel == "hb" or not _named(frames[0]):
            return
        message = Message.parse(frames)
        if message is not None and message.type in AWAITED:
            self._backlog.keep(channel, frames[0], frames[1:])

    # -- after an outage --------------------------------------------------------------------------

    def _back(self, client: bytes) -> None:
        """A client with a name of its own is somebody who reads the answers (what only watches, or nudges, has a
        made-up one): who was away is back."""
        if self._replay_for is None:
            self._replay_for = client
            self._due["replay"] = time.monotonic() + SETTLE_S

    def _replay(self) -> None:
        """Say again what was said while nobody heard it; output that had to be dropped is named."""
        client, self._replay_for, self._outage = self._replay_for, None, False
        for parent, size_bytes in self._backlog.dropped.values():
            self._relay.publish(self._voice.dropped(parent, size_bytes))
        for kept in self._backlog.take():
            if kept.channel == "iopub":
                self._relay.publish(kept.frames)
            elif kept.client == client:
                self._relay.to_client(kept.channel, [client, *kept.frames])

    # -- the gate ---------------------------------------------------------------------------------

    def _close_gate(self, text: str) -> None:
        before = self._gate.message
        self._gate.close(text)
        if text and text != before and (first := self._gate.first) is not None:
            self._voice.progress(first, text, instead=bool(before))

    def _say(self, request: dict[str, Any]) -> None:
        """Take what is true now: for the next cell, and for the one that waits."""
        self._remarks.put(request.get("remarks"))
        waiting = str(request.get("waiting", ""))[:1000]
        # who tells it may not know yet that the gate is open
        if waiting and self._gate.closed and self._gate.message:
            self._close_gate(waiting)

    def _open_gate(self) -> None:
        if self._gate.message and (first := self._gate.first) is not None:
            self._voice.resumes(first)
        for message in self._gate.open():
            self._passes(message)
            self._to_kernel("shell", message.frames)

    def _interrupt_held(self) -> bool:
        """End the executions that are held; whether the interrupt was for them alone, and not for the kernel."""
        # cells that were sent before it are meant, too
        self._take_all(self._relay.outer["shell"], partial(self._from_client, "shell"))
        ended = self._gate.interrupt()
        if ended.failed is not None:
            self._voice.failed(ended.failed)
        for message in ended.aborted:
            self._voice.aborted(message)
        return ended.failed is not None

    # -- the desk ---------------------------------------------------------------------------------

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("do")
        if wanted == "close":
            self._close_gate(str(request.get("message", ""))[:1000])
        elif wanted == "open":
            self._open_gate()
            self._aside, self._saved = "", []
        elif wanted == "say":
            self._say(request)
        elif wanted == "aside":
            saved = request.get("saved")
            self._aside, self._saved = str(request.get("method", ""))[:100], saved if isinstance(saved, list) else []
        elif wanted == "replace":
            # only of a kernel that nobody computes in
            at_rest = self._gate.closed and not self._gate.busy
            if not at_rest or not self._child.replace(request.get("pid"), request.get("env")):
                return {"ok": False, "error": "not now"}
        elif wanted == "stop":
            self._end_kernel()
        elif wanted != "status":
            return {"ok": False, "error": "not a request"}
        return {
            "ok": True,
            "closed": self._gate.closed,
            "held": self._gate.held,
            "busy": self._gate.busy or self._gate.first is not None,
            "running": self._gate.busy,
            "aside": self._aside,
            "saved": self._saved,
            "remarks": len(self._remarks),
            "kernel_pid": self._child.pid,
            "replacing": self._child.going,
            "kept": len(self._backlog),
            "outage": self._outage,
        }

    # -- processes --------------------------------------------------------------------------------

    def _signals(self) -> None:
        """Act on the signals that came, and see whether the kernel has ended."""
        numbers = b""
        with contextlib.suppress(BlockingIOError):
            numbers = os.read(self._wake, 64)
        for number in numbers:
            if number == signal.SIGINT and not self._interrupt_held():
                self._child.signal(signal.SIGINT)
            elif number == signal.SIGTERM:
                self._end_kernel()
        self._status = self._child.look()

    def _end_kernel(self) -> None:
        self._child.signal(signal.SIGTERM)
        self._due.setdefault("kill", time.monotonic() + TERM_GRACE_S)


def _named(client: bytes) -> bool:
    """Whether a client chose its identity; ZeroMQ's own start with a zero byte."""
    return client[:1] not in (b"", b"\x00")
