"""What the agent itself says to clients, in the kernel's place, while the kernel has no GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from swangpu.kernels.messages import Message, Scribe

__all__ = ["Voice"]

INTERRUPTED = "interrupted while waiting for the GPU"


class Voice:
    """Makes and sends the agent's messages.

    Parameters
    ----------
    scribe : Scribe
    publish : callable
        Sends frames on iopub.
    reply : callable
        Sends frames on a channel to the client that the first frame names.
    """

    def __init__(
        self, scribe: Scribe, publish: Callable[[list[bytes]], None], reply: Callable[[str, list[bytes]], None]
    ) -> None:
        self._scribe = scribe
        self._publish = publish
        self._reply = reply

    def _say(self, kind: str, content: dict[str, Any], parent: dict[str, Any]) -> None:
        self._publish(self._scribe.make(kind, content, parent, [kind.encode("ascii")]))

    def _state(self, request: Message, state: str) -> None:
        self._say("status", {"execution_state": state}, request.header)

    def _answer(self, request: Message, content: dict[str, Any], channel: str = "shell") -> None:
        kind = request.type.rsplit("_", 1)[0] + "_reply"
        self._reply(channel, self._scribe.make(kind, content, request.header, request.idents))

    def kernel_info(self, request: Message, info: dict[str, Any]) -> None:
        """Clients ask this to see whether a kernel lives: it does."""
        self._state(request, "busy")
        self._answer(request, info)
        self._state(request, "idle")

    def waits(self, request: Message, text: str) -> None:
        """An execution is held: to everybody the kernel is busy, since somebody waits for it."""
        self._state(request, "busy")
        if text:
            self.progress(request, text)

    def progress(self, request: Message, text: str, *, instead: bool = False) -> None:
        """Say what a held execution waits for; ``instead``: in the place of what was said before."""
        if not request.content.get("silent"):
            if instead:
                # it goes when the next line comes, and nothing jumps
                self._say("clear_output", {"wait": True}, request.header)
            self.remark(request.header, text)

    def remark(self, parent: dict[str, Any], text: str) -> None:
        """One line in the output of a cell."""
        self._say("stream", {"name": "stderr", "text": f"{text}\n"}, parent)

    def resumes(self, request: Message) -> None:
        """Take the progress away, so that it is not saved with the notebook."""
        if not request.content.get("silent"):
            self._say("clear_output", {"wait": False}, request.header)

    def interrupted(self, request: Message) -> None:
        self._answer(request, {"status": "ok"}, "control")

    def failed(self, request: Message) -> None:
        """The execution whose turn it was, ended by an interrupt."""
        error = {
            "ename": "KeyboardInterrupt",
            "evalue": INTERRUPTED,
            "traceback": [f"KeyboardInterrupt: {INTERRUPTED}"],
        }
        self.resumes(request)
        self._say("error", error, request.header)
        self._answer(request, {"status": "error", "execution_count": 0, "user_expressions": {}, "payload": [], **error})
        self._state(request, "idle")

    def aborted(self, request: Message) -> None:
        """An execution behind it."""
        self._answer(request, {"status": "aborted"})
        self._state(request, "idle")

    def dropped(self, parent: dict[str, Any], size_bytes: int) -> list[bytes]:
        """Says in a cell's own output that some of it is not there any more."""
        text = f"[{size_bytes} bytes of output were dropped while nobody was connected]\n"
        return self._scribe.make("stream", {"name": "stderr", "text": text}, parent, [b"stream"])
